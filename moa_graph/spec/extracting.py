"""How an answer is read from a text: where it stands, and when two answers are the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from moa_graph.spec.document import Path, as_mapping
from moa_graph.spec.fields import Strict, Text
from moa_graph.spec.patterns import pattern_problem

if TYPE_CHECKING:  # parts are made of the whole schema, which is made of this
    from moa_graph.spec.parts import Part

__all__ = ["LETTERS", "Equality", "Extract", "ExtractSpec", "check_extract", "path_steps"]

Equality = Literal["number", "folded", "exact", "math"]

LETTERS = tuple("ABCDEFGHIJ")
"""The choices of `choice` that says none itself."""

_DEFAULT_EQUALITY: dict[str, Equality] = {"number": "number", "choice": "exact"}
_LONGEST_PATH = 200
_MOST_CHOICES = 100
_STEP = re.compile(
    r"""\.?(?P<name>[^\W\d][\w-]*)
    | \[(?P<index>-?[0-9]{1,6})\]
    | \[(?P<quote>["'])(?P<key>[^"'\[\]]+)(?P=quote)\]
    """,
    re.VERBOSE,
)


def path_steps(path: str) -> tuple[str | int, ...]:
    """Return the keys and indices of a path such as `answer` or `$.result[0]["final answer"]`.

    An index may be negative: it counts from the end. Raises ValueError for what is no such path.
    """
    rest = path.removeprefix("$")
    if not rest or len(path) > _LONGEST_PATH or (rest == path and path.startswith(".")):
        raise ValueError(_NO_PATH)
    steps: list[str | int] = []
    position = 0
    while position < len(rest):
        match = _STEP.match(rest, position)
        # A name needs its dot, but for the first one of a path without `$`.
        if match is None or (match["name"] and rest[position] != "." and (position or rest != path)):
            raise ValueError(_NO_PATH)
        steps.append(int(match["index"]) if match["index"] else match["name"] or match["key"])
        position = match.end()
    return tuple(steps)


_NO_PATH = "not a path such as answer or $.result[0].value"


def _path(value: str) -> str:
    path_steps(value)
    return value


def _pattern(value: str) -> str:
    if problem := pattern_problem(value):
        raise ValueError(problem)
    return value


def _choices(value: list[str]) -> list[str]:
    if not 2 <= len(value) <= _MOST_CHOICES:
        raise ValueError(f"{len(value)} of them: there are 2 to {_MOST_CHOICES} choices")
    folded = [choice.strip().casefold() for choice in value]
    if "" in folded or len(set(folded)) < len(folded):
        raise ValueError("blank, or there twice: choices are words that differ in more than their case")
    return value


class ExtractSpec(Strict):
    """Say how an answer is read from a text, and when two answers are the same.

    Beside `by` there is what it needs: `pattern` for `regex`, `path` for `json-path`; `choices` go with
    `choice`. `equality` goes with `regex`, `json-path` and `last-line`.
    """

    by: Literal["number", "choice", "regex", "json-path", "last-line"] = Field(
        description="Where it stands: the last number, one of the choices, a match, a field of JSON, the end."
    )
    pattern: Annotated[Text, AfterValidator(_pattern)] | None = Field(
        default=None, description="A regular expression of Python; its last match, or the first group of it."
    )
    path: Annotated[Text, AfterValidator(_path)] | None = Field(
        default=None, description="Where it stands in the last JSON object, such as answer or $.result[0]."
    )
    choices: Annotated[list[Text], AfterValidator(_choices)] | None = Field(
        default=None, description="Letters or words, one of which is the answer; default: A to J."
    )
    equality: Equality | None = Field(
        default=None,
        description="What makes two answers the same: number, folded (words), exact, math (LaTeX).",
    )

    @property
    def compares(self) -> Equality:
        """Return the equality that holds: the one that is said, or the default of this way of reading."""
        return self.equality or _DEFAULT_EQUALITY.get(self.by, "folded")


def _short_form(value: Any) -> Any:
    return {"by": value} if isinstance(value, str) else value


_Short = Literal["number", "choice", "last-line"]

Extract = Annotated[ExtractSpec, BeforeValidator(_short_form, json_schema_input_type=_Short | ExtractSpec)]
"""An ExtractSpec, or the short form of one: `extract: number`."""

_NEEDS = {"regex": "pattern", "json-path": "path"}
_GO_WITH = {
    "pattern": ("regex",),
    "path": ("json-path",),
    "choices": ("choice",),
    "equality": ("regex", "json-path", "last-line"),
}
_EXAMPLES = {
    "pattern": "a regular expression, such as {by: regex, pattern: 'answer is (\\w+)'}",
    "path": "where it stands, such as {by: json-path, path: answer}",
}


def check_extract(part: Part, path: Path, value: Any) -> None:
    """Note what is missing beside `by`, and keys that do not go with it; `value` may be the short form."""
    given = {"by": value} if isinstance(value, str) else as_mapping(value)
    by = given.get("by")
    needed = _NEEDS.get(by) if isinstance(by, str) else None
    if needed is not None and given.get(needed) is None:
        here = path if isinstance(value, str) else (*path, needed)
        part.fault(here, f"`{by}` needs `{needed}`", expected=_EXAMPLES[needed])
    for key, kinds in _GO_WITH.items():
        here = (*path, key)
        if isinstance(by, str) and by not in kinds and given.get(key) is not None:
            words = " and ".join(f"`{kind}`" for kind in kinds)
            part.fault(here, f"`{key}` goes with {words} alone", at=part.key(here))
