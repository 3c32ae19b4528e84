"""Recorded models in a graph: their answers as replay files, specs that ask them, and what came of it."""

from __future__ import annotations

import json
import lzma
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from langchain_core.messages import HumanMessage

from moa_graph import MoASpec, build_graph, parse_spec
from moa_graph.selecting.answers import equal, extract
from moa_graph.spec.extracting import ExtractSpec

__all__ = [
    "HOW",
    "POOL",
    "TASKS",
    "Kind",
    "Outcome",
    "Stage",
    "Task",
    "answer",
    "plurality",
    "read_tasks",
    "spec_of",
    "until_two_agree",
    "write_dataset",
    "write_replays",
]

TASKS = ("math-l5", "crux", "gsm")
POOL = (
    "Mistral-Large-2",
    "deepseek-v2.5-0908",
    "Meta-Llama-3.1-70B-Instruct",
    "Qwen2-72B-Instruct",
    "Meta-Llama-3-70B-Instruct",
    "Yi-1.5-34B-Chat",
)
"""The six models whose texts are recorded, in the order in which they are asked and break ties."""

Kind = Literal["answers", "texts"]
"""What a replayed model says: the answer that was extracted by those who recorded it, or its own text."""

HOW: Mapping[Kind, dict[str, Any]] = {
    "answers": {"by": "json-path", "path": "answer", "equality": "exact"},
    "texts": {"by": "number"},
}
"""How an answer is read. A recorded one is said as `{"answer": …}`: a model cannot say nothing at all."""


@dataclass(frozen=True)
class Task:
    """Hold what models did on the same questions; `texts` are there for the pool on math-l5 alone.

    Where the questions themselves are not recorded, their ids stand for them.
    """

    name: str
    questions: list[str]
    gold: list[str]
    answers: Mapping[str, Sequence[str | None]]
    correct: Mapping[str, Sequence[float]]
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.questions)

    def best_of(self, models: Iterable[str]) -> str:
        """Return who is right most often, the first of several."""
        return max(models, key=lambda model: sum(self.correct[model]))


@dataclass(frozen=True)
class Stage:
    """Describe a layer: whom it asks, in which order and how many at once, and who goes on."""

    models: Sequence[str]
    concurrency: int | None = None
    select: Mapping[str, Any] | None = None


@dataclass
class Outcome:
    """Hold for each question whether the answer was right, and whom it took; `seconds` are for all."""

    right: list[float] = field(default_factory=list)
    asked: list[Counter[str]] = field(default_factory=list)
    written: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def calls(self, models: Iterable[str] | None = None) -> list[float]:
        """Return the calls of each question, of all models or of some."""
        known = None if models is None else set(models)
        return [
            float(sum(count for model, count in asked.items() if known is None or model in known))
            for asked in self.asked
        ]


def read_tasks(folder: Path) -> dict[str, Task]:
    """Return the recorded tasks by name."""
    recorded = _unpacked(folder / "answers28.json.xz")["tasks"]
    pool = _unpacked(folder / "pool6_mathl5.json.xz")["math-l5"]
    tasks = {}
    for name in TASKS:
        data = recorded[name]
        asked = {"questions": pool["question"], "texts": pool} if name == "math-l5" else {}
        tasks[name] = Task(
            name=name,
            questions=asked.get("questions", data["ids"]),
            gold=data["gold"],
            answers=data["answers"],
            correct={model: [float(sign) for sign in signs] for model, signs in data["correct"].items()},
            texts={model: pool[model] for model in POOL} if asked else {},
        )
    return tasks


def write_replays(folder: Path, task: Task, models: Iterable[str], kind: Kind) -> dict[str, Path]:
    """Write a replay file for each model; return where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for model in models:
        said = task.texts[model] if kind == "texts" else map(_as_json, task.answers[model])
        lines = (
            json.dumps({"model": model, "question": question, "text": text})
            for question, text in zip(task.questions, said, strict=True)
        )
        files[model] = folder / f"{task.name}-{kind}-{model}.jsonl"
        files[model].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files


def write_dataset(file: Path, task: Task) -> Path:
    """Write the questions with their gold answers as `moa eval` reads them."""
    rows = zip(task.questions, task.gold, strict=True)
    lines = (json.dumps({"id": n, "question": asked, "gold": gold}) for n, (asked, gold) in enumerate(rows))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def spec_of(
    files: Mapping[str, Path],
    kind: Kind,
    stages: Sequence[Stage],
    *,
    agree: int | None = None,
    weights: Mapping[str, float] | None = None,
) -> MoASpec:
    """Return a spec that votes over what replayed models say; `agree` equal answers end it early."""
    layers = []
    for number, stage in enumerate(stages):
        layer = {"name": f"layer-{number + 1}", "proposers": list(stage.models)}
        extra = {"concurrency": stage.concurrency, "select": stage.select}
        if number:
            extra["references"] = {"from": "none"}
        layers.append(layer | {key: value for key, value in extra.items() if value is not None})
    data: dict[str, Any] = {
        "moa": 1,
        "name": "recorded",
        "models": {m: {"model": f"replay:{files[m]}"} for stage in stages for m in stage.models},
        "layers": layers,
        "aggregator": {"reduce": "vote", "extract": HOW[kind], "on_error": "first"},
    }
    if agree is not None:
        data["stop"] = {"by": "agreement", "agree": agree, "extract": HOW[kind]}
    if weights is not None:
        data["aggregator"]["weights"] = dict(weights)
    return parse_spec(json.dumps(data))


async def answer(spec: MoASpec, task: Task, kind: Kind, places: Iterable[int] | None = None) -> Outcome:
    """Ask the questions at some places, or all, one after another, each through the whole graph.

    Of recorded answers, that is right which the recording says of the model whose proposal was taken; of
    texts, what our own extractor reads is compared with the gold answer.
    """
    graph = build_graph(spec).compile()
    outcome, began = Outcome(), time.monotonic()
    for place in range(len(task)) if places is None else places:
        state = await graph.ainvoke({"messages": [HumanMessage(task.questions[place])]})
        message = state["messages"][-1]
        if kind == "answers":
            taken = message.response_metadata["moa"]["answered_by"].rpartition("/")[2]
            outcome.right.append(task.correct[taken][place])
        else:
            how = ExtractSpec(**HOW[kind])
            outcome.right.append(float(equal(extract(message.text, how), task.gold[place], how)))
        asked = [record for record in state["proposals"].values() if record["attempts"]]
        outcome.asked.append(Counter(record["proposer"] for record in asked))
        outcome.written.append(float(sum(len(record["text"]) for record in asked)))
    outcome.seconds = time.monotonic() - began
    return outcome


def plurality(task: Task, models: Sequence[str]) -> list[float]:
    """Count a vote without the package: who abstains does not count, a tie goes to the earliest model."""
    return [_voted(task, models, place) for place in range(len(task))]


def until_two_agree(task: Task, models: Sequence[str]) -> tuple[list[float], list[float]]:
    """Count without the package what asking one by one gives: whether it is right, and the calls."""
    right, calls = [], []
    for place in range(len(task)):
        count = 0
        given: Counter[str] = Counter()
        for model in models:
            count += 1
            if (said := task.answers[model][place]) is not None:
                given[said] += 1
                if given[said] == 2:
                    break
        right.append(_voted(task, models[:count], place))
        calls.append(float(count))
    return right, calls


def _voted(task: Task, models: Sequence[str], place: int) -> float:
    said = [task.answers[model][place] for model in models]
    given = Counter(each for each in said if each is not None)
    # Counter keeps the order in which answers first came, and takes the first of those that are equal.
    return task.correct[models[said.index(given.most_common(1)[0][0])]][place] if given else 0.0


def _as_json(said: str | None) -> str:
    return json.dumps({"answer": said})


def _unpacked(file: Path) -> Any:
    with lzma.open(file) as stream:
        return json.load(stream)
