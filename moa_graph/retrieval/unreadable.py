"""What is said of a file that cannot be read, and the reading of bytes as text."""

from __future__ import annotations

__all__ = ["UnreadableError", "decode"]


class UnreadableError(Exception):
    """Say in a sentence why a file has no text for us."""


def decode(data: bytes) -> str:
    """Return bytes as UTF-8 text without its mark at the beginning; raise UnreadableError."""
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UnreadableError(
            f"is not UTF-8 text (byte {error.start + 1} is 0x{data[error.start]:02x}); save it as UTF-8."
        ) from error
