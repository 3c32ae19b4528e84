"""The providers that `moa init` knows: where they are, and how their keys are called."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PROVIDERS", "Provider", "Wish"]


@dataclass(frozen=True)
class Provider:
    """Describe who serves models. An empty `base_url` or `models` must be said by the user.

    `native` providers are reached without a base_url in the spec.
    """

    name: str
    base_url: str
    key_env: str
    models: tuple[str, ...] = ()
    native: str | None = None


@dataclass(frozen=True)
class Wish:
    """Hold what a first spec shall contain; `base_url` is None for a native provider."""

    provider: Provider
    models: tuple[str, ...]
    base_url: str | None
    key_env: str
    layers: int


_OPENAI = "https://api.openai.com/v1"
PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider("openai", _OPENAI, "OPENAI_API_KEY", ("gpt-4o", "gpt-4o-mini"), native=_OPENAI),
        Provider(
            "together",
            "https://api.together.xyz/v1",
            "TOGETHER_API_KEY",
            ("Qwen/Qwen2.5-72B-Instruct-Turbo", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ),
        Provider(
            "openrouter",
            "https://openrouter.ai/api/v1",
            "OPENROUTER_API_KEY",
            ("qwen/qwen-2.5-72b-instruct", "meta-llama/llama-3.3-70b-instruct"),
        ),
        Provider("ollama", "http://localhost:11434/v1", "none", ("llama3.2", "qwen2.5")),
        Provider("vllm", "http://localhost:8000/v1", "none"),
        Provider("compatible", "", "none"),
    )
}
