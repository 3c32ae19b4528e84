"""What models are asked about proposals, and how their replies are read."""

from __future__ import annotations

import re
from typing import Literal

__all__ = [
    "COMPARE",
    "CONSISTENT",
    "ENOUGH",
    "PICK",
    "RANK",
    "RESIDUAL",
    "SUMMARIZE",
    "read_choice",
    "read_comparison",
    "read_enough",
    "read_ranking",
    "read_residual",
]

RANK = (
    "Do not answer the latest user query yourself. You are given numbered responses to it from various "
    "models. Rank them by how well they answer it: correct first of all, then helpful, complete and clear; "
    "the order in which they stand here means nothing. End your reply with one line that holds the numbers "
    "of all of them from best to worst, such as: 2 > 1 > 3"
)
"""After the LLM-Ranker of Wang et al. 2024 (arXiv 2406.04692, §3.3): identifiers, not texts, come back."""

PICK = (
    "Do not answer the latest user query yourself. You are given numbered responses to it from various "
    "models. Choose the one that answers it best: correct first of all, then helpful, complete and clear; "
    "the order in which they stand here means nothing. End your reply with one line that holds nothing but "
    "its number."
)

COMPARE = (
    "Do not answer the latest user query yourself. You are given two numbered responses to it. Decide which "
    "of them answers it better: correct first of all, then helpful, complete and clear; which stands first "
    "means nothing. End your reply with one line that holds nothing but 1 or 2, or 0 if neither is better."
)
"""After the pairwise comparison of LLM-Blender (Jiang et al. 2023, arXiv 2306.02561), whose PairRanker is a
trained encoder; here a model is asked."""

CONSISTENT = (
    "Do not answer the latest user query yourself. You are given numbered responses to it. Find out what "
    "most of them agree on, and choose the one that is most consistent with the others. End your reply with "
    "one line that holds nothing but its number."
)
"""After universal self-consistency (Chen et al. 2023, arXiv 2311.17311)."""

ENOUGH = (
    "Do not answer the latest user query yourself. You are given numbered responses to it from models. "
    "Judge whether they are good enough to be merged into a final answer now, or whether another round in "
    "which the models improve on them is likely to make the answer more correct. End your reply with one "
    "line that holds nothing but the word STOP or the word CONTINUE."
)

SUMMARIZE = (
    "Do not answer the latest user query yourself. You are given a response to it. Sum the response up: "
    "keep its final answer, its key steps and its key facts, and leave the rest out. Add nothing that it "
    "does not say, and correct nothing. Reply with the summary alone."
)

RESIDUAL = (
    "Do not answer the latest user query yourself. You are given responses to it from two rounds, each "
    "under the name of its round and its writer; the last round has seen the one before. Write down what "
    "the last round changed: what it added, what it corrected, and above all what it lost or contradicts "
    "without a reason. Be short and say which response says what. If nothing of weight changed, reply with "
    "the word NONE alone."
)
"""After the residual extraction of RMoA (arXiv 2505.24442)."""

_BETTER = re.compile(r"[>≻≥=]")
_NUMBER = re.compile(r"\d+")
_MOST_DIGITS = 9
_RANKING = re.compile(r"\d[^\d\n>≻≥]*[>≻≥][^\d\n]*\d")
_VERDICT = re.compile(
    r"\W*(?:(?:my |the |final )*(?:verdict|answer|decision)\W+(?:is\W+)?)?(stop|continue)\W*", re.IGNORECASE
)
"""All of a line that is a verdict: where the word stands in a sentence, the sentence may say the opposite."""

_NOTHING = re.compile(r"\W*(?:NONE\b(?![ \t]+\w)|(?i:none)\W*\Z)")
"""The beginning of a reply that is NONE; "None of them …" says something."""


def read_ranking(reply: str, count: int, least: int = 1) -> list[int] | None:
    """Return the indices from best to worst that the last line of a reply with a ranking says.

    Where no line has two numbers with a sign between them, it is the last one with a number. Those that are
    left out follow in their order. None when a number is named that there is not, one twice, or fewer than
    `least`, or when it is not clear which numbers are meant.
    """
    line = _last_line_with(_RANKING, reply) or _last_line_with(_NUMBER, reply)
    parts = [_numbers_in(part) for part in _BETTER.split(line)]
    if len(parts) > 1:  # what stands before and after a ranking may hold numbers, too
        parts = [parts[0][-1:], *parts[1:-1], parts[-1][:1]]
    numbers = [number - 1 for part in parts for number in part]
    clear = all(len(part) <= 1 for part in parts) and len(set(numbers)) == len(numbers)
    known = all(0 <= number < count for number in numbers)
    if not clear or not known or len(numbers) < max(1, min(least, count)):
        return None
    return [*numbers, *(index for index in range(count) if index not in numbers)]


def read_choice(reply: str, count: int) -> int | None:
    """Return the index of the response that the last line of a reply with a number names; None if unclear."""
    numbers = _numbers_in(_last_line_with(_NUMBER, reply))
    number = numbers[0] if len(numbers) == 1 else 0
    return number - 1 if 1 <= number <= count else None


def read_comparison(reply: str) -> Literal[0, 1, 2] | None:
    """Return 1 or 2 for the better one, 0 if neither is, None if unclear."""
    match _numbers_in(_last_line_with(_NUMBER, reply)):
        case [0]:
            return 0
        case [1]:
            return 1
        case [2]:
            return 2
        case _:
            return None


def read_enough(reply: str) -> bool | None:
    """Tell whether the last line that is nothing but a verdict says STOP; None if there is none."""
    verdicts = [found[1] for line in reply.splitlines() if (found := _VERDICT.fullmatch(line))]
    return verdicts[-1].upper() == "STOP" if verdicts else None


def read_residual(reply: str) -> str:
    """Return what a comparer wrote down, "" for NONE and whatever comes after it."""
    return "" if _NOTHING.match(reply) else reply.strip()


def _numbers_in(text: str) -> list[int]:
    """Return the numbers of a text, each once; what is too long to be that of a response is -1."""
    found = (int(digits) if len(digits) <= _MOST_DIGITS else -1 for digits in _NUMBER.findall(text))
    return list(dict.fromkeys(found))


def _last_line_with(pattern: re.Pattern[str], text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if pattern.search(line)), "")
