"""What the bodies of all routes have in common: what is known is checked, the rest is let be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Tag

__all__ = ["SAFE", "WORDS", "JsonFormat", "Loose", "PlainText", "TextFormat", "Word", "shape_of"]

WORDS = "none, auto or required"
"""The branch of a choice of tools that is one of these; a fault names it so."""
SAFE = 2**63
"""Whole numbers are below it, as those of most programs and databases are."""


class Loose(BaseModel):
    """Check what is known and let the rest be: clients send more than anybody asks for."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


def shape_of(value: object) -> str:
    """Return by which tag of a union a value is read: `parts` for a list, `text` for all else."""
    return "parts" if isinstance(value, list) else "text"


PlainText = Annotated[str, Tag("text")]
Word = Annotated[str, Field(min_length=1, max_length=32)]


class TextFormat(Loose):
    """Ask for text."""

    type: Literal["text"]


class JsonFormat(Loose):
    """Ask for any JSON object."""

    type: Literal["json_object"]
