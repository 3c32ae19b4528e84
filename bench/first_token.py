"""Time from the end of the last proposal to the first token of the answer that the caller sees."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from bench.figures import Figure, plain
from bench.setting import QUESTION, bare_of, checked_run, compiled, spec_for
from tests.fakes.process import ServerProcess

ROUNDS = 25
WORDS, PACE = 20, 0.005


async def measure(server: ServerProcess) -> list[Figure]:
    """Measure it through LangGraph's streaming, and for the same chat models without a graph.

    The clock starts when the server has sent the last proposal; it is the same in both processes. Proposers
    stream as well, word by word, because the caller does.
    """
    spec = spec_for(server.base_url, f"paced-{WORDS}-{PACE}", aggregator="ok@aggregator")
    graph = compiled(spec)
    state = await checked_run(graph)
    bare = bare_of(spec, state["proposals"])
    graph_waits, bare_waits, sent = [], [], []
    for _ in range(ROUNDS):
        server.reset()
        token = await _first_token(graph)
        last, asked = _last_proposal(server)
        graph_waits.append(token - last)
        sent.append(asked - last)
        server.reset()
        token = await _first_bare_token(bare)
        bare_waits.append(token - _last_proposal(server)[0])
    wait, alone = median(graph_waits) * 1000, median(bare_waits) * 1000
    shown = f"{wait:.1f} ms, of which {median(sent) * 1000:.1f} ms until the aggregator's request has arrived"
    return [
        plain(
            "last proposal to first token of the answer: moa_graph", f"{shown} ({wait / alone:.2f} × bare)"
        ),
        plain("last proposal to first token of the answer: bare gather, then astream", f"{alone:.1f} ms"),
    ]


async def _first_token(graph: Any) -> float:
    first = 0.0
    question = {"messages": [("user", QUESTION)]}
    async for message, metadata in graph.astream(question, stream_mode="messages"):
        if not first and metadata.get("moa_role") == "aggregator" and message.text:
            first = time.monotonic()
    return first


async def _first_bare_token(bare: Any) -> float:
    *layers, final = bare.layers
    await type(bare)(layers)()
    model, prompt = final[0]
    first = 0.0
    async for chunk in model.astream(prompt):
        if not first and chunk.text:
            first = time.monotonic()
    return first


def _last_proposal(server: ServerProcess) -> tuple[float, float]:
    """Return when the last proposal was sent and when the aggregator's request arrived."""
    requests = server.stats(with_requests=True)["requests"]
    proposals = [request["finished"] for request in requests if not request["model"].startswith("ok@")]
    asked = [request["started"] for request in requests if request["model"].startswith("ok@")]
    return max(proposals), asked[0]
