"""What became of an item, as one record: the answer, whether it is right, what it took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from typing_extensions import TypedDict

from moa_graph.evaluation.datasets import Item
from moa_graph.evaluation.rows import refuse
from moa_graph.runs.run import Run
from moa_graph.selecting.answers import equal, extract, normalise
from moa_graph.spec.extracting import ExtractSpec
from moa_graph.state import Proposal
from moa_graph.usage import Usage, add_usage

__all__ = ["ENDED", "ItemError", "Record", "ScoredProposal", "check_gold", "error_of", "is_correct", "score"]

ENDED = frozenset({"ok", "failed"})
"""What a proposal is that has a score where there is a gold answer; who was cut has none."""


class ItemError(TypedDict):
    """Say why an item has no answer: the error's type and its message."""

    type: str
    message: str


class ScoredProposal(TypedDict):
    """Hold a proposal with what was read from it; a failed one is wrong, one that was cut is not judged."""

    id: str
    model: str
    status: str
    text: str
    extracted: str | None
    correct: bool | None


class Record(TypedDict):
    """Hold what became of one item.

    `answer`, `extracted`, `correct` and `proposals` are of the last turn; `turns` are the answers of all
    turns where there are several. A failed item is wrong: `correct` is False, and None only where there is
    no gold answer or no extractor. `calls`, `usage`, `cost` (USD, None: unknown) and `seconds` are of all
    turns.
    """

    id: str | int
    status: Literal["answered", "failed"]
    answer: str | None
    turns: list[str] | None
    extracted: str | None
    gold: list[str] | None
    correct: bool | None
    answered_by: str | None
    thread: str
    calls: int
    usage: Usage
    cost: float | None
    seconds: float
    proposals: list[ScoredProposal]
    error: ItemError | None


def score(item: Item, runs: Sequence[Run], how: ExtractSpec | None, error: ItemError | None = None) -> Record:
    """Return the record of an item from what its turns gave; with an `error` the last of them failed."""
    last = runs[-1]
    answers = [run.answer for run in runs if run.answer is not None]
    answer = last.answer if error is None else None
    extracted = _read(answer, how)
    return {
        "id": item.id,
        "status": "answered" if error is None else "failed",
        "answer": answer,
        "turns": answers if len(item.turns) > 1 else None,
        "extracted": extracted,
        "gold": list(item.gold) or None,
        "correct": is_correct(extracted, item.gold, how),
        "answered_by": last.answered_by if error is None else None,
        "thread": last.thread,
        "calls": sum(run.calls for run in runs),
        "usage": add_usage(run.usage for run in runs),
        "cost": _total(run.cost for run in runs),
        "seconds": round(sum(run.seconds for run in runs), 4),
        "proposals": [_scored(proposal, item, how) for proposal in last.proposals],
        "error": error,
    }


def is_correct(extracted: str | None, gold: Sequence[str], how: ExtractSpec | None) -> bool | None:
    """Tell whether an answer equals one of the gold answers; None where there is nothing to judge by."""
    if how is None or not gold:
        return None
    return extracted is not None and any(equal(extracted, _reading(each, how), how) for each in gold)


def check_gold(items: Iterable[Item], how: ExtractSpec | None) -> None:
    """Raise MoAError for all gold answers that no answer could equal, and for a `how` that cannot work."""
    if how is None:
        return
    extract("", how)  # a spec that lacks what it needs is refused here, not when the first item is paid for
    refuse(
        [
            f"{_where(item)}: {gold[:60]!r} is no answer as `{how.by}` reads it"
            for item in items
            for gold in item.gold
            if _reading(gold, how) is None
        ],
        hint="Say where the right answers are, with --gold, or read otherwise, with --extract. "
        "Nothing was asked.",
    )


def _where(item: Item) -> str:
    return f"{item.place}: item {item.id!r}" if item.place else f"item {item.id!r}"


def error_of(run: Run) -> ItemError:
    """Return why a turn failed in an earlier process, as its thread has noted it."""
    kind, colon, message = run.reason.partition(": ")
    return {"type": kind, "message": message} if colon else {"type": "RunError", "message": run.reason}


def _scored(proposal: Proposal, item: Item, how: ExtractSpec | None) -> ScoredProposal:
    ok = proposal["status"] == "ok"
    extracted = _read(proposal["text"] if ok else None, how)
    return {
        "id": proposal["id"],
        "model": proposal["requested_model"],
        "status": proposal["status"],
        "text": proposal["text"],
        "extracted": extracted,
        "correct": is_correct(extracted, item.gold, how) if proposal["status"] in ENDED else None,
    }


def _read(text: str | None, how: ExtractSpec | None) -> str | None:
    return None if text is None or how is None else extract(text, how)


def _total(costs: Iterable[float | None]) -> float | None:
    known: list[Any] = list(costs)
    return None if None in known else sum(known)


def _reading(gold: str, how: ExtractSpec) -> str | None:
    # Some datasets give the whole solution, which ends with the answer.
    return gold if normalise(gold, how) is not None else extract(gold, how)
