"""Commands on threads as somebody can type them: quoted for a shell, whatever a thread's id is."""

from __future__ import annotations

import secrets
import shlex

__all__ = ["command", "new_thread", "shell_word", "thread_name"]


def command(name: str, thread: str, *after: str, options: tuple[str, ...] = ()) -> str:
    """Return `moa NAME THREAD` with what stands before and after the thread, which is ready for a shell."""
    # What stands behind `--` is no option, even where it begins with a dash.
    words = [*options, *after, "--", shell_word(thread)] if thread.startswith("-") else None
    return " ".join(["moa", name, *(words or [*options, shell_word(thread), *after])])


def new_thread() -> str:
    """Return an id for a thread that nobody named."""
    return f"t-{secrets.token_hex(6)}"


def thread_name(thread: str) -> str:
    """Return a thread's id as it is; one that would disturb a terminal or a line is quoted for a shell."""
    return thread if thread.isprintable() else shell_word(thread)


def shell_word(text: str) -> str:
    """Quote a text for a shell; what cannot be shown is written as `$'…'` with the escapes of its bytes."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped, text)) + "'"


def _escaped(character: str) -> str:
    if character.isprintable() and character not in "\\'":
        return character
    # Bytes of an argument that are no UTF-8 come as surrogates from U+DC80 on.
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", errors))
