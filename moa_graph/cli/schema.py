"""`moa schema`: the JSON Schema of a spec."""

from __future__ import annotations

import typer

__all__ = ["schema"]


def schema() -> None:
    """Print the JSON Schema of specs, for editors."""
    from moa_graph.spec.loading import schema_text  # noqa: PLC0415 -- pydantic costs start-up time

    typer.echo(schema_text(), nl=False)
