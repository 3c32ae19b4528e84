"""How two texts, or two threads, differ: `[-old-]{+new+}`, in colours on a terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import typer

from moa_graph.cli.proposals import error_of
from moa_graph.cli.text import count, one_line, plain
from moa_graph.runs.commands import thread_name
from moa_graph.runs.comparing import word_diff

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moa_graph.runs.comparing import Change, Comparison
    from moa_graph.state import Proposal

__all__ = ["differing", "lines"]

_SIGNS = {"-": ("[-", "-]", typer.colors.RED), "+": ("{+", "+}", typer.colors.GREEN)}


def differing(old: str, new: str) -> str:
    """Return both texts as one, with what differs marked; terminal escapes of theirs are stripped."""
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    pieces = []
    for kind, text in word_diff(plain(old), plain(new)):
        if kind == "=":
            pieces.append(text)
            continue
        begin, end, colour = _SIGNS[kind]
        marked = f"{begin}{text}{end}"
        pieces.append(typer.style(marked, fg=colour) if coloured else marked)
    return "".join(pieces)


def lines(found: Comparison, threads: tuple[str, str]) -> Iterator[str]:
    """Yield what differs between two threads, or that nothing does."""
    names = thread_name(threads[0]), thread_name(threads[1])
    if found.equal:
        answer = "no answer yet" if found.answers[0] is None else "answer"
        yield f"{names[0]} and {names[1]} are equal: spec, {count(found.same, 'proposal')}, {answer}"
        return
    if found.questions[0] != found.questions[1]:
        yield "── questions"
        yield differing(one_line(found.questions[0]), one_line(found.questions[1]))
    yield "── specs" if found.spec else "── specs: equal"
    if found.spec:
        yield plain(found.spec)
    yield f"── proposals: {found.same} equal, {len(found.changes)} not"
    for change in found.changes:
        yield from _change(change, names)
    yield from _answers(found.answers, names)


def _change(change: Change, names: tuple[str, str]) -> Iterator[str]:
    old, new = change.before, change.after
    id_ = one_line(change.id)
    if old is None or new is None:
        name, record = (names[1], new) if old is None else (names[0], old)
        if record is not None:
            yield f"{id_}: only in {name}"
            yield _text(record)
        return
    if old["requested_model"] != new["requested_model"]:
        yield f"{id_}: {one_line(old['requested_model'])} → {one_line(new['requested_model'])}"
    else:
        yield f"{id_}: changed"
    if old["status"] == new["status"] == "ok":
        yield differing(old["text"], new["text"])
    else:
        yield f"[-{_text(old)}-]"
        yield f"{{+{_text(new)}+}}"


def _text(record: Proposal) -> str:
    return error_of(record) or plain(record["text"])


def _answers(answers: tuple[str | None, str | None], names: tuple[str, str]) -> Iterator[str]:
    old, new = answers
    if old is not None and new is not None:
        yield "── answers: equal" if old == new else "── answers"
        if old != new:
            yield differing(old, new)
    elif old is new:
        yield "── answers: neither has one yet"
    else:
        yield f"── answers: only {names[0] if new is None else names[1]} has one"
        yield plain(old or new or "")
