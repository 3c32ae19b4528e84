"""How two threads differ, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moa_graph.cli.changes import differing
from moa_graph.cli.text import one_line, plain
from moa_graph.cli.wording import count, error_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moa_graph.runs.comparing import Change, Comparison
    from moa_graph.state import Proposal

__all__ = ["lines"]


def lines(found: Comparison, threads: tuple[str, str]) -> Iterator[str]:
    """Yield what differs between two threads, or that nothing does."""
    names = one_line(threads[0], 255), one_line(threads[1], 255)
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
