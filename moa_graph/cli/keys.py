"""`moa keys`: the keys that callers of `moa serve` must show."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moa_graph.cli.options import Json
from moa_graph.cli.tables import columns, local_time
from moa_graph.cli.text import dollars, one_line, to_json

if TYPE_CHECKING:
    from moa_graph.server.keys import Key

__all__ = ["DEFAULT_KEYS", "Keys", "add", "list_", "revoke"]

DEFAULT_KEYS = Path("moa-keys.json")

Keys = Annotated[
    Path,
    typer.Option("--keys", metavar="FILE", envvar="MOA_KEYS", help="The file of the keys' hashes."),
]

_HEAD = ("id", "name", "created", "a minute", "at once", "a day")


def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is.")],
    *,
    keys: Keys = DEFAULT_KEYS,
    rpm: Annotated[int | None, typer.Option(metavar="N", min=1, help="Requests per minute.")] = None,
    concurrent: Annotated[int | None, typer.Option(metavar="N", min=1, help="Runs at once.")] = None,
    cost_per_day: Annotated[float | None, typer.Option(metavar="USD", min=0, help="USD per day.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key and write it to stdout: the only time that it is shown.

    The file holds nothing but its hash. A running server takes it at once. What is not limited here is
    limited by what `moa serve` says of all keys.
    """
    from moa_graph.server.keys import KeyLimits, add_key, list_keys  # noqa: PLC0415 -- costs start-up time

    secret = add_key(keys, name, KeyLimits(rpm, concurrent, cost_per_day))
    if as_json:
        made = next(key for key in list_keys(keys) if key.name == name)
        typer.echo(to_json({"key": secret, **asdict(made)}))
        return
    typer.echo(f"the key of {name}, which is shown this once:", err=True)
    typer.echo(secret)


def list_(*, keys: Keys = DEFAULT_KEYS, as_json: Json = False) -> None:
    """List all keys, without their secrets, the oldest first."""
    from moa_graph.server.keys import list_keys  # noqa: PLC0415 -- costs start-up time

    found = list_keys(keys)
    if as_json:
        typer.echo(to_json({"keys": [asdict(key) for key in found]}))
    elif not found:
        typer.echo("there are no keys", err=True)
    else:
        typer.echo("\n".join(columns([_HEAD, *map(_row, found)], right={3, 4, 5})))


def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its name or its id.")],
    *,
    keys: Keys = DEFAULT_KEYS,
    as_json: Json = False,
) -> None:
    """Take a key away: a running server refuses it from the next request on."""
    from moa_graph.server.keys import revoke_key  # noqa: PLC0415 -- costs start-up time

    gone = revoke_key(keys, key)
    typer.echo(
        to_json({"revoked": asdict(gone)}) if as_json else f"revoked {one_line(gone.name)} ({gone.id})"
    )


def _row(key: Key) -> tuple[str, ...]:
    limits = key.limits
    numbers: tuple[Any, ...] = (limits.requests_per_minute, limits.concurrent_runs)
    return (
        key.id,
        one_line(key.name),
        local_time(key.created),
        *("–" if number is None else f"{number:,}" for number in numbers),
        "–" if limits.cost_per_day is None else dollars(limits.cost_per_day),
    )
