"""The visible text of an HTML document, within a bounded time."""

from __future__ import annotations

import codecs
import re
import time
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from moa_graph.retrieval.extra import extra
from moa_graph.retrieval.unreadable import UnreadableError, decode

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

__all__ = ["text_of_html"]

SECONDS = 1.0
SECONDS_PER_MEGABYTE = 1.5
"""Of the processor; ordinary documents need less. In hostile ones each tag costs a search to the end."""

_HEAD_BYTES = 2048
"""Where a document says its encoding: browsers look no further than 1024 bytes."""
_NO_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "utf-7"})
"""Encodings that Python knows and no document is written in."""
_UNSEEN = frozenset({"script", "style", "template", "noscript"})
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_BLOCKS = (
    "address article aside blockquote div dl figure footer form header hr main ol p pre section table ul"
)
_SEPARATORS = {
    **dict.fromkeys([*_BLOCKS.split(), *_HEADINGS], "\n\n"),
    **dict.fromkeys(["br", "dd", "dt", "li", "tr"], "\n"),
    **dict.fromkeys(["td", "th"], " "),
}


def text_of_html(data: bytes) -> str:
    """Return what a reader of the document would see, headings marked as in Markdown.

    Raises UnreadableError for an encoding that is unknown or wrong, for what is no HTML, and for what
    takes far longer than a document of that size should; ModelNotReady without the package.
    """
    with extra():
        import bs4  # noqa: F401, PLC0415 - of the extra
    text = _decode(data)
    try:
        pieces = "".join(_pieces(_parse(text)))
    except UnreadableError:
        raise
    except Exception as error:  # the parser raises anything for markup that it cannot make sense of
        raise UnreadableError("is not valid HTML; save it again from a browser, or as text.") from error
    lines = (" ".join(line.split()) for line in pieces.splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _decode(data: bytes) -> str:
    from bs4.dammit import EncodingDetector  # noqa: PLC0415 - of the extra

    try:
        return decode(data)
    except UnreadableError:
        charset = EncodingDetector.find_declared_encoding(data[:_HEAD_BYTES], is_html=True)
        if charset is None:
            raise
    try:
        known = codecs.lookup(charset).name not in _NO_CHARSETS
        return data.decode(charset if known else "utf-8")
    except (LookupError, ValueError) as error:
        raise UnreadableError(
            f"is neither UTF-8 text nor in the encoding that it names, {charset!r}; save it as UTF-8."
        ) from error


def _parse(text: str) -> BeautifulSoup:
    from bs4 import BeautifulSoup  # noqa: PLC0415 - of the extra
    from bs4.builder._htmlparser import (  # noqa: PLC0415
        BeautifulSoupHTMLParser,
        HTMLParserTreeBuilder,
    )

    limit = SECONDS + SECONDS_PER_MEGABYTE * len(text) / 1_000_000
    end = time.thread_time() + limit  # not by the clock on the wall: a busy machine refuses nothing

    class Parser(BeautifulSoupHTMLParser):
        def updatepos(self, i: int, j: int) -> int:  # which is called after every tag and text
            if time.thread_time() > end:
                raise UnreadableError(f"is HTML too tangled to be read in {limit:.1f} s; save it as text.")
            return super().updatepos(i, j)

    class Builder(HTMLParserTreeBuilder):
        def feed(self, markup: Any, _: Any = None) -> None:
            parser = Parser(cast("BeautifulSoup", self.soup), convert_charrefs=False)
            parser.feed(markup)
            parser.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Beautiful Soup warns of XHTML, which we mean to read as HTML
        return BeautifulSoup(text, builder=Builder())


def _pieces(soup: BeautifulSoup) -> Iterator[str]:
    """Walk a document in order, without recursion: there is no bound to how deep it is."""
    from bs4.element import CData, NavigableString, Tag  # noqa: PLC0415 - of the extra

    ahead: list[Any] = [soup]
    while ahead:
        node = ahead.pop()
        if isinstance(node, Tag):
            if node.name not in _UNSEEN:
                separator = _SEPARATORS.get(node.name, "")
                # Markdown, where the splitter looks for headings.
                mark = f"{'#' * int(node.name[1])} " if node.name in _HEADINGS else ""
                ahead += [separator, *reversed(node.contents), separator + mark]
        elif type(node) in (str, NavigableString, CData):  # and no comment, which is a kind of string
            yield node
