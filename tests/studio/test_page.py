"""docs/studio.md tells the truth about a running server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.studio.conftest import ROOT
from tests.test_docs import BLOCK, Block, run_python

if TYPE_CHECKING:
    import pytest

    from tests.studio.conftest import Studio


def test_the_page_shows_what_a_client_gets(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs" / "studio.md").read_text(encoding="utf-8")
    found = [match for match in BLOCK.finditer(text) if match["language"] == "python"]
    assert len(found) == 7
    names: dict[str, Any] = {"__name__": "__main__"}
    try:
        for match in found:
            line = text.count("\n", 0, match.start("text"))
            code = match["text"].replace("http://127.0.0.1:2024", studio.url)
            run_python(Block("python", code, f"docs/studio.md:{line}"), names)
    finally:
        names["client"].close()
