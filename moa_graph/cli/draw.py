"""`moa draw`: a picture of a spec."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from moa_graph.spec.schema import MoASpec

__all__ = ["draw"]


def draw(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="The spec file.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write to FILE: .mmd (Mermaid), .svg or .png (needs the extra png).",
        ),
    ] = None,
) -> None:
    """Draw a spec as Mermaid, SVG or PNG.

    The picture shows the layers with their proposers, and the aggregator. Without -o Mermaid text goes
    to stdout. Nothing is fetched from the network.
    """
    from moa_graph.drawing import mermaid, png, svg  # noqa: PLC0415 -- pydantic costs start-up time
    from moa_graph.spec.loading import load_spec  # noqa: PLC0415 -- see above

    painters: dict[str, Callable[[MoASpec], str | bytes]] = {".mmd": mermaid, ".svg": svg, ".png": png}
    if output is not None and output.suffix.lower() not in painters:
        raise typer.BadParameter(f"{output}: the suffix must be .mmd, .svg or .png", param_hint="-o")
    picture = painters[output.suffix.lower() if output else ".mmd"](load_spec(spec))
    if output is None:
        typer.echo(picture, nl=False)
        return
    try:
        output.write_bytes(picture.encode() if isinstance(picture, str) else picture)
    except OSError as error:
        raise typer.BadParameter(f"{output}: {error.strerror or error}", param_hint="-o") from error
    typer.echo(f"wrote {output}", err=True)
