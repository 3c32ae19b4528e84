"""Text to sentences and sentences to terms: what the embedded model reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Sentence", "paragraphs", "split_sentences", "terms"]

_FENCE = re.compile(r"^ {0,3}(```+|~~~+)[^\n]*\n.*?(?:^ {0,3}\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*?)[ \t#]*")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*")
_RULE = re.compile(r"[ \t]*(?:[-*_|:=+][ \t]*){3,}")
_ITEM = re.compile(r"[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]+(.*)")
_QUOTE = re.compile(r"\A(?: {0,3}>[ \t]?)+")
# East Asian and typographic marks by number: they look like ASCII ones.
_EAST = "\u3002\uff01\uff1f"
_OPENING, _CLOSING = "\"'\u201c\u2018(\\[*_`", "\"'\u201d\u2019)\\]*_`"
_BOUNDARY = re.compile(rf"(?<=[.!?…])[{_CLOSING}]*\s+(?=[{_OPENING}]*[^\W_a-z])|(?<=[{_EAST}])")
_LAST_WORD = re.compile(r"([^\s(\[\"'\u201c\u2018]+)\.$")
_ABBREVIATIONS = """
mr mrs ms dr prof st sr jr vs etc e.g i.e cf fig figs eq no nos vol pp p al approx inc ltd co corp dept est
gen gov rev sen rep jan feb mar apr jun jul aug sep sept oct nov dec mt ft sec ch ed eds u.s u.k a.m p.m
ph.d
"""
_STOP_WORDS = """
a about above after again all also am an and any are as at be because been before being below between both
but by can can't could did didn't do does doesn't doing don't done down during each few for from further
give given had has have having he her here hers him his how i i'm if in into is isn't it it's its itself
just let like many may me might more most much must my no nor not of off on once only or other our out over
own per please same say says shall she should so some such tell than that that's the their them then there
there's these they this those through to too under until up upon us very was we were what what's when where
which while who whom whose why will with won't would you you're your yours explain describe
"""
_UNENDING = frozenset(_ABBREVIATIONS.split())
_MEANINGLESS = frozenset(_STOP_WORDS.split())
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


@dataclass(frozen=True)
class Sentence:
    """Hold one sentence, and in `context` the heading or lead-in line that it stands under."""

    text: str
    context: str = ""


def paragraphs(text: str) -> list[str]:
    """Split a text at blank lines; blank paragraphs are left out."""
    return [part for part in _BLANK_LINES.split(text.replace("\r\n", "\n").strip()) if part.strip()]


def split_sentences(text: str) -> list[Sentence]:
    """Return the sentences of plain text or Markdown in order.

    List items and table rows are sentences of their own; headings and lines that end with a colon
    become the context of what follows; code blocks, comments and rules are left out. White space
    inside a sentence is collapsed, otherwise it is a verbatim part of the text.
    """
    cleaned = _COMMENT.sub("\n\n", _FENCE.sub("\n\n", text.replace("\r\n", "\n")))
    found: list[Sentence] = []
    heading = lead_in = ""
    for kind, block in _blocks(cleaned):
        if kind == "heading":
            heading, lead_in = block, ""
            continue
        context = f"{heading} {lead_in}".strip() if kind == "item" else heading
        found += [Sentence(part, context) for part in _cut(block) if not part.endswith(":")]
        if kind == "text":
            lead_in = block if block.endswith(":") else ""
    return found


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) of each "heading", "item" or "text", its lines joined by single spaces."""
    for paragraph in paragraphs(text):
        kind, lines = "text", list[str]()
        for raw in paragraph.split("\n"):
            line = _QUOTE.sub("", raw)
            if _UNDERLINE.fullmatch(line) and lines and kind == "text":
                yield "heading", _join(lines)
                lines = []
                continue
            if _RULE.fullmatch(line):
                continue
            heading, item = _HEADING.fullmatch(line), _ITEM.fullmatch(line)
            if (heading or item or line.lstrip().startswith("|")) and lines:
                yield kind, _join(lines)
                kind, lines = "text", []
            if heading:
                yield "heading", _join([heading[1]])
            elif item:
                kind, lines = "item", [item[1]]
            else:
                lines.append(line)
        if lines:
            yield kind, _join(lines)


def _join(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def _cut(block: str) -> Iterator[str]:
    """Yield the sentences of one block; a full stop after an abbreviation or an initial does not end one."""
    start = 0
    for boundary in _BOUNDARY.finditer(block):
        end = boundary.end()
        candidate = block[start:end].strip()
        last = _LAST_WORD.search(candidate)
        if last and (last[1].lower() in _UNENDING or re.fullmatch(r"[A-Z]", last[1])):
            continue
        yield candidate
        start = end
    if block[start:].strip():
        yield block[start:].strip()


def terms(text: str) -> list[str]:
    """Return the words of a text that carry meaning, in lower case, lightly stemmed for English."""
    words = (word.lower().replace("’", "'") for word in _WORD.findall(text))
    return [_stem(word) for word in words if word not in _MEANINGLESS]


def _stem(word: str) -> str:
    """Cut English endings so that propose, proposes, proposed and proposing agree."""
    word = word.removesuffix("'s")
    if len(word) <= 3 or not word.isascii():
        return word
    if word.endswith("ies"):
        return word[:-3] + "y" if len(word) > 4 else word[:-1]
    if word.endswith(("sses", "xes", "ches", "shes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed", "ly"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= 3 and re.search("[aeiouy]", stem):
            word = stem[:-1] if ending != "ly" and stem[-1] == stem[-2] and stem[-1] not in "lsz" else stem
            break
    return word[:-1] if len(word) > 3 and word.endswith("e") else word
