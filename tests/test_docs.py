"""The documentation tells the truth: its code runs, its output is what comes out, its links lead somewhere.

Blocks of a page run in order, as one session, in a copy of the files that the repository offers a user:
```python blocks share their names, and lines `# > …` below a print are what it must print; ```console blocks
run each `$ moa …` and `$ curl …` and compare what is shown. `$ moa serve …` starts a server for the rest of
the page. A block is left out only under `<!-- not run: reason -->`.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest

from moa_graph import errors, parse_spec
from moa_graph.proposers.outcomes import RETRYABLE
from moa_graph.state import FailureKind
from tests.fakes.behaviours import behave, named
from tests.fakes.serving import Serving, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.behaviours import Call, Reply
    from tests.fakes.openai_server import FakeOpenAI

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = [*PAGES, ROOT / "CHANGELOG.md", *sorted((ROOT / "examples").rglob("*.md"))]
SERVER = "http://localhost:8000/v1"
"""How the documentation writes "a compatible server of yours"; the fake server stands in for it."""

BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+) -->\n+)?^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
TIME = re.compile(r"\d+(\.\d+)? ?(ms|s)\b|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
LINK = re.compile(r"(?<!\!)\[[^\]]+\]\((?P<target>[^)\s]+)\)")


@named("gpt-4o(?:-mini)?", "qwen3-32b")
def real_name(call: Call) -> Reply:
    """Answer for the real models that the documentation names."""
    return behave(call, "ok")


@dataclass(frozen=True)
class Block:
    """Hold one fenced block of a page; `place` is for messages."""

    language: str
    text: str
    place: str


def blocks(page: Path, languages: set[str]) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        if match["language"] in languages and match["reason"] is None:
            line = text.count("\n", 0, match.start("text"))
            yield Block(match["language"], match["text"], f"{page.relative_to(ROOT)}:{line}")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: FakeOpenAI) -> FakeOpenAI:
    """Stand in a copy of the files that a user has, with a key, before the fake server."""
    for folder in ("graphs", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-of-the-documentation")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    return server


def run_python(block: Block, names: dict[str, Any]) -> None:
    printed = io.StringIO()
    # Blank lines before the code make a traceback point at the page's own line.
    lines = "\n" * int(block.place.rpartition(":")[2]) + block.text
    with contextlib.redirect_stdout(printed):
        exec(compile(lines, block.place, "exec"), names)
    shown = [line.partition("# > ")[2] for line in block.text.splitlines() if line.startswith("# > ")]
    if shown:
        assert plain(printed.getvalue().splitlines()) == plain(shown), block.place


class Servers:
    """Hold what a page serves with `moa serve`: on free ports, in the place of those that the page names."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._running: dict[str, Serving] = {}

    def start(self, command: str) -> str:
        """Start a server; return what a terminal would show once it listens."""
        words = shlex.split(command.removeprefix("moa serve "))
        port = "8000"
        if "--port" in words:
            place = words.index("--port")
            _, port = words[place : place + 2]
            del words[place : place + 2]
        server = self._stack.enter_context(serving(*words, cwd=Path.cwd()))
        self._running[port] = server
        real = server.port  # known once it listens
        return "".join(server.lines).replace(f":{real}/", f":{port}/")

    def reached(self, text: str) -> str:
        """Return a page's text with the addresses at which its servers really are."""
        for port, server in self._running.items():
            text = text.replace(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{server.port}")
        return text


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a console block, continued lines joined, and the lines shown below it."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.replace("\\\n", "").partition("\n")
        yield command, shown.splitlines()


def run_console(block: Block, servers: Servers) -> None:
    for command, shown in commands(block):
        if command.startswith("moa serve "):
            output: str | None = servers.start(command)
        else:
            output = run_command(servers.reached(command), block.place)
        if output is not None and any(line.strip() for line in shown):
            compare(shown, output.splitlines(), f"{block.place}: {command}")


def run_command(command: str, place: str) -> str | None:
    """Run what the reader is told to type; return what a terminal would show, None if nothing is run."""
    if command == "make demo":
        recipe = recipe_of("demo")
        return f"{recipe}\n{run_command(recipe.removeprefix('.venv/bin/'), place)}"
    if command.startswith("make "):
        assert recipe_of(command.removeprefix("make ")), place
        return None
    if command.startswith(("git clone ", "cd ", "pip install ", "export ", "umask ")):
        return None
    known = command.startswith(("moa ", "curl "))
    assert known, f"{place}: a command that this test does not know: {command}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        shell=True,
        env=os.environ | {"PATH": path, "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{place}: {command}\n{done.stdout}"
    return done.stdout


def recipe_of(target: str) -> str:
    """Return what `make TARGET` would run once everything is installed."""
    stamps = [argument for name in ("run", "test", "bench") for argument in ("-o", f".venv/.stamp-{name}")]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", "-n", *stamps, target]
    done = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def plain(lines: list[str]) -> list[str]:
    """Return lines without what differs from run to run: times, spaces, blank lines."""
    return [line for line in (" ".join(TIME.sub("T", line).split()) for line in lines) if line]


def compare(shown: list[str], output: list[str], place: str) -> None:
    """Compare in any order, as parallel proposers report in any; a line `…` stands for any lines."""
    expected, found = Counter(plain(shown)), Counter(plain(output))
    missing = expected - found
    del missing["…"]
    assert not missing, f"{place}: shown, but not printed: {[*missing]}\nprinted:\n" + "\n".join(output)
    if "…" not in expected:
        extra = [*(found - expected)]
        assert not extra, f"{place}: printed, but not shown: {extra}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(blocks(page, {"python", "console"}))], ids=name_of
)
def test_what_a_page_shows_is_what_happens(page: Path, checkout: FakeOpenAI) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.ExitStack() as stack:
        servers = Servers(stack)
        for block in blocks(page, {"python", "console"}):
            text = block.text.replace(SERVER, checkout.base_url)
            if block.language == "python":
                run_python(Block(block.language, servers.reached(text), block.place), names)
            else:
                run_console(Block(block.language, text, block.place), servers)


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page, {"yaml"}))], ids=name_of)
def test_a_spec_on_a_page_loads(page: Path) -> None:
    for block in blocks(page, {"yaml"}):
        if block.text.startswith("moa:"):
            assert parse_spec(block.text, file=block.place).moa == 1


def test_the_picture_is_that_of_the_quickstart() -> None:
    [picture] = blocks(ROOT / "README.md", {"mermaid"})
    assert picture.text == run_command(f"moa draw {ROOT / 'graphs' / 'quickstart.yaml'}", picture.place)


def test_the_first_screen_shows_the_demo_python_and_the_tests() -> None:
    first_screen = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Why")[0]
    assert "$ make demo" in first_screen
    assert "$ make test" in first_screen
    assert "```python" in first_screen


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_relative_links_lead_somewhere(page: Path) -> None:
    broken = []
    for match in LINK.finditer(page.read_text(encoding="utf-8")):
        target, _, anchor = match["target"].partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (page.parent / target) if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(match["target"])
    assert broken == []


@pytest.mark.parametrize("folder", [ROOT / "docs", ROOT / "docs" / "decisions"], ids=name_of)
def test_an_index_names_every_page_of_its_folder(folder: Path) -> None:
    index = (folder / "README.md").read_text(encoding="utf-8")
    pages = {page.name for page in folder.glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"({page})" not in index} == set()


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def rows(page: str, columns: int) -> list[list[str]]:
    """Return the cells of those table rows of a page whose first cell is code."""
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")
    ]
    return [row for row in cells if len(row) == columns]


def test_every_kind_of_failure_is_explained() -> None:
    explained = {row[0].strip("`"): row[2] for row in rows("failures.md", 4)}
    assert explained.keys() == set(get_args(FailureKind))
    assert {kind for kind, retried in explained.items() if retried == "yes"} == RETRYABLE


def test_every_error_is_explained() -> None:
    explained = {row[0].strip("`") for row in rows("failures.md", 3)}
    assert explained | {"MoAError", "RunError"} == set(errors.__all__) - {"Fault"}


def test_every_part_of_the_package_stands_in_the_house() -> None:
    house = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    parts = [path for path in (ROOT / "moa_graph").iterdir() if not path.name.startswith("_")]
    missing = [path.name for path in parts if path.suffix in {"", ".py"} and path.name not in house]
    assert missing == []
