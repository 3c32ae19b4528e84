from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading

import pytest

from moa_graph.cli import stopping
from moa_graph.cli.stopping import Stopped, run_until_stopped


async def _kill_then_wait(number: int) -> None:
    os.kill(os.getpid(), number)
    await asyncio.Event().wait()


async def _answer() -> str:
    return "answer"


def test_work_that_is_not_stopped_returns_its_result_and_the_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    assert run_until_stopped(_answer(), lambda: None) == "answer"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_reports_at_once_and_stops_the_work(
    number: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading.Timer, "start", lambda _: None)
    reports: list[str] = []
    with pytest.raises(Stopped) as caught:
        run_until_stopped(_kill_then_wait(number), lambda: reports.append("report"))
    assert caught.value.exit_code == code
    assert reports == ["report"]


def test_work_that_fails_while_it_is_stopped_is_not_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threading.Timer, "start", lambda _: None)

    async def fail() -> None:
        try:
            await _kill_then_wait(signal.SIGINT)
        finally:
            raise ValueError("broken")

    with pytest.raises(Stopped):
        run_until_stopped(fail(), lambda: None)
    gc.collect()
    assert caplog.text == ""


def test_a_signal_before_the_loop_listens_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Timer, "start", lambda _: None)
    signals = stopping._Signals()
    signals._caught(signal.SIGTERM, None)
    assert asyncio.run(signals.arrival()) == signal.SIGTERM


def test_the_second_signal_ends_the_process_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    exits: list[int] = []
    monkeypatch.setattr(threading.Timer, "start", lambda _: None)
    monkeypatch.setattr(os, "_exit", exits.append)
    signals = stopping._Signals()
    signals._caught(signal.SIGINT, None)
    assert exits == []
    signals._caught(signal.SIGINT, None)
    assert exits == [130]


def test_work_that_cannot_be_cancelled_ends_with_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    left = threading.Event()
    monkeypatch.setattr(stopping, "LAST_RESORT", 0.0)
    monkeypatch.setattr(os, "_exit", lambda _: left.set())
    stopping._Signals()._caught(signal.SIGINT, None)
    assert left.wait(5)


def test_an_error_of_the_work_passes_through() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        run_until_stopped(fail(), lambda: None)


def test_outside_the_main_thread_the_work_runs_without_signals() -> None:
    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(run_until_stopped(_answer(), lambda: None)))
    thread.start()
    thread.join(5)
    assert results == ["answer"]
