"""`moa init`: write a first spec."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moa_graph.cli.providers import PROVIDERS, Provider, Wish

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    asking = sys.stdin.isatty() and sys.stderr.isatty()
    chosen = _provider(provider, asking=asking)
    url = base_url or chosen.base_url or _needed("--base-url", "Base URL of the server", asking=asking)
    names = model or list(chosen.models) or [_needed("--model", "Name of the model", asking=asking)]
    if asking and not model and chosen.models:
        names = _ask("Models, separated by spaces", " ".join(names)).split()
    key = key_env or chosen.key_env
    if asking and not key_env and not chosen.base_url:
        key = _ask("NAME of the variable that holds the API key", key)
    _write(file, Wish(chosen, tuple(names), url if url != chosen.native else None, key, layers), force=force)
    typer.echo(f"wrote {file}; next: moa check {file}", err=True)
    if key not in ("none", *_present([key])):
        typer.echo(f"the variable {key} is not set yet", err=True)


def _provider(name: str | None, *, asking: bool) -> Provider:
    if name is None:
        found = [each for each, provider in PROVIDERS.items() if _present([provider.key_env])]
        if asking:
            name = _ask(f"Provider ({', '.join(PROVIDERS)})", found[0] if found else "openai")
        elif found:
            name = found[0]
        else:
            names = ", ".join(p.key_env for p in PROVIDERS.values() if p.key_env != "none")
            raise typer.BadParameter(
                f"say which one: no API key is in the environment ({names})", param_hint="--provider"
            )
    if name not in PROVIDERS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(PROVIDERS)}", param_hint="--provider")
    return PROVIDERS[name]


def _present(variables: Sequence[str]) -> list[str]:
    return [name for name in variables if os.environ.get(name)]


def _needed(option: str, question: str, *, asking: bool) -> str:
    if not asking:
        raise typer.BadParameter("needed for this provider", param_hint=option)
    return _ask(question, None)


def _ask(question: str, default: str | None) -> str:
    return str(typer.prompt(question, default=default, err=True))


def _write(file: Path, wish: Wish, *, force: bool) -> None:
    from moa_graph.cli.template import spec_text  # noqa: PLC0415 -- pydantic costs start-up time

    text = spec_text(wish, name=file.stem)
    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(text)
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror or error}", param_hint="FILE") from error
