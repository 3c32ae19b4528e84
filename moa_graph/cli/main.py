"""The program `moa`: registers the commands and maps errors to exit codes."""

from __future__ import annotations

import io
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from moa_graph.cli.check import check
from moa_graph.cli.draw import draw
from moa_graph.cli.faults import INTERRUPTED, complain, error_record, exit_code
from moa_graph.cli.init import init
from moa_graph.cli.run import run
from moa_graph.cli.schema import schema
from moa_graph.errors import MoAError

__all__ = ["app", "main"]


class Commands(TyperGroup):
    """Turn the errors of every command into words and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except MoAError as error:
            complain(error_record(error))
            raise typer.Exit(exit_code(error)) from error
        except typer.Abort as error:  # Ctrl-C or the end of input at a prompt
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from error


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: the same on every terminal, and rich costs start-up time
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 -- reading metadata costs start-up time

        typer.echo(f"moa {version('moa-graph')}")
        raise typer.Exit


@app.callback()
def moa(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Answer questions with a Mixture-of-Agents that a spec file describes.

    Exit codes: 0 answered, 1 the run failed, 2 wrong usage or a fault in the spec, 130 interrupted.
    """


for command in (run, check, schema, draw, init):
    app.command()(command)


def main() -> None:
    """Run the command line; the console script `moa`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an answer must not die of a terminal's encoding
            stream.reconfigure(errors="backslashreplace")
    app()
