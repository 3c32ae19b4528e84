"""`moa check`: validate specs, and say what they need and what a question may cost."""

from __future__ import annotations

from typing import Annotated

import typer

from moa_graph.cli.faults import FAULT

__all__ = ["check"]


def check(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC", help="The spec files.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """Validate specs and show what a question costs.

    All faults are shown at once as file:line:column. What is missing to run a spec, such as an API key,
    is a warning.
    """
    from moa_graph.cli.checking import examine, report  # noqa: PLC0415 -- pydantic costs start-up time

    findings = [examine(spec) for spec in specs]
    report(findings, as_json=as_json)
    if any(finding.faults for finding in findings):
        raise typer.Exit(FAULT)
