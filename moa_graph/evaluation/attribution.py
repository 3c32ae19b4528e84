"""Which proposals the sentences of an answer are worded like.

Similar wording is no proof of cause: two models may write the same without having seen each other. What an
answer owes to a proposal is asked by dropping that and running again: see `evaluation.dropping`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from moa_graph.evaluation.longest import TokenRows
from moa_graph.extras import needing

__all__ = ["LABELS", "Attribution", "Label", "Likeness", "SentenceOrigin", "attribute", "similarity_of"]

Label = Literal["verbatim", "close", "shared", "none"]
LABELS: tuple[Label, ...] = ("verbatim", "close", "shared", "none")

_RUN = 5
"""Tokens in a row that count as verbatim; fewer are found in unrelated texts, too."""
_CLOSE = 0.7
"""From this similarity on two sentences are worded alike."""
# Scripts that are written without spaces: each sign is a token.
_SIGN = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3"
# A combining mark belongs to the sign before it; `_masked` puts this sign, which no text should have, for it.
_MARK = "\ue000"
_JOINERS = "\u200c\u200d"
_WORD = rf"(?:[^\W{_SIGN}]{_MARK}*)+"
_TOKEN = re.compile(rf"[{_SIGN}]{_MARK}*|{_WORD}(?:['’]{_WORD})*")
_ENDS = re.compile(
    # No sentence ends with a title, a Latin abbreviation or an initial; none begins with a small letter.
    r"(?<=[.!?…\u061f\u06d4\u0964])(?<!\b[A-Z]\.)(?<!\b(?:Dr|Mr|Ms|St|vs|cf|al)\.)(?<!\bMrs\.)(?<!\b(?:e\.g|i\.e)\.)"
    r"[\"'”’)\]*_]*\s+(?=[^\s a-z])|(?<=[\u3002\uff01\uff1f])"
)


@dataclass(frozen=True)
class Likeness:
    """Say how a sentence resembles a proposal.

    `similarity`, 0 to 1, is that to the proposal's most similar sentence; `run` the longest row of at least
    5 tokens that both have, as it stands in the sentence, "" without one.
    """

    proposal: str
    similarity: float
    run: str


@dataclass(frozen=True)
class SentenceOrigin:
    """Hold a sentence of the answer and the proposals of similar wording, the most similar first.

    `label` is "verbatim" (a row of at least 5 tokens stands in one proposal), "close" (a sentence of one
    proposal is at least 0.7 similar), "shared" (one of both is true of several proposals) or "none".
    """

    text: str
    label: Label
    near: list[Likeness]


@dataclass(frozen=True)
class Attribution:
    """Hold the sentences of an answer in order, each with the proposals of similar wording."""

    sentences: list[SentenceOrigin]

    @property
    def counts(self) -> dict[Label, int]:
        """Count the sentences of each label."""
        found = Counter(sentence.label for sentence in self.sentences)
        return {label: found[label] for label in LABELS}

    def record(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        return {"counts": self.counts, **asdict(self)}


def attribute(answer: str, proposals: Mapping[str, str], *, question: str = "") -> Attribution:
    """Say of each sentence of an answer which proposals, by id, it is worded like; no word about cause.

    Tokens are words, or signs where a script has no spaces, without regard to case and punctuation.
    Similarity is rapidfuzz's `fuzz.ratio` of tokens (1 less the normalised distance of insertions and
    deletions). A row less than half as long as another proposal's counts for nothing, nor does what is no
    more similar to the proposal than to the `question`. Raises ModelNotReady without the extra `eval`.
    """
    known = {id_: _Wording(text) for id_, text in proposals.items()}
    asked = _Wording(question)
    return Attribution([_origin(sentence, known, asked) for sentence in _sentences(_composed(answer))])


def similarity_of(one: str, other: str) -> float:
    """Return how similar two whole texts are, 0 to 1: of their tokens in order; raises as `attribute`."""
    with needing("eval"):
        from rapidfuzz.distance import Indel  # noqa: PLC0415 -- of the extra `eval`

    return round(Indel.normalized_similarity(_words(_composed(one)), _words(_composed(other))), 4)


class _Wording:
    """Hold the tokens of a text as they are compared: row by row, and sentence by sentence."""

    def __init__(self, text: str) -> None:
        text = _composed(text)
        self.rows = TokenRows(_words(text))
        self.sentences = [" ".join(_words(sentence)) for sentence in _sentences(text)]

    def nearest(self, tokens: Sequence[str], *, least: float) -> float:
        """Return the similarity of the most similar sentence, 0 to 1; 0 if it is below `least`."""
        with needing("eval"):
            from rapidfuzz import fuzz, process  # noqa: PLC0415 -- of the extra `eval`

        cutoff = 100 * least
        found = process.extractOne(
            " ".join(tokens), self.sentences, scorer=fuzz.ratio, processor=None, score_cutoff=cutoff
        )
        return 0.0 if found is None else found[1] / 100


def _origin(sentence: str, known: Mapping[str, _Wording], asked: _Wording) -> SentenceOrigin:
    places = _places(sentence)
    tokens = _words(sentence)
    least = max(_RUN, asked.rows.longest(tokens)[1] + 1)
    close = max(_CLOSE, asked.nearest(tokens, least=_CLOSE) + 1e-9)
    runs = {id_: wording.rows.longest(tokens) for id_, wording in known.items()}
    longest = max((length for _, length in runs.values()), default=0)
    near = []
    for id_, (start, length) in runs.items():
        verbatim = length >= least and 2 * length >= longest
        similarity = known[id_].nearest(tokens, least=0.0 if verbatim else _CLOSE)
        if verbatim or similarity >= close:
            run = sentence[places[start][0] : places[start + length - 1][1]] if verbatim else ""
            near.append((length if verbatim else 0, Likeness(id_, round(similarity, 4), run)))
    near.sort(key=lambda found: (-found[0], -found[1].similarity))
    found = [likeness for _, likeness in near]
    return SentenceOrigin(sentence, _label(found), found)


def _label(near: Sequence[Likeness]) -> Label:
    if len(near) > 1:
        return "shared"
    return "none" if not near else "verbatim" if near[0].run else "close"


def _sentences(text: str) -> list[str]:
    """Return everything that has a token: sentences, headings, rows of a table, lines of code."""
    parts = (part.strip() for line in text.splitlines() for part in _ENDS.split(line))
    return [part for part in parts if _places(part)]


def _composed(text: str) -> str:
    """Return a text in the form in which letters with accents are one sign, however they were typed."""
    return unicodedata.normalize("NFC", text)


def _places(text: str) -> list[tuple[int, int]]:
    """Return where the tokens of a text stand."""
    return [match.span() for match in _TOKEN.finditer(_masked(text))]


def _masked(text: str) -> str:
    """Return a text with `_MARK` for combining marks and joiners, which are no letters to `re`."""
    if text.isascii():
        return text
    return "".join(
        _MARK if sign in _JOINERS or unicodedata.category(sign).startswith("M") else sign for sign in text
    )


def _words(text: str) -> list[str]:
    return [text[begin:end].casefold().replace("’", "'") for begin, end in _places(text)]
