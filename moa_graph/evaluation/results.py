"""Recorded results: who answered what, and how well, of a file or of the records of `moa eval`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from moa_graph.errors import MoAError
from moa_graph.evaluation.columns import FORMAT, Columns, read_columns

__all__ = ["Measure", "Results", "read_results"]

Measure = Literal["accuracy", "win rate"]


@dataclass(frozen=True)
class Results:
    """Hold what models did on the same questions: lists are as long as `ids`, mappings are by model.

    `scores` are 0 or 1 for an accuracy and anything between for a win rate. `left_out` counts questions that
    are not here because not every model has a score for them: in `cut` of them a proposer was cut or not
    asked. `unscored` names models of which answers or texts are recorded but no scores.
    """

    ids: list[str]
    scores: dict[str, list[float]]
    measure: Measure = "accuracy"
    answers: dict[str, list[str | None]] | None = None
    texts: dict[str, list[str | None]] | None = None
    left_out: int = 0
    unscored: Sequence[str] = ()
    cut: int = 0

    @property
    def models(self) -> list[str]:
        """Return the models in the order of the file."""
        return list(self.scores)

    def mean(self, model: str) -> float:
        """Return a model's accuracy or win rate."""
        return sum(self.scores[model]) / len(self.ids)

    def at(self, places: Sequence[int]) -> Results:
        """Return the questions at some places."""
        return replace(
            self,
            ids=[self.ids[place] for place in places],
            scores=_taken(self.scores, places),
            answers=_taken(self.answers, places) if self.answers is not None else None,
            texts=_taken(self.texts, places) if self.texts is not None else None,
        )

    def among(self, models: Sequence[str]) -> Results:
        """Return what some of the models did; raise MoAError if one of them is not here."""
        for model in models:
            if model not in self.scores:
                raise MoAError(f"no results of {model!r}", hint=f"There are: {', '.join(self.models)}.")

        def kept(column: Mapping[str, Any]) -> dict[str, Any]:
            return {model: values for model, values in column.items() if model in models}

        return replace(
            self,
            scores=kept(self.scores),
            answers=kept(self.answers) if self.answers is not None else None,
            texts=kept(self.texts) if self.texts is not None else None,
            unscored=(),  # they are not asked for
        )


def _taken(column: Mapping[str, Sequence[Any]], places: Sequence[int]) -> dict[str, list[Any]]:
    return {model: [values[place] for place in places] for model, values in column.items()}


def read_results(path: Path, task: str | None = None) -> Results:
    """Read recorded results: a JSON or JSONL file, packed (.xz, .gz) or not, or a folder of `moa eval`.

    `task` names one of a file with several. Questions that not every model has a score for are left out.
    Raises MoAError for what cannot be read or does not fit together.
    """
    raw = read_columns(path, task)
    scores, measure = _scores(raw, path)
    length = len(next(iter(scores.values())))
    ids = [str(id_) for id_ in raw.ids] if raw.ids is not None else [str(n) for n in range(1, length + 1)]
    if len(set(ids)) < len(ids):
        raise MoAError(f"{path}: ids: a question stands there twice", hint=FORMAT)
    columns: dict[str, Mapping[str, Sequence[Any]] | None]
    columns = {"scores": scores, "answers": raw.answers, "texts": raw.texts}
    for name, column in columns.items():
        for model in scores:
            if column and len(column.get(model, ())) != len(ids):
                raise MoAError(f"{path}: {name} of {model}: not one for each of {len(ids)} ids", hint=FORMAT)
    known = [i for i in range(len(ids)) if all(column[i] is not None for column in scores.values())]
    if not known:
        evaluate = "Proposers were cut or not asked: evaluate a spec without an early stop."
        hint = evaluate if raw.cut else FORMAT
        raise MoAError(f"{path}: there is no question that every model has a score for", hint=hint)
    answers = {model: [*map(_word, raw.answers[model])] for model in scores} if raw.answers else None
    texts = {model: raw.texts[model] for model in scores} if raw.texts and _said(raw.texts) else None
    unscored = [model for model in {**(raw.answers or {}), **(raw.texts or {})} if model not in scores]
    left_out = set(ids) - {ids[place] for place in known}
    cut = len(left_out & {str(id_) for id_ in raw.cut})
    whole = Results(ids, scores, measure, answers, texts, len(left_out), unscored, cut)  # type: ignore[arg-type]
    return whole.at(known)


def _said(texts: Mapping[str, Sequence[str | None]]) -> bool:
    return any(text is not None for column in texts.values() for text in column)


def _word(answer: str | float | None) -> str | None:
    return None if answer is None else str(answer)


def _scores(raw: Columns, path: Path) -> tuple[dict[str, list[float | None]], Measure]:
    given: Mapping[str, Sequence[Any]] | None = raw.correct or raw.preference
    if not given:
        raise MoAError(f"{path}: it says neither `correct` nor `preference`", hint=FORMAT)
    scores: dict[str, list[float | None]] = {}
    for model, values in given.items():
        try:
            scores[model] = [None if value is None else float(value) for value in values]
        except ValueError as error:
            raise MoAError(f"{path}: scores of {model}: {error}", hint=FORMAT) from error
        bounds = {0.0, 1.0} if raw.correct else None
        for value in scores[model]:
            if value is not None and not (value in bounds if bounds else 0 <= value <= 1):
                kind = "0 or 1" if bounds else "between 0 and 1"
                raise MoAError(f"{path}: scores of {model}: {value:g} is not {kind}", hint=FORMAT)
    return scores, "accuracy" if raw.correct else "win rate"
