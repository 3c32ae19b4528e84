"""How text, tokens, time and money are shown on a terminal."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moa_graph.state import Failure
    from moa_graph.usage import Usage

__all__ = [
    "PlainStream",
    "at_most",
    "count",
    "dollars",
    "one_line",
    "plain",
    "reason",
    "seconds",
    "to_json",
    "tokens",
]

_PRINTABLE = r"[^\x00-\x08\x0b-\x1f\x7f-\x9f]"
_ESCAPES = re.compile(
    # A string for the terminal itself (title, clipboard, hyperlink …), up to its terminator.
    rf"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f]){_PRINTABLE}*(?:\x07|\x1b\\|\x9c)"
    # Colours, cursor movement, modes.
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    # Short sequences, then any control character that is left (tab and newline stay).
    r"|\x1b[ -/]*[0-~]"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
    # What reorders a line: text could be made to look like another.
    r"|[\u202a-\u202e\u2066-\u2069]"
)
_OPEN_END = re.compile(rf"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f]){_PRINTABLE}*\x1b?\Z|(?:\x1b\[?|\x9b)[ -?]*\Z")
_LONGEST_ESCAPE = 4096


def plain(text: str) -> str:
    r"""Strip terminal escapes, control characters, and those that reorder a line.

    Newlines and tabs stay, `\r\n` becomes `\n`.
    """
    return _ESCAPES.sub("", text.replace("\r\n", "\n"))


class PlainStream:
    """Strip a text that arrives in pieces, so that an escape cut in two does not get through."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """Return what may be shown by now; the beginning of an escape is held back."""
        text = self._held + piece
        opened = _OPEN_END.search(text)
        cut = opened.start() if opened and len(text) - opened.start() <= _LONGEST_ESCAPE else len(text)
        self._held = text[cut:]
        return plain(text[:cut])

    def flush(self) -> str:
        """Return what was held back, stripped."""
        text, self._held = self._held, ""
        return plain(text)


def one_line(text: str, limit: int = 200) -> str:
    """Return a stripped text on one line of at most `limit` characters."""
    line = " ".join(plain(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def reason(failure: Failure | None) -> str:
    """Return why a call gave no proposal, as `kind: message`."""
    if failure is None:
        return "unknown"
    message = one_line(failure["message"])
    return f"{failure['kind']}: {message}" if message else failure["kind"]


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as `2 calls`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def to_json(record: Any) -> str:
    """Return one JSON object; it is ASCII, so that no terminal escape gets through."""
    return json.dumps(record, indent=2)


def seconds(value: float) -> str:
    """Return a duration: `30 ms`, `12.1 s`, `2 min 05 s`."""
    if value < 0.1:
        return f"{value * 1000:.0f} ms"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s"


def tokens(usage: Usage | None) -> str:
    """Return `input → output` tokens, marked with `~` where they were estimated."""
    if usage is None:
        return "–"
    mark = "~" if usage["source"] == "estimated" else ""
    return f"{mark}{usage['input_tokens']:,} → {usage['output_tokens']:,}"


def at_most(cost: float | None) -> str:
    """Return a bound of what something costs, in words."""
    return "cost unknown" if cost is None else f"cost at most {dollars(cost)}"


def dollars(cost: float | None) -> str:
    """Return USD with four decimals below ten cents; `unknown` for None."""
    if cost is None:
        return "unknown"
    if cost == 0:
        return "$0"
    if cost < 0.0001:
        return "<$0.0001"
    return f"${cost:.4f}" if cost < 0.1 else f"${cost:,.2f}"
