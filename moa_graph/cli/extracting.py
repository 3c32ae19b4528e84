"""From the option `--extract` to how an answer is read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import typer
from pydantic import TypeAdapter
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from moa_graph.errors import SpecError
from moa_graph.spec.extracting import Extract, ExtractSpec
from moa_graph.spec.loading import load_spec

if TYPE_CHECKING:
    from moa_graph.errors import Fault

__all__ = ["read_extract"]

_PLACE = "aggregator.extract"
_VOTE = {
    "moa": 1,
    "name": "vote",
    "models": {"a": {"model": "embedded:extractive"}},
    "layers": [{"proposers": ["a"]}],
}


def read_extract(text: str) -> ExtractSpec:
    """Read `number`, or a mapping as YAML or JSON; raise typer.BadParameter for anything else."""
    try:
        value = YAML(typ="safe", pure=True).load(text)
        # A spec that votes says it in the same way, and its faults are told in words.
        load_spec({**_VOTE, "aggregator": {"reduce": "vote", "extract": value}})
    except YAMLError as error:
        problem = str(error).splitlines()[0]
        raise typer.BadParameter(f"neither YAML nor JSON: {problem}", param_hint="--extract") from error
    except SpecError as error:
        raise typer.BadParameter("; ".join(map(_said, error.faults)), param_hint="--extract") from error
    spec: ExtractSpec = TypeAdapter(Extract).validate_python(value)
    return spec


def _said(fault: Fault) -> str:
    """Return a fault of the spec that stands in for the option, with its place in the option alone."""
    path = fault.path.removeprefix(_PLACE).lstrip(".")
    return str(replace(fault, path=path, file="", line=0)).removeprefix(":").strip()
