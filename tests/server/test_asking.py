"""A request's run is admitted, measured and billed, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from moa_graph.errors import AggregatorFailed, QuorumNotMet
from moa_graph.runs.stores import Store, open_store
from moa_graph.server import asking
from moa_graph.server.asking import Served, parts_of
from moa_graph.server.faults import Refused
from moa_graph.server.keys import Key, KeyLimits, KeyRing
from moa_graph.server.limiting import Limiter
from moa_graph.server.metrics import Metrics
from moa_graph.server.performing import Answer, Ask, Performer, Place
from moa_graph.server.remembering import Turns
from moa_graph.server.settings import Settings
from moa_graph.server.shelf import Shelf, open_shelf
from moa_graph.terms import Terms
from tests.fakes.models import ScriptedChatModel as Model
from tests.runs.cast import refusal
from tests.server.test_performing import spec

QUESTION = [HumanMessage("Why?")]
PRICE = {"price": {"input": 1.0, "output": 1.0}, "max_tokens": 1000}


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    async with open_store("memory:") as opened:
        yield opened


@pytest.fixture
async def shelf() -> AsyncIterator[Shelf]:
    async with open_shelf("memory:") as opened:
        yield opened


class House:
    """Hold what the routes share, around models in this process."""

    def __init__(self, store: Store, shelf: Shelf, a: Any = "A draft.", z: Any = "Yes.", **slot: Any) -> None:
        self.a, self.z = Model(a), Model(z)
        performer = Performer([spec(**slot)], store, {"a": self.a, "z": self.z})
        self.limiter = Limiter(shelf, at_once=2, queue=2, patience=5)
        self.served = Served(
            performer=performer,
            keys=KeyRing(None, KeyLimits()),
            limiter=self.limiter,
            metrics=Metrics(["team"]),
            turns=Turns(shelf),
            background=None,  # type: ignore[arg-type] # nothing runs there
            settings=Settings(),
            shelf=shelf,
        )
        self.notes: dict[str, Any] = {}

    async def ask(self, key: Key, place: Place | None = None, **terms: Any) -> Answer:
        ask = Ask("team", QUESTION, Terms(**terms), place)  # type: ignore[typeddict-item]
        parts = [part async for part in parts_of(self.served, key, ask, self.notes)]
        assert isinstance(parts[-1], Answer)
        return parts[-1]

    def counted(self, line: str) -> float:
        """Return the value of a line of the metrics."""
        lines = self.served.metrics.text().decode().splitlines()
        return float(next((each.rsplit(" ", 1)[1] for each in lines if each.startswith(line)), 0))


def key(**limits: Any) -> Key:
    return Key("k" * 12, "me", KeyLimits(**limits))


async def spent(house: House, shelf: Shelf) -> float:
    """Return what is counted against the key's day, once all is settled."""
    await house.limiter.close()
    day = next(name for name in shelf._sums if name.startswith("cost/"))  # type: ignore[attr-defined]
    return await shelf.add(day, 0.0, 60)


async def test_a_run_is_measured_and_noted(store: Store, shelf: Shelf) -> None:
    house = House(store, shelf, **PRICE)
    await house.ask(key())
    assert house.counted('moa_runs_total{model="team",status="answered"}') == 1
    assert house.counted('moa_runs_in_flight{model="team"}') == 0
    assert house.counted('moa_calls_total{model="team",role="aggregator",status="ok"}') == 1
    assert house.notes["run"] == "answered"
    assert house.notes["calls"] == 2


async def test_what_a_run_cost_is_counted_against_the_day(store: Store, shelf: Shelf) -> None:
    house = House(store, shelf, **PRICE)
    answer = await house.ask(key(cost_per_day=1.0))
    cost = answer.message.response_metadata["moa"]["cost"]
    assert 0 < cost < 0.001
    assert await spent(house, shelf) == pytest.approx(cost)


async def test_an_answer_that_is_there_is_neither_billed_nor_counted_again(
    store: Store, shelf: Shelf
) -> None:
    house = House(store, shelf, **PRICE)
    place = Place("me/t", "1", {})
    first = await house.ask(key(cost_per_day=1.0), place)
    await house.ask(key(cost_per_day=1.0), place)
    assert await spent(house, shelf) == pytest.approx(first.message.response_metadata["moa"]["cost"])
    assert house.counted('moa_calls_total{model="team",role="aggregator",status="ok"}') == 1
    assert house.counted('moa_runs_total{model="team",status="answered"}') == 2


async def test_a_run_that_fails_is_billed_for_what_it_paid(store: Store, shelf: Shelf) -> None:
    house = House(store, shelf, z=refusal(), **PRICE)
    with pytest.raises(AggregatorFailed) as failed:
        await house.ask(key(cost_per_day=1.0))
    draft, _ = failed.value.proposals
    assert 0 < draft["cost"] < 0.001
    assert house.counted('moa_runs_total{model="team",status="AggregatorFailed"}') == 1
    assert (house.notes["run"], house.notes["calls"]) == ("AggregatorFailed", 2)
    assert house.notes["cost"] == pytest.approx(draft["cost"])
    assert await spent(house, shelf) == pytest.approx(draft["cost"])


async def test_a_run_that_nobody_answered_costs_nothing(store: Store, shelf: Shelf) -> None:
    house = House(store, shelf, a=refusal(), **PRICE)
    with pytest.raises(QuorumNotMet):
        await house.ask(key(cost_per_day=1.0))
    assert (house.notes["run"], house.notes["calls"], house.notes["cost"]) == ("QuorumNotMet", 1, 0.0)
    assert await spent(house, shelf) == pytest.approx(0.0)


@pytest.mark.parametrize("tokens", [False, True], ids=["whole", "pieces"])
async def test_the_first_piece_is_timed_from_the_admission(
    store: Store, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, tokens: bool
) -> None:
    passed = 100.0
    house = House(store, shelf)

    async def last(seconds: float) -> None:
        nonlocal passed
        passed += seconds

    monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=lambda: passed))
    house.a.wait, house.z.wait = (lambda: last(1.0)), (lambda: last(2.0))
    async for part in parts_of(house.served, key(), Ask("team", QUESTION, Terms(), tokens=tokens)):
        passed += 4.0 if isinstance(part, Answer) else 0.0
    assert house.counted('moa_first_token_seconds_sum{model="team"}') == 3.0
    assert house.counted('moa_run_seconds_sum{model="team"}') == 7.0


async def test_who_leaves_in_the_middle_is_billed_also_for_the_call_that_was_cut(
    store: Store, shelf: Shelf
) -> None:
    house = House(store, shelf, **PRICE)
    begun = asyncio.Event()
    house.z.wait = lambda: begun.set() or asyncio.Event().wait()
    running = asyncio.ensure_future(house.ask(key(cost_per_day=1.0)))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert house.counted('moa_runs_total{model="team",status="cancelled"}') == 1
    assert (house.notes["run"], house.notes["calls"]) == ("cancelled", 2)
    assert house.notes["cost"] == pytest.approx(await spent(house, shelf))
    assert house.counted('moa_calls_total{model="team",role="aggregator",status="cut"}') == 1
    drafts = house.a.calls
    assert len(drafts) == 1
    assert 0 < await spent(house, shelf) < 0.01


async def test_a_call_whose_end_nobody_heard_counts_as_what_was_reserved(
    store: Store, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(store, shelf, **PRICE)
    most = await house.served.performer.most(Ask("team", QUESTION, Terms()))
    run = house.served.performer.parts

    def deaf(ask: Ask, *, listen: Any, **options: Any) -> Any:
        return run(ask, listen=lambda event: event["type"] == "call.started" and listen(event), **options)

    monkeypatch.setattr(house.served.performer, "parts", deaf)
    await house.ask(key(cost_per_day=1.0))
    assert await spent(house, shelf) == pytest.approx(most)


async def test_a_run_may_cost_no_more_than_what_is_left(store: Store, shelf: Shelf) -> None:
    house = House(store, shelf, **PRICE)
    most = await house.served.performer.most(Ask("team", QUESTION, Terms()))
    assert most is not None
    seen: list[float] = []
    run = house.served.performer.parts

    def noted(ask: Ask, **options: Any) -> Any:
        seen.append((ask.terms.get("limits") or {}).get("max_cost", -1.0))
        return run(ask, **options)

    house.served.performer.parts = noted  # type: ignore[method-assign]
    await house.ask(key(cost_per_day=most * 2))
    await house.ask(key(cost_per_day=most * 0.9))
    await house.ask(key(cost_per_day=1.0), limits={"max_cost": most * 0.8})
    assert seen[0] == pytest.approx(most * 2)
    assert 0 < seen[1] < most
    assert seen[2] == most * 0.8


async def test_an_answer_is_no_longer_than_the_spec_allows(store: Store, shelf: Shelf) -> None:
    house = House(store, shelf, **PRICE)
    seen: list[Any] = []
    run = house.served.performer.parts

    def noted(ask: Ask, **options: Any) -> Any:
        seen.append(ask.terms["acting"].get("max_tokens"))
        return run(ask, **options)

    house.served.performer.parts = noted  # type: ignore[method-assign]
    for wanted in (100_000, 10, None):
        await house.ask(key(), acting={"max_tokens": wanted})
    assert seen == [1000, 10, None]


async def test_a_run_that_is_kept_is_refused_where_its_day_has_too_little_left(
    store: Store, shelf: Shelf
) -> None:
    house = House(store, shelf, **PRICE)
    poor, place = key(cost_per_day=0.0001), Place("me/t", "1", {})
    with pytest.raises(Refused, match="may cost"):
        await house.ask(poor, place)
    assert await store.keys() == []
    await house.ask(key(), place)
    assert (await house.ask(poor, place)).message.text == "Yes."  # what is answered costs nothing


async def test_an_unknown_bound_is_none_whatever_a_client_limits(store: Store, shelf: Shelf) -> None:
    house = House(store, shelf)
    with pytest.raises(Refused, match="no bound") as refused:
        await house.ask(key(cost_per_day=1.0), limits={"deadline": 1.0})
    assert refused.value.code == "cost_unknown"
    with pytest.raises(Refused, match="needs the price of every slot"):
        await house.ask(key(cost_per_day=1.0), limits={"max_cost": 0.001})


@pytest.mark.parametrize("wanted", ["tools", "response_format"])
async def test_what_whoever_writes_the_answer_cannot_do_is_refused_before_anything_is_called(
    store: Store, shelf: Shelf, wanted: str
) -> None:
    house = House(store, shelf)  # of models that cannot call tools
    with pytest.raises(Refused, match="can neither call tools nor follow a schema") as refused:
        await house.ask(key(), acting={wanted: [{"type": "function"}]})
    assert (refused.value.status, refused.value.param) == (400, wanted)
    assert house.a.calls == []


async def test_tools_and_pictures_count_in_what_a_run_costs_at_most(store: Store, shelf: Shelf) -> None:
    performer = House(store, shelf, **PRICE).served.performer
    plain = await performer.most(Ask("team", QUESTION, Terms()))
    tool = {"type": "function", "function": {"name": "f", "description": "word " * 1000}}
    picture = [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4000}}]
    for messages, acting in ((QUESTION, {"tools": [tool]}), ([HumanMessage(picture)], {})):
        more = await performer.most(Ask("team", messages, Terms(acting=acting)))
        assert plain is not None
        assert more is not None
        assert more > plain + 0.0005


async def test_a_turn_that_goes_on_waits_for_a_day_with_enough_money(store: Store, shelf: Shelf) -> None:
    house = House(store, shelf, **PRICE)
    await house.served.performer.runs("team").submit(QUESTION, thread="me/t", turn="1")
    resumed = Ask("team", (), Terms(), Place("me/t", "1", {}, resume=True))
    with pytest.raises(Refused) as refused:
        async for _ in parts_of(house.served, key(cost_per_day=0.0001), resumed):
            pass
    assert (refused.value.status, refused.value.code) == (429, "insufficient_quota")
    assert house.a.calls == []


@pytest.mark.parametrize("wanted", ["tools", "response_format"])
async def test_what_a_vote_cannot_do_is_refused(store: Store, shelf: Shelf, wanted: str) -> None:
    house = House(store, shelf)
    document = spec().model_dump(by_alias=True, exclude_unset=True)
    document["aggregator"] = {"reduce": "vote", "extract": {"by": "number"}}
    voting = type(spec()).model_validate(document)
    house.served.performer.models = {"team": voting}
    with pytest.raises(Refused) as refused:
        await house.ask(key(), acting={wanted: [{"x": 1}]})
    assert (refused.value.status, refused.value.param) == (400, wanted)


async def test_an_unknown_model_is_refused(store: Store, shelf: Shelf) -> None:
    with pytest.raises(Refused, match="there is no model 'nobody'"):
        House(store, shelf).served.spec("nobody")
