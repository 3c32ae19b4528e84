"""A word diff as text: `[-old-]{+new+}`, in colours on a terminal."""

from __future__ import annotations

import os
import sys

import typer

from moa_graph.cli.text import plain
from moa_graph.runs.comparing import word_diff

__all__ = ["differing"]

_SIGNS = {"-": ("[-", "-]", typer.colors.RED), "+": ("{+", "+}", typer.colors.GREEN)}


def differing(old: str, new: str) -> str:
    """Return both texts as one, with what differs marked; terminal escapes of theirs are stripped."""
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    pieces = []
    for kind, text in word_diff(plain(old), plain(new)):
        if kind == "=":
            pieces.append(text)
            continue
        begin, end, colour = _SIGNS[kind]
        marked = f"{begin}{text}{end}"
        pieces.append(typer.style(marked, fg=colour) if coloured else marked)
    return "".join(pieces)
