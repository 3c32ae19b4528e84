"""The slot of a model as what answers: whose settings a request bears."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from moa_graph.graph import build_graph
from tests.fakes.openai_server import FakeOpenAI
from tests.fakes.specs import spec_document

FIRST, FALLBACK = "500@first", "ok@fallback"


async def asked(
    server: FakeOpenAI, slots: dict[str, Any], caller: int | None, final: Any = None, **parts: Any
) -> list[int | None]:
    """Return the token limits of the requests to the aggregator and its fallback."""
    aggregator = {"model": FIRST, "fallbacks": [FALLBACK], **(final or {})}
    spec = spec_document(server.base_url, [], aggregator, slots=slots, defaults={"attempts": 1}, **parts)
    acting = {} if caller is None else {"max_tokens": caller}
    config: Any = {"configurable": {"moa": {"acting": acting}}}
    await build_graph(spec).compile().ainvoke({"messages": [HumanMessage("Why?")]}, config)
    return [server.of(model)[0].body.get("max_tokens") for model in (FIRST, FALLBACK)]


def limited(first: int | None, fallback: int | None) -> dict[str, Any]:
    return {FIRST: {"max_tokens": first}, FALLBACK: {"max_tokens": fallback}}


@pytest.mark.parametrize(
    ("slots", "caller", "expected"),
    [
        (limited(1000, 50), 700, [700, 50]),
        (limited(100, 50), 700, [700, 50]),
        (limited(1000, 50), 20, [20, 20]),
        (limited(1000, None), 700, [700, 700]),
        (limited(1000, 50), None, [1000, 50]),
    ],
    ids=["lowers", "raises", "lowers-both", "unlimited", "says-nothing"],
)
async def test_a_caller_may_lower_the_limit_of_a_fallback_and_not_raise_it(
    server: FakeOpenAI, slots: dict[str, Any], caller: int | None, expected: list[int]
) -> None:
    assert await asked(server, slots, caller) == expected


async def test_the_limit_that_the_aggregators_part_says_is_its_fallbacks_too(server: FakeOpenAI) -> None:
    assert await asked(server, limited(1000, 50), 700, {"max_tokens": 300}) == [700, 300]


async def test_no_more_is_reserved_for_a_fallback_than_it_may_write(server: FakeOpenAI) -> None:
    slots = limited(1000, 50)
    slots[FIRST]["price"] = {"input": 0, "output": 0}
    slots[FALLBACK]["price"] = {"input": 0, "output": 1_000_000}  # a dollar a token
    assert await asked(server, slots, 700, limits={"max_cost": 60}) == [700, 50]
