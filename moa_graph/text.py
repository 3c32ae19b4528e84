"""Text from outside: cleaned for the stores, and kept from forging the delimiters of a prompt."""

from __future__ import annotations

import re

__all__ = ["break_mark", "clean", "mend_mark"]

_SURROGATE_OR_NUL = re.compile("[\x00\ud800-\udfff]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def clean(text: str) -> tuple[str, bool]:
    """Replace NUL and lone surrogates, which stores refuse, by U+FFFD; tell whether any was there."""
    if text.isascii() and "\0" not in text:  # as most are; this takes no time
        return text, False
    if not _SURROGATE_OR_NUL.search(text):
        return text, False
    # Two halves that came in two pieces of a stream are one character, and none of them is lone.
    joined = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
    cleaned, count = _SURROGATE_OR_NUL.subn("\ufffd", joined)
    return cleaned, count > 0


def break_mark(text: str, mark: str) -> str:
    r"""Put a backslash into the middle of every occurrence of a mark, so that the text bears none.

    What is broken already gets one more, which makes `mend_mark` exact.
    """
    return _middle(mark, "").sub(r"\\", text) if mark[: len(mark) // 2] in text else text


def mend_mark(text: str, mark: str) -> str:
    """Undo `break_mark`."""
    return _middle(mark, r"\\").sub("", text)


def _middle(mark: str, backslash: str) -> re.Pattern[str]:
    # Looks around without consuming: overlapping occurrences are found, too.
    first, second = mark[: len(mark) // 2], mark[len(mark) // 2 :]
    return re.compile(rf"(?<={re.escape(first)}){backslash}(?=\\*{re.escape(second)})")
