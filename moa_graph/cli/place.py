"""Where a thread is, and the command that goes on with it there."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass

import typer

from moa_graph.cli.stored import DEFAULT_DB

__all__ = ["Place", "new_thread", "place_of", "said", "shell_word"]

_WITHOUT_SECRETS = re.compile(r"sqlite:.*|postgres(ql)?://([\w.-]+@)?[\w.-]*(:\d+)?(/[\w.-]*)?", re.DOTALL)


@dataclass(frozen=True)
class Place:
    """Name a thread and its store; `options` are those that find the store again, ready for a shell."""

    db: str
    key_env: str | None
    thread: str
    options: tuple[str, ...] = ()

    @property
    def go_on(self) -> str:
        """Return the command that goes on with the thread."""
        end = ["--"] if self.thread.startswith("-") else []
        return " ".join(["moa resume", *self.options, *end, shell_word(self.thread)])


def place_of(command: typer.Context, thread: str, db: str, key_env: str | None) -> Place:
    """Return where a command works; what the environment says need not be said again."""
    options = []
    if said(command, "db") and (db != DEFAULT_DB or "MOA_DB" in os.environ):
        # A URL that may hold a password is not repeated.
        options.append(f"--db {shell_word(db) if _WITHOUT_SECRETS.fullmatch(db) else 'URL'}")
    if said(command, "key_env") and key_env:
        options.append(f"--key-env {shell_word(key_env)}")
    return Place(db, key_env, thread, tuple(options))


def new_thread() -> str:
    """Return the id of a thread that nobody named: made here, so that any end of the run can tell it."""
    from uuid import uuid4  # noqa: PLC0415 -- `moa --help` needs none

    return f"t-{uuid4().hex[:12]}"


def said(command: typer.Context, option: str) -> bool:
    """Tell whether an option stands on the command line, not only in the environment."""
    source = command.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


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
