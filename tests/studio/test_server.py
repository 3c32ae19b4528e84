"""Every spec opens in a really running `langgraph dev`: drawn, run, streamed, stopped, edited, forked."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from moa_graph import load_spec
from tests.studio.conftest import ADDED, ROOT, environment

if TYPE_CHECKING:
    from pathlib import Path

    from langgraph_sdk.client import LangGraphClient

    from tests.studio.conftest import Studio

SPECS = sorted((ROOT / "graphs").glob("*.yaml"))
DOCUMENT = (ROOT / "examples" / "documents" / "mixture-of-agents.md").read_text(encoding="utf-8")


def question(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


async def new_thread(client: LangGraphClient) -> str:
    return str((await client.threads.create())["thread_id"])


async def answer(client: LangGraphClient, thread: str, graph: str, **run: Any) -> dict[str, Any]:
    state = await client.runs.wait(thread, graph, **run)
    assert isinstance(state, dict)
    return state


async def test_every_spec_is_listed_by_the_name_of_its_file(client: LangGraphClient) -> None:
    listed = {found["graph_id"]: found["name"] for found in await client.assistants.search(limit=100)}
    assert listed == {name: name for name in [*(file.stem for file in SPECS), *ADDED]}


async def test_every_spec_is_drawn_without_its_keys(client: LangGraphClient) -> None:
    for found in await client.assistants.search(limit=100):
        if found["graph_id"] in ADDED:
            continue
        spec = load_spec(ROOT / "graphs" / f"{found['graph_id']}.yaml")
        layers = ["__start__", *(layer.name for layer in spec.layers), "aggregator", "__end__"]
        plain = await client.assistants.get_graph(found["assistant_id"])
        assert [node["id"] for node in plain["nodes"]] == layers
        members = [f"{layer.name}/{id_}" for layer in spec.layers for id_, _ in layer.ids()]
        writers = [f"aggregator/{slot}" for slot in [spec.aggregator.model, *spec.aggregator.fallbacks]]
        drawn = await client.assistants.get_graph(found["assistant_id"], xray=True)
        assert [node["id"] for node in drawn["nodes"]] == layers + members + writers


async def test_the_schemas_say_what_goes_in_and_what_comes_out(client: LangGraphClient) -> None:
    [found] = await client.assistants.search(graph_id="quickstart")
    schemas = await client.assistants.get_schemas(found["assistant_id"])
    assert {"messages"} <= set(schemas["input_schema"]["properties"])
    assert {"messages", "proposals", "status"} <= set(schemas["output_schema"]["properties"])


async def test_there_are_no_subgraphs_to_open(client: LangGraphClient) -> None:
    [found] = await client.assistants.search(graph_id="quickstart")
    assert await client.assistants.get_subgraphs(found["assistant_id"], recurse=True) == {}


async def test_the_quickstart_answers_on_a_thread(client: LangGraphClient) -> None:
    thread = await new_thread(client)
    text = f"{DOCUMENT}\n\nWhat is MoA-Lite?"
    first = await answer(client, thread, "quickstart", input=question(text))
    assert first["status"] == "answered"
    assert [record["status"] for record in first["proposals"].values()] == ["ok"] * 6
    assert "MoA-Lite" in first["messages"][-1]["content"]
    second = await answer(client, thread, "quickstart", input=question("What is Self-MoA?"))
    assert [message["type"] for message in second["messages"]] == ["human", "ai"] * 2
    assert "Self-MoA" in second["messages"][-1]["content"]


async def test_what_happens_is_streamed(client: LangGraphClient) -> None:
    parts = [
        part
        async for part in client.runs.stream(
            await new_thread(client),
            "quickstart",
            input=question(f"{DOCUMENT}\n\nWhat is MoA-Lite?"),
            stream_mode=["messages-tuple", "custom", "updates"],
        )
    ]
    happened = [part.data["type"] for part in parts if part.event == "custom"]
    assert [happened[0], happened[-1]] == ["run.started", "run.finished"]
    assert happened.count("call.finished") == 7
    updates = [part.data for part in parts if part.event == "updates"]
    assert [
        name
        for update in updates
        for name, change in update.items()
        if "status" in change and "/" not in name
    ] == ["draft", "refine", "aggregator"]
    written = "".join(
        token["content"]
        for token, metadata in (part.data for part in parts if part.event == "messages")
        if metadata.get("moa_role") == "aggregator" and token["type"] == "AIMessageChunk"
    )
    assert written == updates[-1]["aggregator"]["messages"][0]["content"] != ""


async def test_models_behind_http_are_called_without_blocking_the_server(
    client: LangGraphClient, studio: Studio
) -> None:
    thread = await new_thread(client)
    state = await answer(client, thread, "served", input=question("Why?"))
    assert state["status"] == "answered"
    assert [record["failure"] for record in state["proposals"].values()] == [None] * 4
    assert studio.models.count() == 5


async def test_the_server_refuses_what_blocks_it(client: LangGraphClient) -> None:
    with pytest.raises(Exception, match="BlockingError"):
        await client.runs.wait(None, "blocking", input=question("Why?"))


def test_the_server_cannot_leave_this_machine(tmp_path: Path) -> None:
    code = "import socket; socket.create_connection(('192.0.2.1', 9), timeout=1)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert "RealNetworkError: A test tried to reach '192.0.2.1'" in done.stderr


async def test_a_run_that_stops_before_a_layer_goes_on_without_repeating_a_call(
    client: LangGraphClient, studio: Studio
) -> None:
    thread = await new_thread(client)
    await answer(client, thread, "served", input=question("Why?"), interrupt_before=["refine"])
    state = await client.threads.get_state(thread, subgraphs=True)
    assert state["next"] == ["refine"]
    assert [task["state"] for task in state["tasks"]] == [None]
    assert [*state["values"]["proposals"]] == ["draft/a", "draft/b"]
    assert studio.models.count() == 2
    resumed = await answer(client, thread, "served", input=None)
    assert resumed["status"] == "answered"
    assert studio.models.count() == 5


async def test_history_shows_every_step_with_its_proposals(client: LangGraphClient) -> None:
    thread = await new_thread(client)
    await answer(client, thread, "served", input=question("Why?"))
    history = await client.threads.get_history(thread)
    assert [(step["next"], len(step["values"].get("proposals") or {})) for step in history] == [
        ([], 4),
        (["aggregator"], 4),
        (["refine"], 2),
        (["draft"], 0),
        (["__start__"], 0),
    ]


async def test_an_edited_proposal_is_what_the_next_layer_sees(
    client: LangGraphClient, studio: Studio
) -> None:
    thread = await new_thread(client)
    await answer(client, thread, "served", input=question("Why?"), interrupt_before=["refine"])
    before = (await client.threads.get_state(thread))["values"]["proposals"]["draft/a"]
    await client.threads.update_state(
        thread, {"proposals": {"draft/a": {"text": "Edited by hand."}}}, as_node="draft"
    )
    after = (await client.threads.get_state(thread))["values"]["proposals"]["draft/a"]
    assert after == {**before, "text": "Edited by hand."}
    await answer(client, thread, "served", input=None)
    seen = str(studio.models.of("ok@b")[-1].messages)
    assert "1. Edited by hand." in seen
    assert before["text"] not in seen


async def test_a_fork_goes_on_from_an_older_checkpoint(client: LangGraphClient, studio: Studio) -> None:
    thread = await new_thread(client)
    first = await answer(client, thread, "served", input=question("Why?"))
    history = await client.threads.get_history(thread)
    [point] = [step for step in history if step["next"] == ["aggregator"]]
    fork = await client.threads.update_state(
        thread,
        {"proposals": {"refine/a": {"status": "dropped"}}},
        as_node="refine",
        checkpoint_id=point["checkpoint"]["checkpoint_id"],
    )
    second = await answer(
        client, thread, "served", input=None, checkpoint_id=fork["checkpoint"]["checkpoint_id"]
    )
    assert second["messages"][-1]["content"] != first["messages"][-1]["content"]
    assert studio.models.count() == 6  # the fork asked the aggregator alone
    answers = [step for step in await client.threads.get_history(thread, limit=50) if step["next"] == []]
    assert [step["values"]["messages"][-1]["content"] for step in answers] == [
        second["messages"][-1]["content"],
        first["messages"][-1]["content"],
    ]


async def test_a_copied_thread_is_a_conversation_of_its_own(client: LangGraphClient) -> None:
    thread = await new_thread(client)
    await answer(client, thread, "served", input=question("Why?"))
    copy = str((await client.threads.copy(thread))["thread_id"])
    await answer(client, copy, "served", input=question("And then?"))
    lengths = [len((await client.threads.get_state(one))["values"]["messages"]) for one in (thread, copy)]
    assert lengths == [2, 4]


async def test_a_missing_key_is_reported_when_a_run_starts(client: LangGraphClient) -> None:
    thread = await new_thread(client)
    with pytest.raises(Exception, match="ModelNotReady"):
        await client.runs.wait(thread, "openai", input=question("Why?"))
    [task] = (await client.threads.get_state(thread))["tasks"]
    assert "OPENAI_API_KEY is not set" in task["error"]
