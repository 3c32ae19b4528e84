from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tracers._streaming import _StreamingCallbackHandler

from moa_graph.errors import ModelNotReady
from moa_graph.models.failures import ProviderError
from moa_graph.models.replay import ReplayChatModel, call_id, hash_of, question_of
from moa_graph.prompts import compose

ASKED = [HumanMessage("What is MoA?")]


@pytest.fixture(autouse=True)
def in_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(*records: dict[str, Any]) -> ReplayChatModel:
    Path("answers.jsonl").write_text(
        "\n\n".join(json.dumps(record) for record in records) + "\n", encoding="utf-8"
    )
    return ReplayChatModel.from_file("answers.jsonl")


def metadata(layer: str, proposer: str) -> Any:
    return {"metadata": {"moa_layer": layer, "moa_proposer": proposer}}


def test_an_answer_is_found_by_the_messages_hash_before_the_question() -> None:
    model = written(
        {"question": "What is MoA?", "text": "by question"}, {"hash": hash_of(ASKED), "text": "by hash"}
    )
    assert model.invoke(ASKED).text == "by hash"
    assert model.invoke([SystemMessage("Be brief."), *ASKED]).text == "by question"


async def test_among_equals_the_call_s_own_record_comes_first_and_else_the_first_in_the_file() -> None:
    records = [{"question": "What is MoA?", "id": f"draft/{name}", "text": name} for name in ("a", "b", "c")]
    model = written(*records)
    assert (await model.ainvoke(ASKED, metadata("draft", "b"))).text == "b"
    assert "".join(str(chunk.text) for chunk in model.stream(ASKED, metadata("draft", "b"))) == "b"
    assert "".join([str(chunk.text) async for chunk in model.astream(ASKED, metadata("draft", "c"))]) == "c"
    seen: Any = {**metadata("draft", "c"), "callbacks": [Streaming()]}
    assert (await model.ainvoke(ASKED, seen)).text == "c"
    assert model.invoke(ASKED, metadata("draft", "b")).text == "b"
    assert model.invoke(ASKED, metadata("draft", "z")).text == "a"
    assert model.invoke(ASKED).text == "a"


def test_records_of_one_model_are_chosen() -> None:
    written(*({"question": "What is MoA?", "model": f"openai:{name}", "text": name} for name in "ab"))
    model = ReplayChatModel.from_file("answers.jsonl", model="openai:b")
    message = model.invoke(ASKED)
    assert message.text == "b"
    assert message.response_metadata["model_name"] == "openai:b"
    with pytest.raises(ProviderError, match="by openai:c"):
        ReplayChatModel.from_file("answers.jsonl", model="openai:c").invoke(ASKED)


def test_everything_recorded_comes_back() -> None:
    usage = {"input_tokens": 3, "output_tokens": 4}
    model = written(
        {"question": "What is MoA?", "text": "T", "reasoning": "R", "usage": usage, "finish_reason": "length"}
    )
    message = model.invoke(ASKED)
    assert message.additional_kwargs["reasoning_content"] == "R"
    assert message.usage_metadata == {**usage, "total_tokens": 7}
    assert message.response_metadata["finish_reason"] == "length"
    assert message.response_metadata["model_provider"] == "replay"


def test_an_unknown_question_is_an_error_that_names_file_and_question() -> None:
    model = written({"question": "What is MoA?", "text": "T"})
    with pytest.raises(
        ProviderError, match=r"answers\.jsonl has no answer to the question 'Who\?'"
    ) as caught:
        model.invoke("Who?")
    assert (caught.value.status_code, caught.value.code) == (404, "not_found")
    with pytest.raises(ProviderError, match="…'"):
        model.invoke("Why? " * 100)


class Tokens(BaseCallbackHandler):
    def __init__(self) -> None:
        self.tokens: list[str] = []

    def on_llm_new_token(self, token: str, **_: Any) -> None:
        self.tokens.append(token)


class Streaming(Tokens, _StreamingCallbackHandler):
    """Ask for tokens, as LangGraph's handler does: then an `invoke` streams inside."""

    def tap_output_iter(self, run_id: Any, output: Any) -> Any:
        return output

    def tap_output_aiter(self, run_id: Any, output: Any) -> Any:
        return output


async def test_streaming_gives_the_text_of_invoke() -> None:
    model = written({"question": "What is MoA?", "text": "Many models,\n\n one answer. "})
    seen = Tokens()
    whole = (await model.ainvoke(ASKED)).text
    assert "".join([str(chunk.text) async for chunk in model.astream(ASKED, {"callbacks": [seen]})]) == whole
    assert "".join(str(chunk.text) for chunk in model.stream(ASKED, {"callbacks": [seen]})) == whole
    assert "".join(seen.tokens) == whole * 2


def test_the_file_is_read_once() -> None:
    model = written({"question": "What is MoA?", "text": "first"})
    written({"question": "What is MoA?", "text": "second"})
    assert model.invoke(ASKED).text == "first"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", r"answers\.jsonl:2: "),
        ('{"question": "Q"}', r"answers\.jsonl:2: text: "),
        ('{"text": "T", "format": 2}', r"answers\.jsonl:2: format: "),
        ('{"text": "T", "wat": 2}', r"answers\.jsonl:2: wat: "),
        ('{"text": "T", "usage": {"input_tokens": -1, "output_tokens": 1}}', r":2: usage\.input_tokens: "),
    ],
)
def test_a_faulty_line_is_named(line: str, message: str) -> None:
    Path("answers.jsonl").write_text('{"question": "Q", "text": "T"}\n' + line, encoding="utf-8")
    with pytest.raises(ModelNotReady, match=message):
        ReplayChatModel.from_file("answers.jsonl")


def test_a_missing_or_binary_file_is_named() -> None:
    with pytest.raises(ModelNotReady, match=r"nowhere\.jsonl cannot be read: No such file"):
        ReplayChatModel.from_file("nowhere.jsonl")
    Path("binary.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelNotReady, match=r"binary\.jsonl cannot be read: not UTF-8"):
        ReplayChatModel.from_file("binary.jsonl")


def test_the_hash_is_of_what_a_model_sees() -> None:
    assert hash_of([HumanMessage("Q", id="1")]) == hash_of(
        [HumanMessage("Q", id="2", response_metadata={"a": 1})]
    )
    assert hash_of([HumanMessage("Q")]) != hash_of([AIMessage("Q")])
    assert hash_of([ToolMessage("Q", tool_call_id="1")]) != hash_of([ToolMessage("Q", tool_call_id="2")])
    assert hash_of([HumanMessage("\ud800")]) != hash_of([HumanMessage("Q")])


def test_the_random_marks_round_references_do_not_count() -> None:
    prompts = [
        compose(ASKED, [{"id": "draft/a", "text": "One."}], placement="user", nonce=mark * 16)
        for mark in "ab"
    ]
    assert hash_of(prompts[0]) == hash_of(prompts[1])
    assert hash_of(prompts[0]) != hash_of(ASKED)
    assert question_of(prompts[0]) == "What is MoA?"
    assert question_of([AIMessage("Hello.")]) == ""


def test_ids_are_those_of_calls_of_a_mixture() -> None:
    assert call_id({"moa_layer": "draft", "moa_proposer": "a"}) == "draft/a"
    assert call_id({"moa_layer": "draft"}) is None
    assert call_id(None) is None


def test_models_that_differ_do_not_share_a_cache_entry() -> None:
    model = written({"question": "What is MoA?", "text": "T"})
    assert model._identifying_params == {"model": "replay:answers.jsonl", "records_of": None}
    assert model._llm_type == "replay"
    assert model._get_ls_params()["ls_model_name"] == "answers.jsonl"
