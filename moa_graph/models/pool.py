"""The chat models of a spec: built once, checked before the first call, handed out by slot."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableBinding
from pydantic import ValidationError

from moa_graph.errors import ModelNotReady
from moa_graph.models.providers import build_model, key_variable
from moa_graph.readiness import Readiness
from moa_graph.spec.schema import MoASpec
from moa_graph.spec.slots import FREE_PROVIDERS, PriceSpec

__all__ = ["ModelPool"]

_FREE = PriceSpec(input=0.0, output=0.0)
_SHORTEST_SECRET = 6
"""Shorter values (a server that wants just "x" as its key) would turn up in ordinary words."""


_Key = tuple[str, float | None, int | None]
"""A slot, and the temperature and max_tokens of a member where they differ from the slot's."""


class ModelPool(Readiness):
    """Hold the chat models of a spec's slots; nothing is imported or looked up before it is needed.

    `registered` are objects of the host program: one under the name of a slot replaces the slot, and a
    slot `host:NAME` stands for the one under NAME. The pool is thread-safe, its models belong to no
    event loop.
    """

    def __init__(self, spec: MoASpec, registered: Mapping[str, BaseChatModel] | None = None) -> None:
        super().__init__()
        self.spec = spec
        self._registered = dict(registered or {})
        self._models: dict[_Key, BaseChatModel] = {}
        self._secrets: tuple[str, ...] = ()

    def problems(self) -> list[str]:
        """Return what is missing before a run can start, each as a sentence that says how to mend it.

        What several slots lack is said once, with their names.
        """
        self._secrets = self._key_values()
        slots: dict[str, list[str]] = {}
        for slot, temperature, max_tokens in self._used():
            for problem in self._problems_of(slot, temperature, max_tokens):
                lacking = slots.setdefault(problem, [])
                if slot not in lacking:
                    lacking.append(slot)
        return [self.redact(f"{self._places(lacking)}: {problem}") for problem, lacking in slots.items()]

    def get(
        self, slot: str, *, temperature: float | None = None, max_tokens: int | None = None
    ) -> BaseChatModel:
        """Return the chat model of a slot; None stands for the slot's own temperature or max_tokens.

        Raises ModelNotReady if any model that the spec uses cannot be built.
        """
        model = self._models.get((slot, temperature, max_tokens))
        if model is not None and self._loaded:
            return model
        self.load()
        with self._lock:
            return self._build(slot, temperature, max_tokens)

    def single(self, slot: str) -> BaseChatModel:
        """Return the chat model of one slot; the others need not be ready. Raises ModelNotReady."""
        return self._build(slot, None, None)

    def lacks_tools(self, slot: str) -> bool:
        """Tell whether a slot's model is known to be unable to call tools."""
        try:
            model: Any = self.single(slot)
        except Exception:  # noqa: BLE001 - said by `problems`
            return False
        while isinstance(model, RunnableBinding):
            model = model.bound
        return isinstance(model, BaseChatModel) and type(model).bind_tools is BaseChatModel.bind_tools

    def price(self, slot: str) -> PriceSpec | None:
        """Return the price of a slot; embedded and replayed models cost nothing, None means unknown."""
        model = self.spec.models[slot]
        if slot not in self._registered and model.provider in FREE_PROVIDERS:
            return _FREE
        return model.price

    def requested(self, slot: str) -> str:
        """Return the `provider:model` that a slot asks for."""
        return self.spec.models[slot].model

    def redact(self, text: str) -> str:
        """Replace the values of all API keys in use by "[redacted]"."""
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        return text

    def _used(self) -> list[_Key]:
        """Return what the spec uses: slots in its order, each as its members want it."""
        members = [member for layer in self.spec.layers for member in self.spec.members(layer)]
        uses = [
            (member.model, member.temperature, member.max_tokens)
            for member in [*members, *self.spec.aggregators()]
            if member.model is not None
        ]
        uses += [(slot, None, None) for slot in self.spec.aides()]
        order = list(self.spec.models)
        return sorted(dict.fromkeys(uses), key=lambda use: order.index(use[0]))

    def _key_values(self) -> tuple[str, ...]:
        """Return the values of the key variables in use, longest first, so that none hides in another."""
        names = {key_variable(self.spec.models[slot]) for slot, _, _ in self._used()}
        values = {os.environ.get(name or "", "").strip() for name in names}
        long = (value for value in values if len(value) >= _SHORTEST_SECRET)
        return tuple(sorted(long, key=len, reverse=True))

    def _places(self, slots: list[str]) -> str:
        if len(slots) == 1:
            return f"models.{slots[0]} ({self.requested(slots[0])})"
        return f"{len(slots)} slots ({', '.join(slots)})"

    def _problems_of(self, slot: str, temperature: float | None, max_tokens: int | None) -> Iterator[str]:
        try:
            self._build(slot, temperature, max_tokens)
        except ModelNotReady as problem:
            yield problem.message
        except ValidationError as error:
            for fault in error.errors():
                name = ".".join(str(part) for part in fault["loc"])
                yield f"params{'.' * bool(name)}{name}: {fault['msg']}; correct it in the spec."
        except Exception as error:  # noqa: BLE001 - a provider's class may raise anything when it is built
            reason = " ".join(str(error).partition("\n\n")[0].split())  # a list of all providers may follow
            if reason.startswith("Unsupported provider"):
                provider = self.spec.models[slot].provider
                yield f"LangChain knows no provider {provider!r}; correct it in the spec."
            else:
                yield f"the model could not be created: {type(error).__name__}: {reason}"

    def _build(self, slot: str, temperature: float | None, max_tokens: int | None) -> BaseChatModel:
        key = (slot, temperature, max_tokens)
        with self._lock:
            if key not in self._models:
                spec, host = self.spec.models[slot], self._host_object(slot)
                if host is not None:
                    self._models[key] = _bind(host, temperature, max_tokens)
                else:
                    own = {"temperature": temperature, "max_tokens": max_tokens}
                    own = {name: value for name, value in own.items() if value is not None}
                    self._models[key] = build_model(spec.model_copy(update=own))
            return self._models[key]

    def _host_object(self, slot: str) -> BaseChatModel | None:
        if slot in self._registered:
            return self._registered[slot]
        spec = self.spec.models[slot]
        if spec.provider != "host":
            return None
        if spec.model_name not in self._registered:
            raise ModelNotReady(
                f"no model is registered under the name {spec.model_name!r}; "
                f"register one with build_graph(spec, models={{{spec.model_name!r}: …}})."
            )
        return self._registered[spec.model_name]


def _bind(host: BaseChatModel, temperature: float | None, max_tokens: int | None) -> BaseChatModel:
    given = {"temperature": temperature, "max_tokens": max_tokens}
    given = {name: value for name, value in given.items() if value is not None}
    # A binding offers all that a call needs (invoke, stream and their async forms) but is no BaseChatModel.
    return cast("BaseChatModel", host.bind(**given)) if given else host
