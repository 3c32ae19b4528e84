"""The program `moa`: registers the commands and maps errors to exit codes."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from moa_graph.cli.attribute import attribute
from moa_graph.cli.check import check
from moa_graph.cli.compare import compare
from moa_graph.cli.delete import delete
from moa_graph.cli.diff import diff
from moa_graph.cli.draw import draw
from moa_graph.cli.edit import edit
from moa_graph.cli.eval import eval_
from moa_graph.cli.export import export
from moa_graph.cli.faults import FAULT, INTERRUPTED, RUN_FAILED, complain, error_record, exit_code
from moa_graph.cli.fork import fork
from moa_graph.cli.history import history
from moa_graph.cli.importing import import_
from moa_graph.cli.init import init
from moa_graph.cli.judge import judge
from moa_graph.cli.keys import add, list_, revoke
from moa_graph.cli.report import report
from moa_graph.cli.resume import resume
from moa_graph.cli.run import run
from moa_graph.cli.schema import schema
from moa_graph.cli.select import select
from moa_graph.cli.serve import serve
from moa_graph.cli.show import show
from moa_graph.cli.status import status
from moa_graph.cli.step import step
from moa_graph.cli.streams import mend_streams
from moa_graph.cli.text import to_json
from moa_graph.cli.threads import threads
from moa_graph.cli.worker import worker
from moa_graph.errors import MoAError

__all__ = ["app", "main"]


_UsageError: Any = typer.BadParameter.__base__
"""The root of all errors of usage; where it is defined changes from release to release."""


_RUNNING = {command.__name__ for command in (run, resume, step)}
"""Commands whose JSON object has the same fields whatever happens, also after wrong usage."""


class Command(TyperCommand):
    """Name the arguments in the usage line as everywhere else: SPEC, not {SPEC}."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line."""
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]


class Commands(TyperGroup):
    """Turn the errors of every command into words and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        words = ctx.args[: ctx.args.index("--")] if "--" in ctx.args else list(ctx.args)
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            error.message = error.message.removeprefix(
                "Value error, "
            )  # pydantic's, which typer leaves there
            message = error.format_message()
            self._as_json(ctx, words, {"type": "UsageError", "message": message, "hint": ""})
            raise
        except MoAError as error:
            self._as_json(ctx, words, error_record(error))
            complain(error_record(error))
            raise typer.Exit(exit_code(error)) from error
        except (typer.Abort, KeyboardInterrupt) as error:  # Ctrl-C, or the end of input at a prompt
            self._as_json(ctx, words, {"type": "Interrupted", "message": "interrupted", "hint": ""})
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from error

    def _as_json(self, ctx: Any, words: list[str], error: dict[str, str]) -> None:
        """Write an error as one JSON object, where that was asked for."""
        name = ctx.invoked_subcommand
        known = self.commands.get(name)
        if "--json" not in words or known is None or not any("--json" in each.opts for each in known.params):
            return
        if name in _RUNNING:
            from moa_graph.cli.outcome import refused  # noqa: PLC0415 -- needed after a mistake only

            typer.echo(refused(error).as_json())
        else:
            typer.echo(to_json({"error": error}))


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

    Exit codes: 0 answered, 1 the run or the store failed, 2 wrong usage or a fault in the spec,
    3 the thread is busy, 130 interrupted.
    """


# Words that are too many are taken in by `run`, which knows why: a question without quotes.
app.command(cls=Command, context_settings={"allow_extra_args": True})(run)
for command in (
    resume,
    step,
    threads,
    status,
    history,
    show,
    edit,
    fork,
    diff,
    delete,
    export,
    check,
    schema,
    draw,
    init,
    select,
    compare,
    judge,
    report,
    attribute,
    serve,
    worker,
):
    app.command(cls=Command)(command)
app.command("import", cls=Command)(import_)
app.command("eval", cls=Command)(eval_)
keyring = typer.Typer(
    cls=Commands, no_args_is_help=True, help="Keep the keys that callers of `moa serve` must show."
)
keyring.command("add", cls=Command)(add)
keyring.command("list", cls=Command)(list_)
keyring.command("revoke", cls=Command)(revoke)
app.add_typer(keyring, name="keys")


def main() -> None:
    """Run the command line; the console script `moa`."""
    if not mend_streams():
        complain({"type": "UsageError", "message": "stdout is closed: the answer would be lost", "hint": ""})
        sys.exit(FAULT)
    try:
        app()
    except OSError as error:  # a reader that left is typer's own business
        # What stdout still holds would fail once more when the interpreter ends.
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 -- open until the end
        problem = f"cannot write to {error.filename or 'stdout'}: {error.strerror or error}"
        complain({"type": "OSError", "message": problem, "hint": ""})
        sys.exit(RUN_FAILED)
    finally:
        # Python's last garbage collection would take longer than all else that is left, for nothing.
        gc.freeze()
