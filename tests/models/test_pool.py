from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from moa_graph.errors import ModelNotReady
from moa_graph.models import ModelPool, pool
from moa_graph.models.embedded import ExtractiveChatModel
from moa_graph.models.openai import ChatCompletionsModel
from moa_graph.spec.schema import MoASpec, PriceSpec
from tests.fakes.models import ScriptedChatModel
from tests.fakes.openai_server import FakeOpenAI

ASKED = [HumanMessage("Honey is sweet.\n\nIs honey sweet?")]
EMBEDDED = {"model": "embedded:extractive"}


def spec_of(models: Mapping[str, Any], *, proposers: list[Any] | None = None) -> MoASpec:
    """Return a spec whose first slot aggregates and whose other slots propose, unless said otherwise."""
    first, *others = models
    proposers = others if proposers is None else proposers
    layers = [{"name": "draft", "proposers": proposers}] if proposers else []
    document = {"moa": 1, "name": "t", "models": models, "layers": layers, "aggregator": {"model": first}}
    return MoASpec.model_validate(document)


def test_every_missing_thing_is_named_at_once_before_any_call(server: FakeOpenAI, tmp_path: Path) -> None:
    local = {"model": "openai:ok", "base_url": server.base_url, "api_key_env": "none"}
    models = {
        "fine": local,
        "keyless": {"model": "openai:gpt-4o"},
        "named": {"model": "openai:ok", "base_url": server.base_url, "api_key_env": "MY_KEY"},
        "unsaid": {"model": "openai:ok", "base_url": server.base_url},
        "packageless": {"model": "cohere:command"},
        "unknown": {"model": "nobody:x"},
        "hosted": {"model": "host:mine"},
        "recorded": {"model": f"replay:{tmp_path}/none.jsonl"},
        "wrong": {"model": "embedded:extractive", "params": {"ranker": "llm"}},
        "strange": {"model": "embedded:gpt"},
        "around": {**local, "params": {"model": "x"}},
        "secret": {**local, "params": {"api_key": "x"}},
    }
    models_pool = ModelPool(spec_of(models))
    expected = [
        ("models.keyless (openai:gpt-4o): ", "OPENAI_API_KEY is not set"),
        ("models.named (openai:ok): ", "export MY_KEY="),
        ("models.unsaid (openai:ok): ", "api_key_env: none"),
        ("models.packageless (cohere:command): ", "pip install langchain-cohere"),
        ("models.unknown (nobody:x): ", "LangChain knows no provider 'nobody'; correct it in the spec."),
        ("models.hosted (host:mine): ", "models={'mine': …}"),
        ("models.recorded (replay:", "cannot be read"),
        ("models.wrong (embedded:extractive): ", "params.ranker"),
        ("models.strange (embedded:gpt): ", "embedded:extractive"),
        ("models.around (openai:ok): ", "params.model"),
        ("models.secret (openai:ok): ", "params.api_key"),
    ]
    problems = models_pool.problems()
    assert len(problems) == len(expected)
    for problem, (start, part) in zip(problems, expected, strict=True):
        assert problem.startswith(start)
        assert part in problem
    with pytest.raises(ModelNotReady) as caught:
        models_pool.load()
    assert caught.value.message == "\n".join(problems)
    with pytest.raises(ModelNotReady):
        models_pool.get("fine")
    assert server.count() == 0


def test_what_several_slots_lack_is_said_once_with_their_names() -> None:
    models = {name: {"model": f"openai:{name}"} for name in "abc"} | {"d": {"model": "nobody:x"}}
    first, second = ModelPool(spec_of(models)).problems()
    assert first.startswith("3 slots (a, b, c): the environment variable OPENAI_API_KEY is not set; ")
    assert second == "models.d (nobody:x): LangChain knows no provider 'nobody'; correct it in the spec."


def test_a_slot_used_in_two_ways_is_named_once() -> None:
    models = {"a": EMBEDDED, "b": {"model": "openai:gpt-4o"}}
    (problem,) = ModelPool(
        spec_of(models, proposers=["b", {"model": "b", "id": "c", "max_tokens": 9}])
    ).problems()
    assert problem.startswith("models.b (openai:gpt-4o): ")


def test_what_no_layer_uses_is_not_needed() -> None:
    models_pool = ModelPool(spec_of({"used": EMBEDDED, "idle": {"model": "openai:gpt-4o"}}, proposers=[]))
    assert models_pool.problems() == []
    models_pool.load()


def test_fallbacks_are_needed() -> None:
    document = {
        "moa": 1,
        "name": "t",
        "models": {"used": EMBEDDED, "spare": {"model": "openai:gpt-4o"}},
        "aggregator": {"model": "used", "fallbacks": ["spare"]},
    }
    assert "models.spare" in ModelPool(MoASpec.model_validate(document)).problems()[0]


def test_a_mended_environment_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    models_pool = ModelPool(spec_of({"a": {"model": "openai:gpt-4o"}}))
    assert len(models_pool.problems()) == 1
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mended-now")
    models_pool.load()
    assert isinstance(models_pool.get("a"), ChatCompletionsModel)


@pytest.mark.parametrize("value", ["", "  \n", "schlüssel-ß", "two\nlines"])
def test_a_variable_without_a_usable_key_is_a_missing_key(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", value)
    (problem,) = ModelPool(spec_of({"a": {"model": "openai:gpt-4o"}})).problems()
    assert "OPENAI_API_KEY" in problem


def test_a_model_is_built_once_for_the_same_settings() -> None:
    models_pool = ModelPool(spec_of({"a": {**EMBEDDED, "max_tokens": 50}}))
    model = models_pool.get("a")
    assert models_pool.get("a") is model
    shorter = models_pool.get("a", max_tokens=9, temperature=0.1)
    assert isinstance(model, ExtractiveChatModel)
    assert isinstance(shorter, ExtractiveChatModel)
    assert (model.temperature, model.max_tokens) == (0.7, 50)
    assert (shorter.temperature, shorter.max_tokens) == (0.1, 9)
    assert models_pool.get("a", max_tokens=9, temperature=0.1) is shorter


def test_threads_share_what_one_of_them_built(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    build = pool.build_model
    monkeypatch.setattr(pool, "build_model", lambda spec: built.append(spec.model) or build(spec))
    models_pool, barrier = ModelPool(spec_of({"a": EMBEDDED})), threading.Barrier(8)
    got: list[Any] = []

    def get() -> None:
        barrier.wait()
        got.append(models_pool.get("a"))

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(model) for model in got}) == 1
    assert built == ["embedded:extractive"]


async def test_a_registered_object_takes_the_place_of_a_slot_and_of_a_host_name() -> None:
    mine, named = ScriptedChatModel("mine"), ScriptedChatModel("named")
    spec = spec_of(
        {"a": {"model": "openai:gpt-4o", "price": {"input": 1, "output": 2}}, "b": {"model": "host:named"}}
    )
    models_pool = ModelPool(spec, {"a": mine, "named": named})
    assert models_pool.get("a") is mine
    assert models_pool.get("b") is named
    assert models_pool.price("a") == PriceSpec(input=1, output=2)
    assert models_pool.price("b") is None
    bound = models_pool.get("a", temperature=0.2)
    assert (await bound.ainvoke(ASKED)).text == "mine"
    assert bound.kwargs == {"temperature": 0.2}  # type: ignore[attr-defined]


def test_prices_and_names_are_the_spec_s(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text('{"question": "Q", "text": "T"}', encoding="utf-8")
    spec = spec_of(
        {
            "a": EMBEDDED,
            "b": {"model": f"replay:{tmp_path}/r.jsonl"},
            "c": {"model": "openai:x", "price": {"input": 1, "output": 2}},
            "d": {"model": "openai:y"},
        }
    )
    models_pool = ModelPool(spec)
    free = PriceSpec(input=0, output=0)
    assert [models_pool.price(slot) for slot in "abcd"] == [free, free, PriceSpec(input=1, output=2), None]
    assert models_pool.requested("c") == "openai:x"


def test_keys_in_use_are_redacted_longest_first(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OTHER_KEY", "sk-secret-longer")
    monkeypatch.setenv("SHORT_KEY", "x")
    slots = {
        "a": {"model": "openai:gpt-4o"},
        "b": {"model": "openai:ok", "base_url": server.base_url, "api_key_env": "OTHER_KEY"},
        "c": {"model": "openai:ok", "base_url": server.base_url, "api_key_env": "SHORT_KEY"},
    }
    models_pool = ModelPool(spec_of(slots))
    models_pool.load()
    text = "Incorrect key sk-secret, or sk-secret-longer; x."
    assert models_pool.redact(text) == "Incorrect key [redacted], or [redacted]; x."


def test_a_pool_s_models_work_in_every_event_loop(server: FakeOpenAI) -> None:
    slot = {"model": "openai:ok", "base_url": server.base_url, "api_key_env": "none"}
    models_pool = ModelPool(spec_of({"a": slot}))
    answers = {asyncio.run(models_pool.get("a").ainvoke(ASKED)).text for _ in range(3)}
    assert len(answers) == 1


def test_importing_the_pool_imports_no_provider() -> None:
    script = (
        "import sys, moa_graph.models\n"
        "heavy = {'openai', 'langchain_openai', 'aiohttp', 'langchain.chat_models'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "[]"
