"""Who judges: a model by its name, or a spec file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from moa_graph.spec.schema import MoASpec

__all__ = ["judge_of"]


def judge_of(model: str, option: str) -> MoASpec:
    """Return who judges; raise typer.BadParameter for what is neither a model nor a file."""
    from moa_graph.errors import SpecError  # noqa: PLC0415 -- with the two below
    from moa_graph.evaluation.judging import judge_spec  # noqa: PLC0415 -- costs start-up time
    from moa_graph.spec.loading import load_spec  # noqa: PLC0415 -- see above

    if model.endswith((".yaml", ".yml", ".json")) or Path(model).is_file():
        return load_spec(model)
    try:
        return judge_spec(model)
    except SpecError as error:
        reason = f"{model!r} is neither provider:model nor a spec file: {error.faults[0].message}"
        raise typer.BadParameter(reason, param_hint=option) from error
