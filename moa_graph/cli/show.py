"""`moa show`: the proposals and the answer of a thread, or what one of its models was shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from moa_graph.cli.options import DEFAULT_DB, Db, Json, KeyEnv, ThreadId
from moa_graph.cli.proposals import decided, shown
from moa_graph.cli.store import with_runs
from moa_graph.cli.text import one_line, plain, to_json
from moa_graph.runs.commands import thread_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.messages import BaseMessage

    from moa_graph.runs.run import Run

__all__ = ["show"]

_ROLES = {"human": "user", "ai": "assistant"}


def show(
    thread: ThreadId,
    *,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", metavar="N", help="How it stood there; see `moa history`."),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            metavar="PROPOSAL",
            help="Show the exact messages that a call was given: LAYER/NAME, or aggregator/SLOT.",
        ),
    ] = None,
    db: Db = DEFAULT_DB,
    key_env: KeyEnv = None,
    as_json: Json = False,
) -> None:
    """Show the proposals and the answer of a thread's last turn.

    Of a call that failed the reason is shown. With --prompt: what one of the models was shown.
    """
    if prompt is not None:
        messages = with_runs(db, key_env, lambda runs: runs.prompt(thread, prompt, checkpoint=checkpoint))
        record = [{"role": _role(message), "content": message.content} for message in messages]
        typer.echo(to_json({"messages": record}) if as_json else "\n".join(_messages(messages)))
        return
    run = with_runs(db, key_env, lambda runs: runs.show(thread, checkpoint=checkpoint))
    typer.echo(to_json(run.plain()) if as_json else "\n".join(_lines(run, checkpoint)))


def _lines(run: Run, checkpoint: str | None) -> Iterator[str]:
    # How the turn ended says nothing of a checkpoint in its midst.
    state = f"before {run.next_layer}" if checkpoint and run.next_layer else run.status
    why = f" ({one_line(run.reason, 300)})" if state == "failed" and run.reason else ""
    yield f"{thread_name(run.thread)}: {state}{why}"
    yield f"question: {one_line(run.question)}"
    yield ""
    for passage in run.passages:
        yield f"── passage {one_line(passage['id'])} ({one_line(passage['source'])})"
        yield plain(passage["text"])
        yield ""
    yield from shown(run.proposals, run.aides)
    if run.stopped is not None:
        yield f"enough after {one_line(run.stopped['layer'])}: {one_line(run.stopped['reason'])}"
        yield ""
    if run.answer is not None:
        by = ", ".join(filter(None, [one_line(run.answered_by or ""), decided(run.decision)]))
        yield f"── answer ({by})"
        yield plain(run.answer)


def _messages(messages: list[BaseMessage]) -> Iterator[str]:
    for message in messages:
        yield f"── {_role(message)}"
        text = message.content if isinstance(message.content, str) else to_json(message.content)
        yield plain(text)


def _role(message: BaseMessage) -> str:
    return _ROLES.get(message.type, message.type)
