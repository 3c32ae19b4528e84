"""Record the answers of every run that goes on while a block is open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import typer
from langchain_core.tracers.context import register_configure_hook

from moa_graph.models.recording import Recorder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["recorded"]

_recorder: ContextVar[Recorder | None] = ContextVar("moa_recorder", default=None)
# LangChain's own way to add a callback to runs that somebody else configures, as those of threads.
register_configure_hook(_recorder, inheritable=True)


@contextmanager
def recorded(path: Path) -> Iterator[None]:
    """Append what models answer to a replay file; raise typer.BadParameter if it cannot be opened."""
    recorder = Recorder(path)
    try:
        recorder.__enter__()
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror or error}", param_hint="--record") from error
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)
        recorder.__exit__(None, None, None)
