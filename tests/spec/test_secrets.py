"""A key in a spec is refused, and never repeated."""

import pytest

from moa_graph.errors import SpecError
from moa_graph.spec import load_spec, parse_spec
from moa_graph.spec.secrets import is_secret_name, is_secret_value
from tests.spec.samples import VALID

CANARY = "Zq7canary9Zq7canary9x"  # not the form of any provider: only its place can betray it
KEYS = [
    f"sk-{CANARY}",
    "sk-ant-abcd",
    "sk-12ab34cd",
    f"sk-proj-{CANARY}",
    f"gsk_{CANARY}",
    f"hf_{CANARY}",
    f"AIza{CANARY}",
    f"xai-{CANARY}",
    f"ghp_{CANARY}",
    f"github_pat_{CANARY}",
    "AKIAABCDEFGH12345678",
    f"Bearer {CANARY}",
    "Bearer abc1",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc",
    "-----BEGIN RSA PRIVATE KEY-----",
]


def secret_faults(data):
    with pytest.raises(SpecError) as caught:
        load_spec(data)
    return caught.value


def data(**slot):
    return {
        "moa": 1,
        "name": "n",
        "models": {"a": {"model": "openai:m", **slot}},
        "aggregator": {"model": "a"},
    }


@pytest.mark.parametrize(
    "name",
    [
        "api_key",
        "apikey",
        "API-Key",
        "token",
        "access_token",
        "hf_token",
        "secret",
        "client_secret",
        "password",
        "Authorization",
        "x-api-key",
        "openai_api_key",
        "Cookie",
        "private_key",
        "credentials",
    ],
)
def test_a_key_under_a_telling_name_is_refused_at_any_depth(name):
    for slot in (
        {name: CANARY},
        {"params": {name: CANARY}},
        {"params": {"default_headers": {name: CANARY}}},
        {"params": {"list": [{"deep": {name: CANARY}}]}},
        {"params": {name: {"value": CANARY}}},
        {"params": {name: [CANARY]}},
    ):
        error = secret_faults(data(**slot))
        assert len(error.faults) == 1
        assert "does not belong in a spec" in error.faults[0].message
        assert "api_key_env" in error.faults[0].expected
        assert CANARY not in str(error)


@pytest.mark.parametrize(
    "name",
    [
        "max_tokens",
        "max_token",
        "max_new_token",
        "eos_token",
        "stop_token_ids",
        "top_p",
        "logit_bias",
        "min_tokens",
        "prompt_cache_key",
        "tokens",
        "tokenizer",
    ],
)
def test_sampling_parameters_are_not_secrets(name):
    assert not is_secret_name(name)


@pytest.mark.parametrize("key", KEYS)
def test_a_value_in_the_form_of_a_key_is_refused_everywhere(key):
    places = [
        data(api_key_env=key),
        data(base_url=key, api_key_env="none"),
        data(params={"x": {"y": [key]}}),
        data() | {"description": key},
        data() | {"name": key},
        data() | {key: 1},
        data() | {"aggregator": {"model": key}},
        data() | {"models": {"a": {"model": "x:y"}, key: {"model": "x:y"}}},
        data() | {"models": {"a": {"model": "x:y"}, key: {"model": "x:y", "oops": 1}}},
        data() | {"layers": [{"proposers": [key, {"model": key}]}]},
    ]
    for place in places:
        assert key not in str(secret_faults(place))


@pytest.mark.parametrize("key", [key for key in KEYS if len(key) > 20])
def test_a_key_inside_a_longer_text_is_found(key):
    assert is_secret_value(f"Use {key} for the call.")


@pytest.mark.parametrize(
    "text",
    [
        "Bearer of bad news",
        "The bearer responsibility",
        "sk-learn",
        "scikit-learn is ask-me-anything",
        "hf_model",
        "xai-grok-2",
        "openai:gpt-4o-2024-08-06",
        "mistralai/Mixtral-8x22B-Instruct-v0.1",
        "task-2024-long-name-here",
    ],
)
def test_ordinary_texts_are_not_keys(text):
    assert not is_secret_value(text)


@pytest.mark.parametrize(
    "name", ["OPENAI_API_KEY", "none", "_x", "TOGETHER_API_KEY_2", "my_company_llm_key_2024"]
)
def test_names_of_variables_are_fine(name):
    assert load_spec(data(api_key_env=name)).models["a"].api_key_env == name


@pytest.mark.parametrize(
    "value", [CANARY, "0123456789abcdef0123456789abcdef", f"A_{CANARY}", "3f2a-" + CANARY]
)
def test_a_key_where_a_name_is_expected_is_refused(value):
    error = secret_faults(data(api_key_env=value))
    assert value not in str(error)
    assert error.faults[0].path == "models.a.api_key_env"


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{CANARY}@h/v1",
        f"https://{CANARY}@h/v1",
        f"https://h/v1?api_key={CANARY}",
        f"https://h/v1?key={CANARY}",
        f"https://h/v1?x=sk-{CANARY}",
        f"https://h/v1?Token={CANARY}",
    ],
)
def test_an_address_that_carries_a_secret_is_refused(url):
    error = secret_faults(data(base_url=url, api_key_env="none"))
    assert len(error.faults) == 1
    assert CANARY not in str(error)


@pytest.mark.parametrize(
    "url", ["http://localhost:11434/v1", "https://h/v1?api-version=2024-02-01", "http://[::1]:8000"]
)
def test_plain_addresses_are_fine(url):
    assert load_spec(data(base_url=url, api_key_env="none")).models["a"].base_url == url


def test_a_slot_may_be_named_token():
    spec = load_spec(
        {"moa": 1, "name": "n", "models": {"token": {"model": "x:y"}}, "aggregator": {"model": "token"}}
    )
    assert "token" in spec.models


def test_an_unset_param_holds_no_secret():
    assert load_spec(data(params={"token": None})).models["a"].params == {"token": None}


def test_a_fault_of_secrecy_has_its_place():
    with pytest.raises(SpecError) as caught:
        parse_spec(VALID.replace("gpt-4o", f"m, api_key: {CANARY}"))
    [fault] = caught.value.faults
    assert (fault.line, fault.column, fault.path) == (4, 24, "models.a.api_key")
