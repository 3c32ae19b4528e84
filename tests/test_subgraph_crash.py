"""A parent killed in the middle of a mixture: resumed in a new process, it repeats no call that had ended."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, MessagesState, StateGraph

from moa_graph.graph import build_graph
from moa_graph.spec.loading import dump_spec, parse_spec
from moa_graph.spec.schema import MoASpec
from moa_graph.tool import as_tool
from tests.fakes.agents import ToolCaller
from tests.fakes.process import ServerProcess, server_process
from tests.fakes.specs import moa_spec

LAYERS, WIDTH = 3, 6
CALLS = LAYERS * WIDTH + 1
PATIENCE = 60.0
"""Seconds to wait for word from a process; a machine under load is slow."""
CONFIG: RunnableConfig = {"configurable": {"thread_id": "t"}}

# A forked process is there in milliseconds; the imports are done once.
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(
    [__name__, "tests.fakes.crashing", "moa_graph.models.openai", "moa_graph.runs.sqlite"]
)


@pytest.fixture(scope="module")
def models() -> Iterator[ServerProcess]:
    """Give the fake server in a process of its own."""
    with server_process(keep=False) as server:
        yield server


def as_node(spec: MoASpec, saver: BaseCheckpointSaver[Any]) -> Any:
    """Put a mixture between two nodes of an application's graph."""
    parent = StateGraph(MessagesState)
    parent.add_node("before", lambda _: {})
    parent.add_node("moa", build_graph(spec).compile())
    parent.add_node(
        "after", lambda state: {"messages": [AIMessage(f"Checked: {state['messages'][-1].text}")]}
    )
    parent.add_edge(START, "before")
    parent.add_edge("before", "moa")
    parent.add_edge("moa", "after")
    return parent.compile(checkpointer=saver)


def _checked(said: AnyMessage) -> AIMessage:
    return AIMessage(f"Checked: {said.text}")


def as_tool_of_agent(spec: MoASpec, saver: BaseCheckpointSaver[Any]) -> Any:
    """Give a mixture to an agent, which asks it once and says what it heard."""

    def act(messages: Sequence[AnyMessage]) -> AIMessage:
        said = messages[-1]
        return _checked(said) if said.type == "tool" else ToolCaller.asking("Why?")

    return create_agent(ToolCaller(act), [as_tool(spec)], checkpointer=saver)


HOSTS: dict[str, Callable[[MoASpec, BaseCheckpointSaver[Any]], Any]] = {
    "node": as_node,
    "tool": as_tool_of_agent,
}


class Reporting(AsyncSqliteSaver):
    """Tell which results of calls are on disk, and die right after one of them."""

    mouth: Connection
    dies_after: int | None

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await super().aput_writes(config, writes, task_id, task_path)
        for channel, value in writes:
            if channel == "__return__":
                self.mouth.send(value.get("id", "aggregator"))
                self.dies_after = self.dies_after and self.dies_after - 1
                if self.dies_after == 0:
                    os.kill(os.getpid(), signal.SIGKILL)


def work(mouth: Connection, host: str, path: str, spec: str, dies_after: int | None) -> None:
    """Run a host's graph in this process: from the start, or from where its thread is."""
    asyncio.run(_work(mouth, host, path, parse_spec(spec), dies_after))


async def _work(mouth: Connection, host: str, path: str, spec: MoASpec, dies_after: int | None) -> None:
    async with Reporting.from_conn_string(path) as saver:
        assert isinstance(saver, Reporting)
        saver.mouth, saver.dies_after = mouth, dies_after
        graph = HOSTS[host](spec, saver)
        begun = (await graph.aget_state(CONFIG)).values
        question = None if begun else {"messages": [("user", "Why?")]}
        state = await graph.ainvoke(question, CONFIG, durability="sync")
        mouth.send([message.text for message in state["messages"]])


class Life:
    """One process that runs the graph; `kept` are the calls whose results it put on disk."""

    def __init__(self, host: str, path: Path, spec: MoASpec, dies_after: int | None = None) -> None:
        measured = {name: os.environ.pop(name) for name in [*os.environ] if name.startswith("COVERAGE")}
        try:
            forkserver.ensure_running()
        finally:
            os.environ.update(measured)
        self._ear, mouth = context.Pipe(duplex=False)
        given = (mouth, host, str(path), dump_spec(spec), dies_after)
        self._process = context.Process(target=work, args=given, daemon=True)
        self._process.start()
        mouth.close()
        self.kept: list[str] = []
        self.said: list[str] = []

    def hear(self) -> bool:
        """Take in the next word; return False when the process has ended."""
        assert self._ear.poll(PATIENCE), "the process says nothing"
        try:
            word = self._ear.recv()
        except (EOFError, OSError):
            return False
        if isinstance(word, str):
            self.kept.append(word)
        else:
            self.said = word
        return True

    def end(self) -> int | None:
        """Hear all until the process has ended; return its exit code."""
        while self.hear():
            pass
        self._process.join(PATIENCE)
        return self._process.exitcode

    def kill(self) -> None:
        """Kill the process by SIGKILL, and hear what it had said before."""
        self._process.kill()
        assert self.end() == -signal.SIGKILL


def mixture_of(
    models: ServerProcess, name: str, *, late: str = "", aggregator: str = "ok"
) -> tuple[MoASpec, dict[str, str]]:
    """Return a 3x6 spec and its models' names by the calls' ids; the call `late` waits for a gate."""
    ids = [f"layer-{layer}/p{place}" for layer in range(1, LAYERS + 1) for place in range(1, WIDTH + 1)]
    behaviours = {id_: "gate" if id_ == late else "ok" for id_ in ids}
    behaviours["aggregator"] = "gate" if late == "aggregator" else aggregator
    named = {id_: f"{kind}@{name}-{id_.replace('/', '-')}" for id_, kind in behaviours.items()}
    layers = [
        {"proposers": [{"model": named[id_], "id": id_.split("/")[1]} for id_ in ids[at : at + WIDTH]]}
        for at in range(0, LAYERS * WIDTH, WIDTH)
    ]
    return moa_spec(models.base_url, layers, named["aggregator"], defaults={"attempts": 1}), named


def counts(models: ServerProcess, named: dict[str, str]) -> dict[str, int]:
    seen = models.stats()["models"]
    return {id_: seen.get(model, {"started": 0})["started"] for id_, model in named.items()}


def assert_answered(host: str, said: list[str], aggregator: str) -> None:
    assert said[0] == "Why?"
    assert len(said) == {"node": 3, "tool": 4}[host]
    assert said[-1].startswith(f"Checked: Answer of {aggregator} to ")
    assert said[-1] == f"Checked: {said[-2]}"


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("late", ["layer-1/p6", "layer-2/p3", "layer-3/p1", "aggregator"])
def test_only_the_call_that_was_under_way_at_the_kill_is_made_again(
    late: str, host: str, models: ServerProcess, tmp_path: Path
) -> None:
    name = f"{host}-{late.replace('/', '-')}"
    spec, named = mixture_of(models, name, late=late)
    ended = [id_ for id_ in named if late == "aggregator" or id_[:7] <= late[:7]]
    expected = {id_ for id_ in ended if id_ not in ("aggregator", late)}
    first = Life(host, tmp_path / "db", spec)
    while set(first.kept) != expected:
        assert first.hear(), "the process ended by itself"
    while not models.count(named[late]):
        pass  # asked over HTTP each time: the last call of the layer is sent before the others have ended
    first.kill()
    assert set(first.kept) == expected
    models.release(named[late])
    second = Life(host, tmp_path / "db", spec)
    assert second.end() == 0
    assert counts(models, named) == {id_: 1 + (id_ == late) for id_ in named}
    assert not set(second.kept) & set(first.kept)
    assert_answered(host, second.said, named["aggregator"])


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("results", [1, 4, 6, 7, 13, 18, CALLS])
def test_what_is_on_disk_at_the_kill_is_never_asked_for_again(
    results: int, host: str, models: ServerProcess, tmp_path: Path
) -> None:
    spec, named = mixture_of(models, f"{host}-after-{results}")
    first = Life(host, tmp_path / "db", spec, dies_after=results)
    assert first.end() == -signal.SIGKILL
    assert len(first.kept) == results
    second = Life(host, tmp_path / "db", spec)
    assert second.end() == 0
    assert_answered(host, second.said, named["aggregator"])
    for id_, count in counts(models, named).items():
        assert 1 <= count <= (1 if id_ in first.kept else 2), id_


def test_a_parent_killed_three_times_pays_for_each_layer_once(models: ServerProcess, tmp_path: Path) -> None:
    spec, named = mixture_of(models, "thrice")
    kept: list[str] = []
    for results in (6, 6, 6):
        life = Life("node", tmp_path / "db", spec, dies_after=results)
        assert life.end() == -signal.SIGKILL
        kept += life.kept
    last = Life("node", tmp_path / "db", spec)
    assert last.end() == 0
    assert len(kept) == len(set(kept)) == LAYERS * WIDTH
    assert counts(models, named) == dict.fromkeys(named, 1)
    assert_answered("node", last.said, named["aggregator"])
