"""What looks like a secret: a spec holds the names of keys, never keys."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

__all__ = ["is_secret_name", "is_secret_value", "is_secret_variable", "url_problem"]

_NAME_ENDINGS = (
    "accesskey",
    "accountkey",
    "apikey",
    "authorization",
    "cookie",
    "credential",
    "credentials",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "secret",
    "secretkey",
    "subscriptionkey",
    "token",
)
_HARMLESS_NAMES = re.compile(r"(max|min|eos|bos|pad|unk|mask|stop|start|end|next)_?(new_?)?token")
"""Sampling parameters that speak of one token of text."""

# Every repetition is bounded or consumes what it matched: hostile text is scanned in linear time.
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"sk-(?=[A-Za-z_-]{0,80}[0-9])[A-Za-z0-9_-]{12,}"
    r"|(?:gsk_|hf_|xai-|gh[opsur]_|github_pat_|glpat-|xox[abpr]-)(?=[A-Za-z_-]{0,80}[0-9])[A-Za-z0-9_-]{16,}"
    r"|AIza[A-Za-z0-9_-]{20,}"
    r"|AKIA[A-Z0-9]{16}"
    r"|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY"
    r"|[Bb][Ee][Aa][Rr][Ee][Rr]\s{1,8}(?=[A-Za-z._~+/=-]{0,80}[0-9])[A-Za-z0-9._~+/=-]{12,}"
    r")"
)
_SHORT_KEY = re.compile(
    r"(?:sk-ant-\S{4,}|sk-(?=\S{0,80}[0-9])\S{6,}|[Bb]earer\s{1,8}[A-Za-z0-9._~+/=-]{4,})\s*"
)
_QUERY_NAMES = frozenset({"key", "sig", "signature", "auth", "code"})
_ADDRESS = "not an address such as https://host/v1"


def is_secret_name(name: str) -> bool:
    """Tell whether a key of a mapping announces a secret, such as `api_key` or `Authorization`."""
    lowered = name.strip().lower()
    if _HARMLESS_NAMES.fullmatch(lowered.replace("-", "_")):
        return False
    return re.sub(r"[^a-z0-9]", "", lowered).endswith(_NAME_ENDINGS)


def is_secret_value(text: str) -> bool:
    """Tell whether a text is, or holds, something in the form of a known kind of key."""
    return bool(_KEY.search(text) or _SHORT_KEY.fullmatch(text))


def is_secret_variable(text: str) -> bool:
    """Tell whether what should be the name of a variable is rather a key: a long run without words."""
    if is_secret_value(text):
        return True
    return any(
        len(run) >= 16 and re.search(r"[0-9]", run) and re.search(r"[A-Za-z]", run)
        for run in re.split(r"[_.\s-]", text)
    )


def url_problem(url: str) -> str | None:  # noqa: PLR0911  (one return per thing that can be wrong)
    """Say what is wrong with the address of a server, without repeating it; None if nothing is."""
    if not url.isprintable() or " " in url:
        return _ADDRESS
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return _ADDRESS
    if not usable:
        return _ADDRESS
    if "@" in parts.netloc:
        return "an address must not carry a user or a password"
    if parts.fragment:
        return "an address must not carry a fragment (#…)"
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name.lower() in _QUERY_NAMES or is_secret_name(name) or is_secret_value(value):
            return "an address must not carry a key in its query"
    return None
