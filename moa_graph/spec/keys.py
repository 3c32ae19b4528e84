"""Faults of secrecy: a spec is shared and committed, so no key may stand in it."""

from __future__ import annotations

from typing import Any

from moa_graph.spec.document import Document, Path
from moa_graph.spec.secrets import is_secret_name, is_secret_value, is_secret_variable

__all__ = ["check_secrets"]

_INSTEAD = "`api_key_env: NAME`, the name of an environment variable that holds the key"


def check_secrets(document: Document) -> None:
    """Note, without repeating it, everything in a document that looks like a secret."""
    _check(document, (), document.data)


def _check(document: Document, path: Path, value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            here = (*path, key)
            if is_secret_value(key) or (is_secret_name(key) and _can_hold_secret(item, here)):
                message = "a key or password does not belong in a spec"
                document.spoil(here, message, expected=_INSTEAD, at=document.keys.get(here))
            else:
                _check(document, here, item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check(document, (*path, index), item)
    elif isinstance(value, str) and _is_secret(value, path):
        document.spoil(path, "this looks like a key, which does not belong in a spec", expected=_INSTEAD)


def _can_hold_secret(value: Any, path: Path) -> bool:
    """Tell whether a value under a telling name may be a secret; a slot may well be named `token`."""
    if isinstance(value, dict):
        return "params" in path
    return value is not None and not isinstance(value, bool)


def _is_secret(text: str, path: Path) -> bool:
    return is_secret_variable(text) if path[-1:] == ("api_key_env",) else is_secret_value(text)
