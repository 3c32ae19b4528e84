"""From two runs and the dataset they answered to the pairs that a judge is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moa_graph.errors import MoAError
from moa_graph.evaluation.datasets import Dataset, Fields, Item, Message, read_dataset
from moa_graph.evaluation.evaluated import EvaluatedRun
from moa_graph.evaluation.judgement import Pair

__all__ = ["Paired", "dataset_of", "pair_up"]

_NAME_IT = "Name the dataset that both runs are over: --dataset FILE."


@dataclass(frozen=True)
class Paired:
    """Hold the pairs of two runs, and the ids of items that are left out: without an answer in one of them.

    `only_one` counts items that are in one run alone.
    """

    pairs: list[Pair]
    unanswered: list[str]
    only_one: int


def dataset_of(runs: Sequence[EvaluatedRun], file: Path | None = None) -> Dataset:
    """Read the dataset that runs answered, with the fields that they took; `file` where it is another one.

    Raises MoAError where no run names a dataset that is there, and as `read_dataset`.
    """
    places = [file] if file else [place for run in runs for place in run.places if place.is_file()]
    if not places:
        named = next((run.dataset for run in runs if run.dataset), None)
        problem = "the runs do not say which dataset they answer"
        raise MoAError(f"{named}: this dataset is not there" if named else problem, hint=_NAME_IT)
    fields = next((run.fields for run in runs if run.fields and run.fields != Fields()), None)
    return read_dataset(places[0], fields)


def pair_up(baseline: EvaluatedRun, run: EvaluatedRun, dataset: Dataset) -> Paired:
    """Return what a judge is asked: the second run's answers against the first run's.

    Raises MoAError where no item is in both runs and the dataset, or a run is of another dataset.
    """
    for each in (baseline, run):
        if each.digest is not None and each.digest != dataset.digest:
            raise MoAError(
                f"{dataset.file}: not the questions that were answered: {each.dataset} as it was then",
                hint=_NAME_IT,
            )
    pairs: list[Pair] = []
    unanswered: list[str] = []
    for item in dataset.items:
        id_ = str(item.id)
        if id_ not in baseline.records or id_ not in run.records:
            continue
        answers = [_answer(each.records[id_]) for each in (run, baseline)]
        if None in answers:
            unanswered.append(id_)
        else:
            pairs.append(Pair(id_, _question(item), str(answers[0]), str(answers[1])))
    if not pairs and not unanswered:
        raise MoAError(f"no item of {dataset.file} is in both runs")
    return Paired(pairs, unanswered, len(baseline.records.keys() ^ run.records.keys()))


def _question(item: Item) -> str:
    return _numbered(["\n\n".join(_shown(turn)) for turn in item.turns])


def _answer(record: Mapping[str, Any]) -> str | None:
    turns = record.get("turns")
    if turns and record.get("answer") is not None:
        return _numbered(list(map(str, turns)))
    answer = record.get("answer")
    return None if answer is None else str(answer)


def _shown(messages: Sequence[Message]) -> list[str]:
    """Return messages as text; who speaks is said where it is not the user alone."""
    if all(message["role"] == "user" for message in messages):
        return [str(message["content"]) for message in messages]
    return [f"{message['role']}: {message['content']}" for message in messages]


def _numbered(turns: Sequence[str]) -> str:
    if len(turns) == 1:
        return turns[0]
    return "\n\n".join(f"(turn {number})\n{turn}" for number, turn in enumerate(turns, 1))
