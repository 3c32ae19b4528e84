"""What happens when models fail: how soon a run ends, how many requests it costs, what reaches a prompt."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bench.figures import Figure
from moa_graph.errors import MoAError, QuorumNotMet
from moa_graph.graph import build_graph
from moa_graph.proposers import call
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.process import ServerProcess
from tests.fakes.specs import moa_spec
from tests.proposers.test_call import FAULTS, STREAMED

QUESTION: Any = {"messages": [("user", "Why is the sky blue?")]}
DEADLINE = 2.0
ONCE = ("400", "401", "403", "404", "422", "quota")
ATTEMPTS = 3


async def measure(_: ServerProcess) -> list[Figure]:
    """Measure what is promised about failures; the server is in this process, to read what it received."""
    with FakeOpenAI.in_thread() as server:
        return await _measure(server)


async def _measure(server: FakeOpenAI) -> list[Figure]:
    call.BACKOFF_BASE = 0.0  # requests are counted here, not the waits between them
    classified, reached, most, once = 0, 0, 0, 0
    whole, streamed = [(name, False) for name in FAULTS], [(name, True) for name in FAULTS | STREAMED]
    for behaviour, stream in [*whole, *streamed]:
        expected = (FAULTS | STREAMED if stream else FAULTS)[behaviour][0]
        record, prompt, requests = await _fault(server, behaviour, stream=stream)
        classified += record["failure"]["kind"] == expected
        reached += prompt.count("\n2. ")
        most = max(most, requests)
        once = max(once, requests) if behaviour in ONCE else once
    cases = 2 * len(FAULTS) + len(STREAMED.keys() - FAULTS.keys())
    late = [
        await _late(server, behaviour, stream)
        for behaviour in ("hang", "drip", "endless")
        for stream in (False, True)
    ]
    rows = [
        _row(
            "a hang, a drip, an endless stream: answer or typed error after",
            max(late),
            DEADLINE + 1,
            f"{max(late):.2f} s at a deadline of {DEADLINE:g} s",
            " s",
        ),
        _row(
            f"requests per call that fails, attempts = {ATTEMPTS}: the most of {cases} cases",
            most,
            ATTEMPTS,
            f"{most}",
        ),
        _row("requests for 400, 401, 403, 404, 422 and an exhausted quota: the most", once, 1, f"{once}"),
        Figure(
            "faults classified as they should be, streamed and not",
            f"{classified} of {cases}",
            "100 %",
            classified == cases,
        ),
        Figure("failed outputs that reached a later prompt", f"{reached} of {cases}", "0", reached == 0),
    ]
    return [*rows, *await _quorum(server)]


def _row(what: str, value: float, goal: float, shown: str, unit: str = "") -> Figure:
    return Figure(what, shown, f"≤ {goal:g}{unit}", value <= goal)


async def _fault(server: FakeOpenAI, behaviour: str, *, stream: bool) -> tuple[Any, str, int]:
    """Run a faulty proposer beside a sound one; return its record, the aggregator's prompt, the requests."""
    server.reset()
    graph = build_graph(moa_spec(server.base_url, [[behaviour, "ok@sound"]], "ok@z")).compile()
    state: Any = None
    if stream:
        async for mode, value in graph.astream(QUESTION, stream_mode=["messages", "values"]):
            state = value if mode == "values" else state
    else:
        state = await graph.ainvoke(QUESTION)
    prompt = server.of("ok@z")[0].messages[0]["content"]
    record = next(iter(state["proposals"].values()))
    return record, prompt, server.count(behaviour)


async def _late(server: FakeOpenAI, behaviour: str, stream: bool) -> float:
    """Return the seconds until a run with such a proposer, which its quorum needs, has ended."""
    layer = {"name": "draft", "proposers": [behaviour, "ok"], "quorum": 2}
    graph = build_graph(moa_spec(server.base_url, [layer], "ok@z", limits={"deadline": DEADLINE})).compile()
    await (
        build_graph(moa_spec(server.base_url, [], "ok@z")).compile().ainvoke(QUESTION)
    )  # imports are not meant
    began = time.monotonic()
    try:
        if stream:
            async for _ in graph.astream(QUESTION, stream_mode="messages"):
                pass
        else:
            await graph.ainvoke(QUESTION)
    except MoAError:
        pass
    return time.monotonic() - began


async def _quorum(server: FakeOpenAI) -> list[Figure]:
    """Let k of 6 proposers fail at once, for each k that a quorum of 3 allows, then all."""
    answered, cut = 0, 0
    for failing in range(4):
        members = [f"400@{number}" for number in range(failing)] + [
            f"ok-slow-0.1@{number}" for number in range(6 - failing)
        ]
        layer = {"name": "draft", "proposers": members, "quorum": 3}
        state = await build_graph(moa_spec(server.base_url, [layer], "ok@z")).compile().ainvoke(QUESTION)
        statuses = [record["status"] for record in state["proposals"].values()]
        answered += state["status"] == "answered" and statuses.count("failed") == failing
        cut += statuses.count("cut")
    server.reset()
    graph = build_graph(
        moa_spec(server.base_url, [[f"400@{number}" for number in range(6)]], "ok@z")
    ).compile()
    outcome = await asyncio.gather(graph.ainvoke(QUESTION), return_exceptions=True)
    asked = server.count("ok@z")
    typed = isinstance(outcome[0], QuorumNotMet) and asked == 0
    return [
        Figure(
            "0 to 3 of 6 proposers fail, quorum 3",
            f"{answered} of 4 answered, {cut} siblings cancelled",
            "all answered, 0 cancelled",
            answered == 4 and cut == 0,
        ),
        Figure(
            "all proposers fail",
            f"{type(outcome[0]).__name__}, {asked} calls of the aggregator",
            "typed error, aggregator not called",
            typed,
        ),
    ]
