"""Where a thread is, and the command that goes on with it there."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import typer

from moa_graph.cli.options import DEFAULT_DB
from moa_graph.runs.commands import command as command_on
from moa_graph.runs.commands import shell_word

__all__ = ["Place", "place_of", "said"]

_WITHOUT_SECRETS = re.compile(r"sqlite:.*|postgres(ql)?://([\w.-]+@)?[\w.-]*(:\d+)?(/[\w.-]*)?", re.DOTALL)


@dataclass(frozen=True)
class Place:
    """Name a thread and its store; `options` are those that find the store again, ready for a shell."""

    db: str
    key_env: str | None
    thread: str
    options: tuple[str, ...] = ()

    def command(self, name: str) -> str:
        """Return a command on the thread, as it can be typed."""
        return command_on(name, self.thread, options=self.options)

    @property
    def go_on(self) -> str:
        """Return the command that goes on with the thread."""
        return self.command("resume")


def place_of(command: typer.Context, thread: str, db: str, key_env: str | None) -> Place:
    """Return where a command works; what the environment says need not be said again."""
    options = []
    if said(command, "db") and (db != DEFAULT_DB or "MOA_DB" in os.environ):
        # A URL that may hold a password is not repeated.
        options.append(f"--db {shell_word(db) if _WITHOUT_SECRETS.fullmatch(db) else 'URL'}")
    if said(command, "key_env") and key_env:
        options.append(f"--key-env {shell_word(key_env)}")
    return Place(db, key_env, thread, tuple(options))


def said(command: typer.Context, option: str) -> bool:
    """Tell whether an option stands on the command line, not only in the environment."""
    source = command.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"
