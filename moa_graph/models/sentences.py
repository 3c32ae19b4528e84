"""Text to sentences and sentences to terms: what the embedded model reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Sentence", "paragraphs", "split_sentences", "terms"]

_FENCE = re.compile(r"^ {0,3}(```+|~~~+)[^\n]*\n.*?(?:^ {0,3}\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
# A row between pipes, or a header above a line of dashes and what follows it; possessive, thus linear.
_DASHES = r"[ \t]*+:?-++:?[ \t]*+"
_TABLE = re.compile(
    r"^[ \t>]*+\|(?:[^\n|]*+\|)++[ \t]*$"
    rf"|^(?=[^\n|]*+\|)[^\n]*+\n\|?{_DASHES}(?:\|{_DASHES})++\|?[ \t]*$(?:\n(?=[^\n|]*+\|)[^\n]*+)*+",
    re.MULTILINE,
)
_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*?)[ \t#]*")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*")
_RULE = re.compile(r"[ \t]*(?:[-*_|:=+][ \t]*){3,}")
_ITEM = re.compile(r"[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]+(.*)")
_QUOTE = re.compile(r"\A(?: {0,3}>[ \t]?)+")
# East Asian and typographic marks by number: they look like ASCII ones.
_EAST = "\u3002\uff01\uff1f"
_ASKING = ("?", "\uff1f")
_OPENING, _CLOSING = "\"'\u201c\u2018(\\[*_`", "\"'\u201d\u2019)\\]*_`"
_BOUNDARY = re.compile(rf"(?<=[.!?…])[{_CLOSING}]*\s+(?=[{_OPENING}]*[^\W_a-z])|(?<=[{_EAST}])")
_LONGEST = 1000
"""Characters of a sentence; what is longer is cut, so that one without an end is not a whole answer."""
# Never after a colon: what ends with one counts as a lead-in.
_BOUNDS = tuple(map(re.compile, (r"\n", r"[,;]\s+|[\u3001\uff0c\uff1b]", r"\s+")))
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
# Thai, Lao, Burmese, Khmer, kana, Han; Hangul, too: its particles stick to the words.
_UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1780-\u17d3\u3005\u3041-\u3096\u30a1-\u30fa"
    "\u30fc-\u30fe\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"
)
_STOP_PAIRS = """
です でし した ます まし しま すか せん ませ ある あり いる して てい いま する され れる れま こと もの
この その どの から まで ので のは とは には では への よう など なに なん いつ どこ だれ どう なぜ
什么 是什 怎么 哪里 哪个 哪些 为什 多少 如何 我们 你们 他们 这个 那个 一个 可以 没有 因为 所以 什麼 為什 怎麼
니다 습니 입니 합니 니까 무엇 어떤 언제 어디 누가 하는 있는 었습 했습
"""
_UNENDING = frozenset(_ABBREVIATIONS.split())
_MEANINGLESS = frozenset(_STOP_WORDS.split() + _STOP_PAIRS.split())
_RUN = re.compile(rf"([{_UNSPACED}]+)|[^\W_{_UNSPACED}]+(?:['’][^\W_{_UNSPACED}]+)*")


@dataclass(frozen=True)
class Sentence:
    """Hold one sentence, or a piece of one, and in `context` the heading or lead-in line above it.

    `asks` tells a question, and every piece of one.
    """

    text: str
    context: str = ""
    asks: bool = False


def paragraphs(text: str) -> list[str]:
    """Split a text at blank lines; blank paragraphs are left out."""
    return [part for part in _BLANK_LINES.split(text.replace("\r\n", "\n").strip()) if part.strip()]


def split_sentences(text: str) -> list[Sentence]:
    """Return the sentences of plain text or Markdown in order.

    List items are sentences of their own; headings and lines that end with a colon become the context
    of what follows; code blocks, comments, tables and rules are left out. White space inside a sentence
    is collapsed, otherwise it is a verbatim part of the text. A sentence of more than 1,000 characters
    comes in pieces that end with a line, a clause or a word.
    """
    cleaned = text.replace("\r\n", "\n")
    for unread in (_FENCE, _COMMENT, _TABLE):
        cleaned = unread.sub("\n\n", cleaned)
    found: list[Sentence] = []
    heading = lead_in = ""
    for kind, block in _blocks(cleaned):
        if kind == "heading":
            heading, lead_in = _flat(block), ""
            continue
        context = f"{heading} {lead_in}".strip() if kind == "item" else heading
        for whole in _cut(block):
            if not whole.endswith(":"):
                asks = whole.endswith(_ASKING)
                found += [Sentence(_flat(piece), context, asks) for piece in _pieces(whole)]
        if kind == "text":
            lead_in = _flat(block) if block.endswith(":") else ""
    return found


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) of each "heading", "item" or "text", the white space in its lines collapsed."""
    for paragraph in paragraphs(text):
        kind, lines = "text", list[str]()
        for raw in paragraph.split("\n"):
            line = _QUOTE.sub("", raw)
            if _UNDERLINE.fullmatch(line) and lines and kind == "text":
                yield "heading", _join(lines)
                lines = []
                continue
            rule = _RULE.fullmatch(line)
            heading, item = _HEADING.fullmatch(line), _ITEM.fullmatch(line)
            if (rule or heading or item) and lines:
                yield kind, _join(lines)
                kind, lines = "text", []
            if rule:
                continue
            if heading:
                yield "heading", _join([heading[1]])
            elif item:
                kind, lines = "item", [item[1]]
            else:
                lines.append(line)
        if lines:
            yield kind, _join(lines)


def _join(lines: list[str]) -> str:
    return "\n".join(filter(None, map(_flat, lines)))


def _flat(text: str) -> str:
    return " ".join(text.split())


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


def _pieces(sentence: str) -> Iterator[str]:
    """Yield a sentence in pieces of at most `_LONGEST` characters, none of them short but the last."""
    start = 0
    while len(sentence) - start > _LONGEST:
        window = sentence[start : start + _LONGEST]
        found = ([end.end() for end in bound.finditer(window, _LONGEST // 2)] for bound in _BOUNDS)
        cut = next((ends[-1] for ends in found if ends), _LONGEST)
        yield window[:cut]
        start += cut
    yield sentence[start:]


def terms(text: str) -> list[str]:
    """Return the words of a text that carry meaning, in lower case, lightly stemmed for English.

    Where a script puts no spaces between words, every pair of neighbouring characters is a term.
    """
    return [_stem(word) for word in _words(text) if word not in _MEANINGLESS]


def _words(text: str) -> Iterator[str]:
    for run in _RUN.finditer(text):
        if run[1] and len(run[1]) > 1:
            yield from map("".join, pairwise(run[1]))
        else:
            yield run[0].lower().replace("’", "'")


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
