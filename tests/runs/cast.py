"""A cast of in-process models for tests of threads: calls are counted, and anybody can be made to fail."""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.messages import BaseMessage

from moa_graph.models.failures import ProviderError
from moa_graph.resources import Registered
from moa_graph.runs.stores import Store
from moa_graph.runs.threads import Runs
from moa_graph.spec.schema import MoASpec
from tests.fakes.models import ScriptedChatModel

__all__ = ["THREE", "TWO", "Cast", "refusal"]

TWO = {"draft": "ab", "refine": "cd"}
"""Two layers of two, whose proposers are a, b and c, d."""
THREE = {"draft": "abc"}


def refusal() -> ProviderError:
    """Return an error that no provider's server bills, and that is not worth another attempt."""
    return ProviderError("no such parameter", status_code=400)


class Cast:
    """Hold a spec of single-letter slots and their models; a layer may ask any of them, also twice.

    A model's n-th text is "a1", "a2", …. `fail` and `hold` say who does not answer, `ticks` who lets the
    event loop turn so often before.
    """

    def __init__(
        self,
        layers: Mapping[str, str],
        aggregator: str = "z",
        *,
        layer: Mapping[str, Mapping[str, Any]] | None = None,
        slot: Mapping[str, Any] | None = None,
        final: Mapping[str, Any] | None = None,
        **parts: Any,
    ) -> None:
        names = sorted({*"".join(layers.values()), *aggregator, *"mnxyz"})
        self.document: dict[str, Any] = {
            "moa": 1,
            "name": "cast",
            "models": {name: {"model": f"host:{name}", **(slot or {})} for name in names},
            "layers": [
                {
                    "name": name,
                    "proposers": [{"model": slot} for slot in members],
                    **(layer or {}).get(name, {}),
                }
                for name, members in layers.items()
            ],
            "aggregator": {"model": aggregator[0], "fallbacks": list(aggregator[1:]), **(final or {})},
            **parts,
        }
        self.held: dict[str, asyncio.Event] = {}
        self.failing: dict[str, BaseException] = {}
        self.ticks: dict[str, int] = {}
        self.models = {name: self._model(name) for name in names}

    @property
    def spec(self) -> MoASpec:
        return MoASpec.model_validate(self.document)

    def changed(self, change: Callable[[dict[str, Any]], Any]) -> MoASpec:
        """Return another spec: `change` works on a copy of this one's document."""
        document = copy.deepcopy(self.document)
        change(document)
        return MoASpec.model_validate(document)

    def runs(self, store: Store, spec: MoASpec | None = None) -> Runs:
        """Return what a process of its own would have."""
        return Runs(store, spec or self.spec, Registered(self.models))

    def fail(self, names: str, error: BaseException | None = None) -> None:
        """Let these models refuse from now on."""
        self.failing.update(dict.fromkeys(names, error or refusal()))

    def mend(self) -> None:
        """Let all models answer again."""
        self.failing.clear()

    def hold(self, names: str) -> None:
        """Let these models wait for `release`."""
        self.held.update({name: asyncio.Event() for name in names})

    def release(self) -> None:
        """Let the models that are held answer."""
        for event in self.held.values():
            event.set()
        self.held.clear()

    async def asked(self, name: str, times: int = 1) -> None:
        """Wait until a model waits, or was asked so many times."""
        async with asyncio.timeout(5):
            while self.models[name].entered < times:  # noqa: ASYNC110 -- a turn or two of the loop
                await asyncio.sleep(0)

    @property
    def sent(self) -> Counter[str]:
        """Return how often each model was asked."""
        return Counter({name: len(model.calls) for name, model in self.models.items() if model.calls})

    def since(self, before: Counter[str]) -> dict[str, int]:
        """Return how often each model was asked since `before`."""
        return dict(self.sent - before)

    def seen(self, name: str, call: int = -1) -> list[BaseMessage]:
        """Return the messages that a model received, by default in its last call."""
        return self.models[name].calls[call]

    def _model(self, name: str) -> _Player:
        def reply(_: Any) -> str:
            if name in self.failing:
                raise self.failing[name]
            return f"{name}{len(self.models[name].calls)}"

        async def wait() -> None:
            self.models[name].enter()
            for _ in range(self.ticks.get(name, 0)):
                await asyncio.sleep(0)
            if name in self.held:
                await self.held[name].wait()

        return _Player(reply, wait=wait, model_name=name)


class _Player(ScriptedChatModel):
    entered: int = 0

    def enter(self) -> None:
        self.entered += 1
