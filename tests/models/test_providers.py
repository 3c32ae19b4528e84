from __future__ import annotations

import langchain.chat_models
import pytest
from langchain_core.language_models import BaseChatModel

from moa_graph.errors import ModelNotReady
from moa_graph.models.providers import build_model, key_variable
from moa_graph.spec.schema import ModelSpec
from tests.fakes.models import ScriptedChatModel


def spec(model: str, **options: object) -> ModelSpec:
    return ModelSpec.model_validate({"model": model, **options})


class Init:
    """Stand in for `init_chat_model`: no provider but OpenAI's is installed here."""

    def __init__(self, refuses: Exception | None = None) -> None:
        self.calls: list[dict[str, object]] = []
        self.refuses = refuses

    def __call__(self, model: str, **options: object) -> BaseChatModel:
        self.calls.append({"model": model, **options})
        if self.refuses and "max_retries" in options:
            raise self.refuses
        return ScriptedChatModel()


@pytest.fixture
def init(monkeypatch: pytest.MonkeyPatch) -> Init:
    stand_in = Init()
    monkeypatch.setattr(langchain.chat_models, "init_chat_model", stand_in)
    return stand_in


def test_other_providers_are_made_by_langchain_without_retries(init: Init) -> None:
    build_model(spec("anthropic:claude", max_tokens=None, params={"top_k": 3}))
    assert init.calls == [
        {"model": "claude", "model_provider": "anthropic", "max_retries": 0, "temperature": 0.7, "top_k": 3}
    ]


def test_a_named_key_and_a_base_url_are_passed_on(init: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "my-secret")
    build_model(spec("anthropic:claude", base_url="http://127.0.0.1:9", api_key_env="MY_KEY"))
    assert init.calls[0]["api_key"] == "my-secret"
    assert init.calls[0]["base_url"] == "http://127.0.0.1:9"
    build_model(spec("ollama:llama3", base_url="http://127.0.0.1:9", api_key_env="none"))
    assert "api_key" not in init.calls[1]


@pytest.mark.parametrize(
    "refusal", [TypeError("unexpected keyword max_retries"), ValueError("max_retries: extra")]
)
def test_a_class_that_knows_no_retries_is_made_without_the_setting(init: Init, refusal: Exception) -> None:
    init.refuses = refusal
    build_model(spec("ollama:llama3"))
    assert ["max_retries" in call for call in init.calls] == [True, False]


def test_other_refusals_are_not_hidden(init: Init) -> None:
    init.refuses = ValueError("no such model")
    with pytest.raises(ValueError, match="no such model"):
        build_model(spec("ollama:llama3"))


def test_a_key_does_not_go_to_a_host_it_is_not_meant_for(init: Init) -> None:
    with pytest.raises(ModelNotReady, match="api_key_env"):
        build_model(spec("anthropic:claude", base_url="http://127.0.0.1:9"))
    assert init.calls == []


@pytest.mark.parametrize(
    ("slot", "variable"),
    [
        (spec("openai:x"), "OPENAI_API_KEY"),
        (spec("azure-openai:x"), "AZURE_OPENAI_API_KEY"),
        (spec("google_genai:x"), "GOOGLE_API_KEY"),
        (spec("openai:x", api_key_env="MINE"), "MINE"),
        (spec("openai:x", api_key_env="none"), None),
        (spec("openai:x", base_url="http://h/v1"), None),
        (spec("embedded:extractive"), None),
        (spec("host:mine"), None),
    ],
)
def test_the_variable_of_a_key_is_named_by_the_slot_or_by_its_provider(
    slot: ModelSpec, variable: str | None
) -> None:
    assert key_variable(slot) == variable
