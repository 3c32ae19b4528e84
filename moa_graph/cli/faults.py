"""From an error to an exit code and to words on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from moa_graph.cli.text import plain
from moa_graph.errors import MoAError, RunError, SpecError, ThreadBusy

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BUSY", "FAULT", "INTERRUPTED", "RUN_FAILED", "complain", "error_record", "exit_code"]

RUN_FAILED = 1
FAULT = 2
BUSY = 3
INTERRUPTED = 130


def exit_code(error: MoAError) -> int:
    """Return 1 for a run that failed, 3 for a busy thread, 2 for what is wrong before a run begins."""
    if isinstance(error, ThreadBusy):
        return BUSY
    return RUN_FAILED if isinstance(error, RunError) else FAULT


def complain(error: Mapping[str, str]) -> None:
    """Write an error's message, and its hint on what to do next, to stderr.

    The faults of a spec stand alone on their lines, as a compiler's do, so that editors can jump to them;
    other messages of several lines are indented.
    """
    prefix = "" if error["type"] == SpecError.__name__ else "error: "
    indent = "\n" + " " * len(prefix)
    typer.echo(f"{prefix}{plain(error['message']).replace(chr(10), indent)}", err=True)
    if error["hint"]:
        typer.echo(f"hint: {plain(error['hint'])}", err=True)


def error_record(error: MoAError) -> dict[str, str]:
    """Return an error as JSON: `type`, `message`, `hint`."""
    return {"type": type(error).__name__, "message": error.message, "hint": error.hint}
