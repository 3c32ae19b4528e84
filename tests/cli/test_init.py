from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moa_graph.cli.providers import PROVIDERS, Wish
from moa_graph.cli.template import spec_text
from moa_graph.spec.loading import load_spec, parse_spec
from tests.cli.conftest import Moa
from tests.cli.terminal import CTRL_C, on_terminal


@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_provider_gets_a_spec_that_loads(moa: Moa, tmp_path: Path, provider: str) -> None:
    options = [] if PROVIDERS[provider].models else ["--model", "a/b"]
    options += [] if PROVIDERS[provider].base_url else ["--base-url", "https://llm.example/v1"]
    result = moa("init", "--provider", provider, *options)
    assert result.exit_code == 0, result.stderr
    spec = load_spec(tmp_path / "moa.yaml")
    assert spec.depth == 3
    assert {slot.api_key_env for slot in spec.models.values()} == {PROVIDERS[provider].key_env}
    assert all((slot.base_url is None) == (provider == "openai") for slot in spec.models.values())
    assert "next: moa check moa.yaml" in result.stderr
    assert result.stdout == ""


def test_options_decide(moa: Moa, tmp_path: Path) -> None:
    moa(
        *("init", "own.yaml", "--provider", "vllm", "--model", "x/One", "--model", "y/One", "--layers", "1"),
        *("--base-url", "http://gpu:9000/v1", "--key-env", "GPU_KEY"),
    )
    spec = load_spec(tmp_path / "own.yaml")
    assert spec.name == "own"
    assert {name: slot.model for name, slot in spec.models.items()} == {
        "one": "openai:x/One",
        "one-2": "openai:y/One",
    }
    assert {(slot.base_url, slot.api_key_env) for slot in spec.models.values()} == {
        ("http://gpu:9000/v1", "GPU_KEY")
    }
    assert [id_ for id_, _ in spec.layers[0].ids()] == ["one", "one-2"]
    assert spec.aggregator.fallbacks == ["one-2"]


def test_one_model_is_sampled_and_no_layers_leave_the_aggregator_alone(moa: Moa, tmp_path: Path) -> None:
    moa("init", "self.yaml", "--provider", "ollama", "--model", "m", "--layers", "1")
    assert [id_ for id_, _ in load_spec(tmp_path / "self.yaml").layers[0].ids()] == ["m-1", "m-2", "m-3"]
    moa("init", "single.yaml", "--provider", "ollama", "--layers", "0")
    assert load_spec(tmp_path / "single.yaml").depth == 1


def test_the_keys_in_the_environment_decide_and_are_neither_shown_nor_written(
    moa: Moa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "secret-value-of-the-key")
    result = moa("init")
    text = (tmp_path / "moa.yaml").read_text()
    assert "api_key_env: TOGETHER_API_KEY" in text
    assert "secret-value" not in text + result.output
    assert "not set" not in result.stderr


def test_a_key_that_is_not_set_is_said(moa: Moa) -> None:
    assert "OPENAI_API_KEY is not set" in moa("init", "--provider", "openai").stderr


def test_an_existing_file_is_kept_unless_forced(moa: Moa, tmp_path: Path) -> None:
    (tmp_path / "moa.yaml").write_text("mine")
    refused = moa("init", "--provider", "ollama")
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert (tmp_path / "moa.yaml").read_text() == "mine"
    assert moa("init", "--provider", "ollama", "--force").exit_code == 0
    assert load_spec(tmp_path / "moa.yaml").name == "moa"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "OPENAI_API_KEY"),
        (["--provider", "nobody"], "none of openai"),
        (["--provider", "vllm"], "--model"),
        (["--provider", "compatible", "--model", "m"], "--base-url"),
        (["--provider", "vllm", "--model", "m", "--base-url", "ftp://x"], "--base-url: not an address"),
        (["--provider", "vllm", "--model", " "], "--model: a name is needed"),
        (["--provider", "vllm", "--model", "m", "--key-env", "sk-not-a-name"], "--key-env: not the NAME"),
        (["no/such/folder.yaml", "--provider", "ollama"], "No such file"),
    ],
)
def test_what_is_missing_or_wrong_ends_with_2_and_writes_nothing(
    moa: Moa, tmp_path: Path, options: list[str], said: str
) -> None:
    result = moa("init", *options)
    assert result.exit_code == 2
    assert said in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_on_a_terminal_what_is_missing_is_asked(tmp_path: Path) -> None:
    answers = ["compatible", "http://localhost:1234/v1", "my-model", "MY_KEY"]
    code, output = on_terminal("init", cwd=tmp_path, answers=answers)
    assert code == 0, output
    slot = load_spec(tmp_path / "moa.yaml").models["my-model"]
    assert (slot.base_url, slot.api_key_env) == ("http://localhost:1234/v1", "MY_KEY")


def test_on_a_terminal_a_wrong_word_is_asked_for_again(tmp_path: Path) -> None:
    answers = ["opnai", "compatible", "localhost", "http://localhost:1234/v1", " ", "m", "sk-key", "MY_KEY"]
    code, output = on_terminal("init", cwd=tmp_path, answers=answers)
    assert code == 0, output
    slot = load_spec(tmp_path / "moa.yaml").models["m"]
    assert (slot.base_url, slot.api_key_env) == ("http://localhost:1234/v1", "MY_KEY")
    assert "'opnai' is none of openai" in output
    assert "not an address such as" in output


def test_on_a_terminal_a_wrong_option_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    for option, value in (("--base-url", "localhost"), ("--key-env", "sk-key"), ("--model", " ")):
        code, output = on_terminal("init", option, value, cwd=tmp_path)
        assert code == 2
        assert "Provider (" not in output
        assert f"Invalid value for {option}" in output


def test_on_a_terminal_the_suggested_models_may_be_taken(tmp_path: Path) -> None:
    code, output = on_terminal("init", "--provider", "ollama", cwd=tmp_path, answers=[""])
    assert code == 0, output
    assert len(load_spec(tmp_path / "moa.yaml").models) == 2


def test_ctrl_c_at_a_question_ends_with_130(tmp_path: Path) -> None:
    code, output = on_terminal("init", cwd=tmp_path, answers=[CTRL_C])
    assert code == 130
    assert "interrupted" in output
    assert not (tmp_path / "moa.yaml").exists()


_NAMES = st.text(
    alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40
)


@given(
    st.lists(
        st.one_of(_NAMES, st.sampled_from(["null", "1e5", "no", "a: b", "x # y"])), min_size=1, max_size=4
    )
)
def test_any_model_name_gives_a_spec_that_says_it(names: list[str]) -> None:
    text = spec_text(Wish(PROVIDERS["vllm"], tuple(names), "http://x/v1", "none", 2), name="any")
    assert [slot.model for slot in parse_spec(text).models.values()] == [f"openai:{name}" for name in names]
