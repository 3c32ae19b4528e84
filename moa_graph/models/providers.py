"""From a slot of a spec to a chat model: the only place that knows how a provider's models are made."""

from __future__ import annotations

import os
from typing import Any

from langchain_core.language_models import BaseChatModel

from moa_graph.errors import ModelNotReady
from moa_graph.spec.slots import LOCAL_PROVIDERS, ModelSpec

__all__ = ["build_model", "key_variable"]

# Imports inside these functions are local because some cost a second: a spec pays for what it uses.

_KEY_VARIABLES = {
    "google_genai": "GOOGLE_API_KEY",
    "huggingface": "HUGGINGFACEHUB_API_TOKEN",
    "perplexity": "PPLX_API_KEY",
}
"""Where a provider's package does not read PROVIDER_API_KEY."""
_OWN_KEYS = frozenset({"model", "model_name", "base_url", "openai_api_base", "temperature", "max_tokens"})
_SECRET_KEYS = frozenset({"api_key", "openai_api_key"})


def key_variable(spec: ModelSpec) -> str | None:
    """Return the name of the environment variable that holds a slot's key; None where it needs none.

    A slot that names none has its provider's own, unless it has a `base_url`: a key must not reach a
    host that it is not meant for.
    """
    if spec.api_key_env is not None:
        return None if spec.api_key_env == "none" else spec.api_key_env
    if spec.base_url is not None or spec.provider in LOCAL_PROVIDERS:
        return None
    return _KEY_VARIABLES.get(spec.provider) or f"{spec.provider.upper().replace('-', '_')}_API_KEY"


def build_model(spec: ModelSpec) -> BaseChatModel:
    """Return the chat model of a slot.

    Raises ModelNotReady with a sentence that says what is missing, or whatever the provider's class
    raises for settings that it does not take.
    """
    match spec.provider:
        case "embedded":
            return _build_embedded(spec)
        case "replay":
            from moa_graph.models.replay import ReplayChatModel  # noqa: PLC0415 - see above

            return ReplayChatModel.from_file(spec.model_name, **spec.params)
        case "openai":
            return _build_openai(spec)
        case _:
            return _build_other(spec)


def _build_embedded(spec: ModelSpec) -> BaseChatModel:
    from moa_graph.models.embedded import ExtractiveChatModel  # noqa: PLC0415 - see above

    if spec.model_name != "extractive":
        raise ModelNotReady(
            f"there is no embedded model {spec.model_name!r}; the one there is: embedded:extractive."
        )
    options: dict[str, Any] = {**spec.params}
    return ExtractiveChatModel(temperature=spec.temperature, max_tokens=spec.max_tokens, **options)


def _build_openai(spec: ModelSpec) -> BaseChatModel:
    key = _key(spec)
    _check_params(spec)
    from moa_graph.models.openai import build_chat_completions_model  # noqa: PLC0415 - see above

    return build_chat_completions_model(spec, key)


def _build_other(spec: ModelSpec) -> BaseChatModel:
    # Only a key that the spec names is looked up here; some providers need none or know other ways.
    key = _key(spec) if spec.api_key_env is not None or spec.base_url is not None else None
    _check_params(spec)
    from langchain.chat_models import init_chat_model  # noqa: PLC0415 - see above

    options = {
        "temperature": spec.temperature,
        "max_tokens": spec.max_tokens,
        "base_url": spec.base_url,
        "api_key": key,
    }
    options = {name: value for name, value in options.items() if value is not None}
    try:
        return _without_retries(init_chat_model, spec, {**options, **spec.params})
    except ImportError as error:
        raise ModelNotReady(f"{str(error).rstrip('.')}.") from error


def _without_retries(init: Any, spec: ModelSpec, options: dict[str, Any]) -> BaseChatModel:
    """Build a model that does not retry by itself, if its class knows the setting."""
    try:
        model: BaseChatModel = init(spec.model_name, model_provider=spec.provider, max_retries=0, **options)
    except (TypeError, ValueError) as error:
        if "max_retries" not in str(error):
            raise
        model = init(spec.model_name, model_provider=spec.provider, **options)
    return model


def _key(spec: ModelSpec) -> str | None:
    """Return the slot's API key, None where it needs none; raise ModelNotReady if it is missing."""
    if spec.base_url is not None and spec.api_key_env is None:
        raise ModelNotReady(
            "a slot with base_url must say which environment variable holds its key; "
            "add `api_key_env: NAME`, or `api_key_env: none` for a server without keys."
        )
    name = key_variable(spec)
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise ModelNotReady(
            f"the environment variable {name} is not set; set it to the key (export {name}=…), "
            f"or name another variable in api_key_env."
        )
    if not key.isascii() or not key.isprintable():
        raise ModelNotReady(
            f"the value of the environment variable {name} cannot be a key: it has other than ASCII."
        )
    return key


def _check_params(spec: ModelSpec) -> None:
    """Refuse params that would go round the slot's own settings."""
    for name in spec.params:
        if name in _OWN_KEYS:
            raise ModelNotReady(f"params.{name} is not taken; say it in the slot itself.")
        if name in _SECRET_KEYS:
            raise ModelNotReady(
                f"params.{name} is not taken; put the key into a variable and name it in api_key_env."
            )
