"""What stands between a run and its store: patience with short troubles, one error for all others."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import cached_property, wraps
from typing import Any, Protocol, TypeGuard, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)

from moa_graph.errors import MoAError, StoreError, ThreadBusy
from moa_graph.runs import stores
from moa_graph.runs.serializer import untrusted

__all__ = ["PATIENCE", "Guard", "GuardedSaver", "Trouble", "claim"]

T = TypeVar("T")

PATIENCE = 15.0
"""Seconds that a store may be locked, restarted or out of reach before a run gives it up."""
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 1.0
_OPTIONAL = ("adelete_for_runs", "acopy_thread", "aprune")
"""What only some checkpointers can do; overriding it would claim that all can."""


class Trouble(Protocol):
    """Tell of an exception whether it is the store's, and whether it may pass."""

    def __call__(self, error: Exception) -> bool | None:
        """Return True for a trouble that may pass, False for one that will not, None for another's fault."""


class Guard:
    """Do a store's work: repeat what may pass, and turn what does not into StoreError."""

    def __init__(self, url: str, trouble: Trouble) -> None:
        self.url = url
        self.trouble = trouble

    async def __call__(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` returns; it is called again while the store is in a trouble that may pass."""
        ends, wait = time.monotonic() + PATIENCE, _FIRST_WAIT
        while True:
            try:
                return await work()
            except MoAError:
                raise
            except Exception as error:
                passing = self.trouble(error)
                if passing is None:
                    raise
                if not passing or time.monotonic() + wait >= ends:
                    raise self.broken(error) from error
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            wait = min(2 * wait, _LONGEST_WAIT)

    def broken(self, error: Exception) -> StoreError:
        """Return the error that says so, in one line."""
        reason = " ".join(str(error).split()) or type(error).__name__
        hint = "See to the store, then try again or resume: what it holds is not lost."
        return StoreError(f"{self.url}: {reason}", hint=hint)

    async def read(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do work that reads rows: what trips over their shape says that they cannot be trusted."""
        try:
            return await self(work)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise untrusted(f"it has not the shape of a checkpoint ({type(error).__name__})") from error


class GuardedSaver(BaseCheckpointSaver[str]):
    """Guard the checkpointer that follows in a class's bases."""

    guard: Guard

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Guard what this checkpointer can do beyond what all can."""
        super().__init_subclass__(**kwargs)
        for name in _OPTIONAL:
            method = getattr(cls, name)
            if method is not getattr(BaseCheckpointSaver, name):
                setattr(cls, name, _guarded(method))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Read a checkpoint."""

        async def get() -> CheckpointTuple | None:
            item = await super(GuardedSaver, self).aget_tuple(config)
            return item and _checked(item)

        return await self.guard.read(get)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 -- the base's own name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Read checkpoints, the newest first."""

        async def collect() -> list[CheckpointTuple]:
            items = super(GuardedSaver, self).alist(config, filter=filter, before=before, limit=limit)
            return [_checked(item) async for item in items]

        for item in await self.guard.read(collect):
            yield item

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Read what was written to channels that are kept step by step."""
        return await self.guard.read(
            lambda: super(GuardedSaver, self).aget_delta_channel_history(config=config, channels=channels)
        )

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Write a checkpoint."""
        return await self.guard(
            lambda: super(GuardedSaver, self).aput(config, checkpoint, metadata, new_versions)
        )

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Write what a task gave."""
        under_way = self._writing.setdefault(config["configurable"]["thread_id"], set())
        work = super().aput_writes
        writing = asyncio.ensure_future(self.guard(lambda: work(config, writes, task_id, task_path)))
        under_way.add(writing)
        await writing
        under_way.discard(writing)  # not what failed: who asks later must hear of it

    async def committed(self, thread_id: str) -> None:
        """Return once everything that a thread's tasks gave so far is kept; raise what hindered it.

        LangGraph writes in the background, also with durability "sync": a task's result reaches its node
        before it is committed.
        """
        # Shielded: whoever is cancelled while waiting must not take back what is being written.
        await asyncio.gather(*map(asyncio.shield, self._writing.get(thread_id, ())))

    def forget(self, thread_id: str) -> None:
        """Let go of what was written: what failed does not concern the next run."""
        self._writing.pop(thread_id, None)

    @cached_property
    def _writing(self) -> dict[str, set[asyncio.Future[None]]]:
        return {}

    async def adelete_thread(self, thread_id: str) -> None:
        """Take away a thread."""
        await self.guard(lambda: super(GuardedSaver, self).adelete_thread(thread_id))


async def claim(key: str, take: Callable[[], Awaitable[bool]], *, wait: bool) -> None:
    """Call `take` until it tells that the lease is taken.

    Raises ThreadBusy when that is longer than BUSY_PATIENCE, unless told to wait.
    """
    ends, pause = time.monotonic() + stores.BUSY_PATIENCE, _FIRST_WAIT
    while not await take():
        if not wait and time.monotonic() + pause >= ends:
            raise ThreadBusy(
                f"thread {key!r} is run by somebody else; nothing was called",
                hint="Wait until that run has ended, or wait for it with `moa resume --wait`.",
            )
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        pause = min(2 * pause, _LONGEST_WAIT / 4)


def _guarded(method: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    @wraps(method)
    async def guarded(self: GuardedSaver, *args: Any, **kwargs: Any) -> T:
        return await self.guard(lambda: method(self, *args, **kwargs))

    return guarded


def _checked(item: CheckpointTuple) -> CheckpointTuple:
    """Return a checkpoint that has all that LangGraph takes for granted; raise StoreError for any other."""
    checkpoint: Any = item.checkpoint
    metadata: Any = item.metadata
    sound = (
        isinstance(checkpoint, dict)
        and isinstance(checkpoint.get("v"), int)
        and isinstance(checkpoint.get("ts"), str)
        and checkpoint.get("id") == item.config["configurable"]["checkpoint_id"]
        and _is_named(checkpoint.get("channel_values"))
        and _is_named(seen := checkpoint.get("versions_seen"))
        and _are_versions(checkpoint.get("channel_versions"), *seen.values())
        and isinstance(checkpoint.get("updated_channels"), list | None)
        and isinstance(metadata, dict)
        and isinstance(metadata.get("step", 0), int)
        and _is_named(metadata.get("parents", {}))
        and _are_counters(metadata.get("counters_since_delta_snapshot", {}))
    )
    if not sound:
        raise untrusted("it has not the shape of a checkpoint")
    return item


def _is_named(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)


def _are_versions(*groups: Any) -> bool:
    """Tell whether these map channels to versions that can be compared and counted on."""
    if not all(_is_named(group) for group in groups):
        return False
    versions = [version for group in groups for version in group.values()]
    if all(isinstance(version, str) for version in versions):
        return all(version.split(".")[0].isdecimal() for version in versions)
    return all(isinstance(version, int | float) for version in versions)


def _are_counters(value: Any) -> bool:
    return _is_named(value) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(count, int) for count in pair)
        for pair in value.values()
    )
