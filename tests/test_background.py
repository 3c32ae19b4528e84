from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from moa_graph import background

flag: contextvars.ContextVar[str] = contextvars.ContextVar("flag", default="unset")


async def read_flag() -> str:
    return flag.get()


def test_context_variables_go_along() -> None:
    context = contextvars.copy_context()
    context.run(flag.set, "set")
    assert context.run(lambda: background.run(read_flag())) == "set"


async def test_it_works_inside_a_running_loop() -> None:
    assert background.run(read_flag()) == "unset"


def test_on_the_background_loop_itself_it_is_refused_instead_of_waiting_for_ever() -> None:
    async def nested() -> str:
        return background.run(read_flag())

    with pytest.raises(RuntimeError, match="use ainvoke"):
        background.run(nested())


def test_a_task_that_exits_does_not_end_the_loop_for_the_others() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        background.run(leave())
    assert background.run(read_flag()) == "unset"


def test_many_threads_share_one_loop() -> None:
    async def loop_id() -> int:
        return id(asyncio.get_running_loop())

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: background.run(loop_id()), range(32)))) == 1


def test_errors_come_through() -> None:
    async def fail() -> None:
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        background.run(fail())


def test_an_interrupted_wait_cancels_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = asyncio.run_coroutine_threadsafe  # keep the real one
    seen: list[str] = []

    class Interrupted:
        def __init__(self, future: object) -> None:
            self.future = future

        def result(self) -> None:
            raise KeyboardInterrupt

        def cancel(self) -> None:
            seen.append("cancelled")
            self.future.cancel()  # type: ignore[attr-defined]

    monkeypatch.setattr(
        background.asyncio, "run_coroutine_threadsafe", lambda work, loop: Interrupted(cancelled(work, loop))
    )
    with pytest.raises(KeyboardInterrupt):
        background.run(asyncio.sleep(60))
    assert seen == ["cancelled"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_gets_a_loop_of_its_own() -> None:
    assert background.run(read_flag()) == "unset"
    child = os.fork()
    if child == 0:
        os._exit(0 if background.run(read_flag()) == "unset" else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_an_interrupted_wait_has_ended_before_its_iterator_is_closed() -> None:
    ended = []

    async def items() -> AsyncIterator[int]:
        yield 1
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        list(background.iterate(items()))
    assert ended == [True]
