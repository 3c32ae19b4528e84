from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import Generation, LLMResult

from moa_graph.models.embedded import ExtractiveChatModel
from moa_graph.models.providers import build_model
from moa_graph.models.recording import Recorder
from moa_graph.models.replay import ReplayChatModel, hash_of
from moa_graph.prompts import compose
from moa_graph.spec.schema import ModelSpec
from tests.fakes.models import ScriptedChatModel
from tests.fakes.openai_server import FakeOpenAI

ASKED: list[BaseMessage] = [HumanMessage("Honey is sweet.\n\nIs honey sweet?")]


def config(recorder: Recorder, proposer: str = "a", **metadata: Any) -> Any:
    return {
        "callbacks": [recorder],
        "metadata": {"moa_layer": "draft", "moa_proposer": proposer, **metadata},
    }


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


async def test_what_was_recorded_is_given_again(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    prompts = [ASKED, compose(ASKED, [{"id": "draft/a", "text": "Sweet."}], placement="user", nonce="a" * 16)]
    with Recorder(path) as recorder:
        answers = [
            (await ExtractiveChatModel().ainvoke(prompts[0], config(recorder))).text,
            ExtractiveChatModel().invoke(prompts[1], config(recorder, "b")).text,
        ]
    replay = ReplayChatModel.from_file(str(path), model="embedded:extractive")
    assert [replay.invoke(prompt).text for prompt in prompts] == answers
    again = compose(ASKED, [{"id": "draft/a", "text": "Sweet."}], placement="user", nonce="b" * 16)
    assert replay.invoke(again).text == answers[1]


async def test_a_line_says_who_was_asked_what_and_answered_what(server: FakeOpenAI, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    spec = ModelSpec(model="openai:reasoning", base_url=server.base_url, api_key_env="none")
    with Recorder(path) as recorder:
        answer = await build_model(spec).ainvoke(ASKED, config(recorder))
        async for _ in build_model(spec).astream(ASKED, config(recorder)):
            pass
    whole, streamed = lines(path)
    assert whole == streamed
    assert whole["format"] == 1
    assert whole["model"] == "openai:reasoning"
    assert whole["id"] == "draft/a"
    assert whole["hash"] == hash_of(ASKED)
    assert whole["question"] == ASKED[0].content
    assert whole["text"] == answer.text
    assert whole["reasoning"] == "Private reasoning."
    assert whole["finish_reason"] == "stop"
    assert answer.usage_metadata is not None
    assert whole["usage"]["output_tokens"] == answer.usage_metadata["output_tokens"]


async def test_only_successful_calls_of_a_mixture_are_recorded(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with Recorder(path) as recorder:
        await ExtractiveChatModel().ainvoke(ASKED, {"callbacks": [recorder]})
        with pytest.raises(ValueError, match="broken"):
            await ScriptedChatModel(ValueError("broken")).ainvoke(ASKED, config(recorder))
        assert recorder._asked == {}
    assert lines(path) == []


async def test_a_line_is_there_as_soon_as_its_call_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with Recorder(path) as recorder:
        await ExtractiveChatModel().ainvoke(ASKED, config(recorder))
        assert len(lines(path)) == 1


async def test_many_calls_at_once_give_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with Recorder(path) as recorder:
        names = [f"p{number}" for number in range(30)]
        await asyncio.gather(
            *(ExtractiveChatModel().ainvoke(ASKED, config(recorder, name)) for name in names)
        )
    assert sorted(line["id"] for line in lines(path)) == sorted(f"draft/{name}" for name in names)


async def test_the_file_is_its_owner_s_and_grows(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    for _ in range(2):
        with Recorder(path) as recorder:
            await ExtractiveChatModel().ainvoke(ASKED, config(recorder))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(lines(path)) == 2


async def test_text_that_readers_refuse_is_cleaned_and_wrong_usage_left_out(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    message = AIMessage(
        "a\x00b\ud800", usage_metadata={"input_tokens": -1, "output_tokens": 1, "total_tokens": 0}
    )
    with Recorder(path) as recorder:
        await ScriptedChatModel(message).ainvoke(ASKED, config(recorder))
    (line,) = lines(path)
    assert line["text"] == "a\ufffdb\ufffd"
    assert "usage" not in line


def test_events_that_fit_nothing_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    recorder, run_id = Recorder(path), uuid4()
    recorder.on_llm_end(LLMResult(generations=[]), run_id=run_id)
    recorder.__exit__(None, None, None)
    with recorder:
        recorder.on_chat_model_start(
            {}, [ASKED], run_id=run_id, metadata={"moa_layer": "l", "moa_proposer": "p"}
        )
        recorder.on_llm_end(LLMResult(generations=[[Generation(text="no message")]]), run_id=run_id)
    assert lines(path) == []
