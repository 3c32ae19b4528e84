"""Evaluations for tests: items, a spec of in-process models, and orders on a folder of the test's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage

from moa_graph.evaluation.datasets import read_dataset
from moa_graph.evaluation.evaluate import Order, evaluate
from moa_graph.evaluation.running import Evaluation
from moa_graph.evaluation.scoring import Record
from moa_graph.spec.extracting import ExtractSpec
from moa_graph.spec.schema import MoASpec
from tests.fakes.models import ScriptedChatModel

__all__ = ["NUMBER", "Bench", "sums"]

NUMBER = ExtractSpec(by="number")


def sums(count: int) -> list[dict[str, Any]]:
    """Return items that ask for sums: `1+1`, `2+2`, …"""
    return [{"id": f"q{n}", "question": f"{n}+{n}", "gold": n + n} for n in range(1, count + 1)]


class Bench:
    """Hold a spec of proposers a, b and an aggregator z, whose texts are functions of the question.

    By default a and z are right, and b says 1. `fail` are questions to which z raises; `hold` are those at
    which z waits until `release`.
    """

    def __init__(self, folder: Path, **slot: Any) -> None:
        self.folder = folder
        self.document: dict[str, Any] = {
            "moa": 1,
            "name": "bench",
            "models": {name: {"model": f"host:{name}", **slot} for name in "abz"},
            "defaults": {"attempts": 1},
            "layers": [{"name": "draft", "proposers": ["a", "b"]}],
            "aggregator": {"model": "z"},
        }
        self.fail: dict[str, BaseException] = {}
        self.hold: set[str] = set()
        self.gate = asyncio.Event()
        self.under_way = 0
        self.peak = 0
        self.models = {"a": self._model(right), "b": ScriptedChatModel("1"), "z": self._model(right)}

    @property
    def spec(self) -> MoASpec:
        return MoASpec.model_validate(self.document)

    def _model(self, answer: Callable[[str], str]) -> ScriptedChatModel:
        def reply(messages: Sequence[BaseMessage]) -> str:
            question = str(messages[-1].text)
            if question in self.fail:
                raise self.fail[question]
            return answer(question)

        return ScriptedChatModel(reply)

    def held(self) -> None:
        """Let z wait before every answer until the gate is opened."""

        async def wait() -> None:
            self.under_way += 1
            self.peak = max(self.peak, self.under_way)
            await self.gate.wait()
            self.under_way -= 1

        self.models["z"].wait = wait

    def order(self, rows: Sequence[Mapping[str, Any]], **options: Any) -> Order:
        """Return an order on rows that are written to a file."""
        file = self.folder / "data.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        dataset = read_dataset(file)
        given = {"items": dataset.items, "out": self.folder / "out", "how": NUMBER, **options}
        return Order(spec=self.spec, dataset=dataset, models=self.models, **given)

    async def run(self, rows: Sequence[Mapping[str, Any]], **options: Any) -> Evaluation:
        """Evaluate rows to the end."""
        return await evaluate(self.order(rows, **options))

    @property
    def records(self) -> list[Record]:
        """Return the records as they are in the folder."""
        lines = (self.folder / "out" / "records.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    @property
    def sent(self) -> dict[str, int]:
        """Return how often each model answered or refused."""
        return {name: len(model.calls) for name, model in self.models.items()}


def right(question: str) -> str:
    """Return the right answer to a sum."""
    first, _, second = question.partition("+")
    return f"The answer is {int(first) + int(second)}" if second else "I do not know."
