"""What `moa check` finds out about a spec, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import typer

from moa_graph.cli.text import dollars, plain
from moa_graph.errors import Fault, SpecError
from moa_graph.estimate import QUESTION_TOKENS, Estimate, estimate
from moa_graph.resources import Registered, Resources
from moa_graph.spec.loading import load_spec
from moa_graph.spec.schema import MoASpec
from moa_graph.spec.words import special

__all__ = ["Finding", "examine", "report"]


@dataclass(frozen=True)
class Finding:
    """Hold what was found about one file: faults, or what the spec is and what it still needs."""

    file: str
    faults: tuple[Fault, ...] = ()
    name: str = ""
    depth: int = 0
    widths: tuple[int, ...] = ()
    special: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    estimate: Estimate | None = None


def examine(file: str) -> Finding:
    """Load a spec and find out what it is; no model is called."""
    try:
        spec = load_spec(file)
    except SpecError as error:
        return Finding(file, faults=error.faults)
    resources = Resources(spec, Registered())
    return Finding(
        file,
        name=spec.name,
        depth=spec.depth,
        widths=_widths(spec),
        special=tuple(special(spec)),
        problems=tuple(resources.problems()),
        estimate=estimate(spec, resources.models.price),
    )


def report(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Write findings to stdout: as one JSON object, or faults and facts a line each."""
    if as_json:
        files = [{"ok": not finding.faults, **asdict(finding)} for finding in findings]
        typer.echo(json.dumps({"ok": all(file["ok"] for file in files), "files": files}, indent=2))
        return
    for finding in findings:
        for line in _lines(finding):
            typer.echo(plain(line))


def _lines(finding: Finding) -> list[str]:
    if finding.estimate is None:
        return [str(fault) for fault in finding.faults]
    expected = finding.estimate
    cost = f"at most {dollars(expected.max_cost)} for {QUESTION_TOKENS:,} tokens of question, without retries"
    if expected.max_cost is None:
        cost = f"unknown ({expected.unknown})"
    return [
        f"{finding.file}: ok: {finding.name}",
        f"  depth {finding.depth} × width {_shape(finding.widths)}",
        *(f"  {line}" for line in finding.special),
        f"  calls per question: {expected.calls}, at most {expected.max_calls} with retries and fallbacks",
        f"  cost per question: {cost}",
        *(f"  warning: {problem}" for problem in finding.problems),
    ]


def _widths(spec: MoASpec) -> tuple[int, ...]:
    return tuple(layer.width for layer in spec.layers)


def _shape(widths: tuple[int, ...]) -> str:
    if len(set(widths)) == 1:
        return str(widths[0])
    return ", ".join(str(width) for width in widths) or "0 (the aggregator answers alone)"
