"""Short troubles of a store pass unseen, all others are StoreError, and rows of a wrong shape are refused."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple, empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver

from moa_graph.errors import MoAError, StoreError, ThreadBusy
from moa_graph.runs import guard as module
from moa_graph.runs import stores
from moa_graph.runs.guard import Guard, GuardedSaver, claim

CONFIG: RunnableConfig = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


class Passing(Exception):
    pass


class Lasting(Exception):
    pass


def trouble(error: Exception) -> bool | None:
    return isinstance(error, Passing) if isinstance(error, Passing | Lasting) else None


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.001)


def failing(*errors: Exception) -> Callable[[], Any]:
    left: Iterator[Exception] = iter(errors)

    async def work() -> str:
        for error in left:
            raise error
        return "done"

    return work


async def test_a_trouble_that_passes_is_waited_for() -> None:
    assert await Guard("u", trouble)(failing(Passing(), Passing(), Passing())) == "done"


async def test_a_trouble_that_lasts_is_told_at_once_with_the_place_and_what_to_do() -> None:
    with pytest.raises(StoreError) as caught:
        await Guard("sqlite:///x.db", trouble)(failing(Lasting("disk\n is full")))
    assert caught.value.message == "sqlite:///x.db: disk is full"
    assert "not lost" in caught.value.hint
    assert isinstance(caught.value.__cause__, Lasting)


async def test_a_trouble_without_words_is_told_by_its_name() -> None:
    with pytest.raises(StoreError, match="u: Lasting"):
        await Guard("u", trouble)(failing(Lasting()))


async def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    began = time.monotonic()
    with pytest.raises(StoreError, match="still locked"):
        await Guard("u", trouble)(failing(*[Passing("still locked")] * 10_000))
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("error", [KeyError("x"), ZeroDivisionError()])
async def test_what_is_not_the_stores_is_raised_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)):
        await Guard("u", trouble)(failing(error))


async def test_an_error_of_ours_is_raised_as_it_is() -> None:
    with pytest.raises(ThreadBusy):
        await Guard("u", lambda _: True)(failing(ThreadBusy("busy")))


@pytest.mark.parametrize(
    "error", [KeyError("v"), TypeError(), ValueError(), AttributeError(), OverflowError()]
)
async def test_what_trips_over_a_row_says_that_it_cannot_be_trusted(error: Exception) -> None:
    with pytest.raises(StoreError, match="cannot be trusted"):
        await Guard("u", trouble).read(failing(error))


# --- the checkpointer


class Tampered(GuardedSaver, InMemorySaver):
    """Give back checkpoints that somebody changed."""

    guard = Guard("u", trouble)
    change: Callable[[CheckpointTuple], CheckpointTuple]
    error: Exception | None = None

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        if self.error:
            raise self.error
        item = super().get_tuple(config)
        return item and self.change(item)

    def list(self, *args: Any, **kwargs: Any) -> Iterator[CheckpointTuple]:
        for item in super().list(*args, **kwargs):
            yield self.change(item)

    def get_delta_channel_history(self, **kwargs: Any) -> Any:
        raise self.error or NotImplementedError


async def one(change: Callable[[CheckpointTuple], CheckpointTuple]) -> Tampered:
    saver = Tampered()
    saver.change = change
    checkpoint = empty_checkpoint()
    version = saver.get_next_version(None, None)
    checkpoint |= {
        "channel_values": {"a": 1},
        "channel_versions": {"a": version},
        "versions_seen": {"node": {"a": version}},
        "updated_channels": ["a"],
    }
    metadata: Any = {
        "source": "loop",
        "step": 1,
        "parents": {},
        "counters_since_delta_snapshot": {"a": (1, 2)},
    }
    await saver.aput(CONFIG, checkpoint, metadata, {"a": version})
    return saver


async def test_a_sound_checkpoint_is_read() -> None:
    saver = await one(lambda item: item)
    item = await saver.aget_tuple(CONFIG)
    assert item is not None
    assert item.checkpoint["channel_values"] == {"a": 1}
    assert [item async for item in saver.alist(CONFIG)] == [item]
    assert await saver.aget_tuple({"configurable": {"thread_id": "other"}}) is None


WRONG_CHECKPOINTS: dict[str, Any] = {
    "v": "1",
    "ts": None,
    "id": "another",
    "channel_values": [1],
    "channel_versions": {"a": "later"},
    "versions_seen": {"node": {"a": 1}},
    "updated_channels": "a",
}
WRONG_METADATA: dict[str, Any] = {
    "step": "1",
    "parents": ["a"],
    "counters_since_delta_snapshot": {"a": [1]},
}


async def refused(saver: Tampered) -> None:
    with pytest.raises(StoreError, match="not the shape of a checkpoint"):
        await saver.aget_tuple(CONFIG)
    with pytest.raises(StoreError, match="not the shape of a checkpoint"):
        _ = [item async for item in saver.alist(CONFIG)]


@pytest.mark.parametrize(("key", "value"), [*WRONG_CHECKPOINTS.items(), ("channel_versions", {"a": None})])
async def test_a_checkpoint_of_a_wrong_shape_is_refused(key: str, value: Any) -> None:
    await refused(await one(lambda item: item._replace(checkpoint=item.checkpoint | {key: value})))


@pytest.mark.parametrize("key", sorted(WRONG_CHECKPOINTS.keys() - {"updated_channels"}))
async def test_a_checkpoint_without_a_part_is_refused(key: str) -> None:
    def change(item: CheckpointTuple) -> CheckpointTuple:
        return item._replace(
            checkpoint={name: value for name, value in item.checkpoint.items() if name != key}  # type: ignore[arg-type]
        )

    await refused(await one(change))


@pytest.mark.parametrize(("key", "value"), WRONG_METADATA.items())
async def test_metadata_of_a_wrong_shape_are_refused(key: str, value: Any) -> None:
    await refused(await one(lambda item: item._replace(metadata=item.metadata | {key: value})))


@pytest.mark.parametrize("value", [None, 7, [], "text"])
async def test_what_is_no_mapping_is_refused(value: Any) -> None:
    await refused(await one(lambda item: item._replace(checkpoint=value)))
    await refused(await one(lambda item: item._replace(metadata=value)))


async def test_every_way_of_reading_is_guarded() -> None:
    saver = await one(lambda item: item)
    saver.error = Lasting("gone")
    with pytest.raises(StoreError, match="u: gone"):
        await saver.aget_tuple(CONFIG)
    with pytest.raises(StoreError, match="u: gone"):
        await saver.aget_delta_channel_history(config=CONFIG, channels=["a"])
    saver.error = KeyError("channel_values")
    with pytest.raises(StoreError, match="cannot be trusted"):
        await saver.aget_delta_channel_history(config=CONFIG, channels=["a"])


class Broken(InMemorySaver):
    async def _fail(self, *_: Any, **__: Any) -> Any:
        raise Lasting("gone")

    aput = aput_writes = adelete_thread = aprune = _fail  # type: ignore[assignment]


class GuardedBroken(GuardedSaver, Broken):
    guard = Guard("u", trouble)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("aput", (CONFIG, empty_checkpoint(), {}, {})),
        ("aput_writes", (CONFIG, [], "task")),
        ("adelete_thread", ("t",)),
        ("aprune", (["t"],)),
    ],
)
async def test_every_way_of_writing_is_guarded(name: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(StoreError, match="u: gone"):
        await getattr(GuardedBroken(), name)(*arguments)


@pytest.mark.parametrize("name", ["adelete_for_runs", "acopy_thread"])
def test_a_guard_claims_nothing_that_its_checkpointer_cannot_do(name: str) -> None:
    assert getattr(GuardedBroken, name) is getattr(BaseCheckpointSaver, name)


# --- leases


def takes(*answers: bool) -> Callable[[], Awaitable[bool]]:
    left = iter(answers)

    async def take() -> bool:
        return next(left)

    return take


async def test_a_lease_is_claimed_as_soon_as_it_is_free() -> None:
    await claim("t", takes(False, False, True), wait=False)


async def test_a_lease_that_stays_taken_is_busy_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "BUSY_PATIENCE", 0.01)
    with pytest.raises(ThreadBusy, match="'t' is run by somebody else") as caught:
        await claim("t", takes(*[False] * 5), wait=False)
    assert "--wait" in caught.value.hint
    assert isinstance(caught.value, MoAError)


async def test_waiting_for_a_lease_has_no_end_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "BUSY_PATIENCE", 0.0)
    await claim("t", takes(*[False] * 5, True), wait=True)
