"""What is measured: 3 layers of 6 proposers and an aggregator, and the same 19 calls on their own."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage

from moa_graph.graph import build_graph
from moa_graph.models.pool import ModelPool
from moa_graph.prompts import compose
from moa_graph.runs.threads import Runs
from moa_graph.spec.schema import MoASpec
from moa_graph.state import Proposal, Reference, references_from
from tests.fakes.specs import moa_spec

__all__ = [
    "CALLS",
    "DEPTH",
    "QUESTION",
    "Bare",
    "CheckedError",
    "bare_of",
    "checked_run",
    "checked_start",
    "compiled",
    "late",
    "mixture_llm_run",
    "spec_for",
    "timed",
]

LAYERS, WIDTH = 3, 6
DEPTH = LAYERS + 1
CALLS = LAYERS * WIDTH + 1
TEXT_CHARS = 1000
QUESTION = (
    "Why is the sky blue, and why is the sunset red? Explain it to a curious adult in a few paragraphs."
)
Run = Callable[[], Awaitable[Any]]


class CheckedError(RuntimeError):
    """Stop a measurement whose runs did not do what is measured."""


def late(latency: float) -> str:
    """Return the fake server's behaviour that answers 1,000 characters after a latency in seconds."""
    return f"after-{latency}-long-{TEXT_CHARS}" if latency else f"long-{TEXT_CHARS}"


def spec_for(base_url: str, behaviour: str, *, aggregator: str | None = None) -> MoASpec:
    """Return the spec: 18 proposers on 6 slots and the aggregator on a seventh, all of one behaviour."""
    os.environ["BENCH_API_KEY"] = "bench-key"
    layer = [f"{behaviour}@{number}" for number in range(1, WIDTH + 1)]
    final = aggregator or f"{behaviour}@aggregator"
    return moa_spec(base_url, [layer] * LAYERS, final, slot={"api_key_env": "BENCH_API_KEY"})


def compiled(spec: MoASpec) -> Any:
    """Return the graph ready to run."""
    return build_graph(spec).compile()


async def checked_run(graph: Any, thread: str | None = None) -> dict[str, Any]:
    """Run a graph once; raise CheckedError unless all 18 proposals and an answer are there."""
    options: dict[str, Any] = {}
    if thread is not None:
        options = {"config": {"configurable": {"thread_id": thread}}, "durability": "sync"}
    state: dict[str, Any] = await graph.ainvoke({"messages": [("user", QUESTION)]}, **options)
    _check(state["status"], list(state["proposals"].values()))
    return state


async def checked_start(runs: Runs) -> None:
    """Ask the question in a new thread, with the same check."""
    run = await runs.start(QUESTION)
    _check(run.status, run.proposals)


def _check(status: str, proposals: list[Proposal]) -> None:
    ok = sum(proposal["status"] == "ok" for proposal in proposals)
    if status != "answered" or ok != CALLS - 1:
        raise CheckedError(f"{status} with {ok} proposals")


@dataclass(frozen=True)
class Bare:
    """The calls of a run, to the same chat models with the same prompts, in `asyncio.gather` alone."""

    layers: list[list[tuple[BaseChatModel, list[BaseMessage]]]]

    async def __call__(self) -> None:
        """Make the 19 calls, layer after layer."""
        for layer in self.layers:
            await asyncio.gather(*(model.ainvoke(prompt) for model, prompt in layer))

    def with_models(self, replace: Callable[[str], BaseChatModel], spec: MoASpec) -> Bare:
        """Return the same calls to other chat models, made from the models' names."""
        names = [[spec.models[member.model].model_name for member in members] for members in _members(spec)]
        return Bare(
            [
                [(replace(name), prompt) for name, (_, prompt) in zip(layer_names, layer, strict=True)]
                for layer_names, layer in zip(names, self.layers, strict=True)
            ]
        )


def _members(spec: MoASpec) -> list[list[Any]]:
    return [*(spec.members(layer) for layer in spec.layers), spec.aggregators()[:1]]


def bare_of(spec: MoASpec, proposals: dict[str, Proposal]) -> Bare:
    """Return the calls that led to some proposals, their prompts composed beforehand."""
    pool, question = ModelPool(spec), [HumanMessage(QUESTION)]
    layers: list[Any] = []
    references: list[Reference] = []
    for number, members in enumerate(_members(spec)):
        prompt = compose(question, references)
        models = [pool.get(m.model, temperature=m.temperature, max_tokens=m.max_tokens) for m in members]
        layers.append([(model, prompt) for model in models])
        if number < len(spec.layers):
            name = spec.layers[number].name
            references = references_from(p for p in proposals.values() if p["layer"] == name)
    return Bare(layers)


def mixture_llm_run(spec: MoASpec, client: Any) -> Run | None:
    """Return the same mixture in the package mixture-llm, or None where that is not installed."""
    if importlib.util.find_spec("mixture_llm") is None:
        return None
    import mixture_llm  # noqa: PLC0415 - optional

    proposers, aggregator = [
        [spec.models[member.model].model_name for member in members]
        for members in (spec.members(spec.layers[0]), spec.aggregators())
    ]

    async def call(*, model: str, messages: Any, temp: float, max_tokens: int) -> tuple[Any, int, int]:
        reply = await client.chat.completions.create(
            model=model, messages=messages, temperature=temp, max_tokens=max_tokens
        )
        return reply.choices[0].message.content, reply.usage.prompt_tokens, reply.usage.completion_tokens

    middle = [mixture_llm.Synthesize(proposers)] * (LAYERS - 1)
    pipeline = [mixture_llm.Propose(proposers), *middle, mixture_llm.Aggregate(aggregator[0])]

    async def run() -> None:
        answer, history = await mixture_llm.run(pipeline, QUESTION, call)
        failed = [info for step in history for info in step["llm_calls"] if "error" in info]
        if failed or not answer:
            first = failed[0]["error"] if failed else "no answer"
            raise CheckedError(f"{len(failed)} of {CALLS} calls failed, the first with {first}")

    return run


async def timed(run: Run) -> tuple[float, float]:
    """Run once; return wall seconds and CPU seconds of this process, all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    await run()
    return time.perf_counter() - wall, time.process_time() - cpu
