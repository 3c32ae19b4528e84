"""Keep the help in docs/cli.md current: `python -m moa_graph.cli.manual docs/cli.md`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import typer

from moa_graph.cli.main import app

__all__ = ["refresh"]

_BLOCK = re.compile(r"(<!-- help: ([a-z]+(?: [a-z]+)?) -->\n).*?(<!-- end of help -->)", re.DOTALL)


def refresh(page: str) -> str:
    """Return a Markdown page with what stands between `<!-- help: COMMAND -->` and its end made anew."""
    return _BLOCK.sub(lambda block: f"{block[1]}{_help(block[2])}{block[3]}", page)


def _help(name: str) -> str:
    # Made from the declarations, not from typer's own layout: that changes from release to release.
    command: Any = typer.main.get_command(app)
    for word in name.split():
        command = command.commands[word]
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    usage = " ".join(["moa", name, *(["[OPTIONS]"] if options else []), *map(_usage, arguments)])
    rows = [(_usage(each), each.help) for each in arguments]
    rows += [(" ".join([", ".join(each.opts), *_value(each)]), each.help) for each in options]
    lines = ["```text", usage, "```", "", command.help, ""]
    if rows:
        lines += ["| | |", "|---|---|", *(f"| `{left}` | {right} |" for left, right in rows), ""]
    return "\n".join(lines)


def _usage(argument: Any) -> str:
    name = f"{argument.metavar}{'...' * (argument.nargs != 1)}"
    return name if argument.required else f"[{name}]"


def _value(option: Any) -> list[str]:
    return [] if option.is_flag else [option.metavar]


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(refresh(path.read_text(encoding="utf-8")), encoding="utf-8")
