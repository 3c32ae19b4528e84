"""`moa init`: write a first spec."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moa_graph.cli.providers import PROVIDERS, Provider, Wish

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["init"]


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")] = Path("moa.yaml"),
    *,
    provider: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"Who serves the models: {', '.join(PROVIDERS)}.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A model, as the provider calls it. Repeatable; the first also aggregates."
        ),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the server is, such as http://localhost:8000/v1.")
    ] = None,
    key_env: Annotated[
        str | None,
        typer.Option(metavar="VARIABLE", help="The NAME of the variable that holds the API key, or none."),
    ] = None,
    layers: Annotated[
        int, typer.Option(metavar="N", min=0, max=8, help="The number of proposer layers.")
    ] = 2,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
) -> None:
    """Write a first spec for a provider of your choice.

    What is not said by an option is asked on a terminal; elsewhere the API keys in the environment decide
    on the provider. A key itself is never shown or written.
    """
    if file.exists() and not force:
        raise typer.BadParameter(f"{file} exists; --force overwrites it", param_hint="FILE")
    # What an option says wrongly is refused before anything is asked.
    said = _url(base_url) if base_url else None
    key = _key(key_env) if key_env else None
    names = [_names(name) for name in model or []]
    asking = sys.stdin.isatty() and sys.stderr.isatty()
    chosen = _provider(provider, asking=asking)
    url = said or chosen.base_url or _needed("--base-url", "Base URL of the server", _url, asking=asking)
    names = names or list(chosen.models)
    names = names or [_needed("--model", "Name of the model", _names, asking=asking)]
    if asking and not model and chosen.models:
        names = _ask("Models, separated by spaces", " ".join(names), _names).split()
    key = key or chosen.key_env
    if asking and not key_env and not chosen.base_url:
        key = _ask("NAME of the variable that holds the API key", key, _key)
    _write(file, Wish(chosen, tuple(names), url if url != chosen.native else None, key, layers), force=force)
    typer.echo(f"wrote {file}; next: moa check {file}", err=True)
    if key not in ("none", *_present([key])):
        typer.echo(f"the variable {key} is not set yet", err=True)


def _provider(name: str | None, *, asking: bool) -> Provider:
    if name is None:
        found = [each for each, provider in PROVIDERS.items() if _present([provider.key_env])]
        if asking:
            name = _ask(f"Provider ({', '.join(PROVIDERS)})", found[0] if found else "openai", _known)
        elif found:
            name = found[0]
        else:
            names = ", ".join(p.key_env for p in PROVIDERS.values() if p.key_env != "none")
            raise typer.BadParameter(
                f"say which one: no API key is in the environment ({names})", param_hint="--provider"
            )
    return PROVIDERS[_known(name)]


def _known(name: str) -> str:
    if name not in PROVIDERS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(PROVIDERS)}", param_hint="--provider")
    return name


def _url(text: str) -> str:
    return _proven(text, "base_url", "--base-url")


def _key(text: str) -> str:
    return _proven(text, "api_key_env", "--key-env")


def _names(text: str) -> str:
    if not text.strip():
        raise typer.BadParameter("a name is needed", param_hint="--model")
    return text


def _proven(text: str, key: str, option: str) -> str:
    from moa_graph.cli.template import slot_fault  # noqa: PLC0415 -- pydantic costs start-up time

    fault = slot_fault(key, text)
    if fault:
        raise typer.BadParameter(fault, param_hint=option)
    return text


def _present(variables: Sequence[str]) -> list[str]:
    return [name for name in variables if os.environ.get(name)]


def _needed(option: str, question: str, proof: Callable[[str], str], *, asking: bool) -> str:
    if not asking:
        raise typer.BadParameter("needed for this provider", param_hint=option)
    return _ask(question, None, proof)


def _ask(question: str, default: str | None, proof: Callable[[str], str]) -> str:
    """Return what was typed; ask again until it stands the proof."""
    return str(typer.prompt(question, default=default, value_proc=proof, err=True))


def _write(file: Path, wish: Wish, *, force: bool) -> None:
    from moa_graph.cli.template import spec_text  # noqa: PLC0415 -- pydantic costs start-up time

    text = spec_text(wish, name=file.stem)
    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(text)
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror or error}", param_hint="FILE") from error
