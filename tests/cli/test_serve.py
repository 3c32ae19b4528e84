from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Moa
from tests.fakes.serving import serving

QUICKSTART = Path(__file__).parents[2] / "graphs" / "quickstart.yaml"


def test_other_interfaces_without_keys_are_wrong_usage(moa: Moa) -> None:
    result = moa("serve", str(QUICKSTART), "--host", "0.0.0.0")
    assert result.exit_code == 2
    assert "nobody would have to show a key" in result.stderr
    assert "moa keys add" in result.stderr


def test_a_spec_with_a_fault_is_told_before_anything_is_opened(moa: Moa, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("moa: 1\n")
    result = moa("serve", "bad.yaml")
    assert result.exit_code == 2
    assert "bad.yaml:1:1" in result.stderr
    assert not (tmp_path / "moa.db").exists()


def test_a_port_that_is_taken_is_told(moa: Moa) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = moa("serve", str(QUICKSTART), "--port", str(port))
    assert result.exit_code != 0
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr
    assert "--port 0" in result.stderr


@pytest.mark.parametrize(
    ("package", "db", "extra"),
    [("uvicorn", "sqlite:///moa.db", "server"), ("procrastinate", "postgresql://localhost/moa", "worker")],
)
def test_without_the_extra_it_says_how_to_install_it(
    moa: Moa, monkeypatch: pytest.MonkeyPatch, package: str, db: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    result = moa("serve", str(QUICKSTART), "--db", db)
    assert result.exit_code == 2
    assert f"pip install 'moa-graph[{extra}]'" in result.stderr


def test_it_says_where_it_serves_and_ends_with_0(tmp_path: Path) -> None:
    with serving(QUICKSTART, cwd=tmp_path) as server:
        status, models = server.ask("GET", "/v1/models")
        assert (status, [model["id"] for model in models["data"]]) == (200, ["quickstart"])
        question = {"role": "user", "content": "Moss drinks through its leaves. How does moss drink?"}
        status, answer = server.ask(
            "POST", "/v1/chat/completions", {"model": "quickstart", "messages": [question]}
        )
        assert status == 200
        assert "leaves" in answer["choices"][0]["message"]["content"]
        assert server.stop() == 0
    assert f"http://127.0.0.1:{server.port}/v1 serves 1 model: quickstart\n" in server.lines
    assert [line["path"] for line in server.log] == ["/v1/models", "/v1/chat/completions"]


def test_importing_the_command_line_imports_no_server() -> None:
    script = "import moa_graph.cli.main, sys; print([n for n in ('uvicorn', 'fastapi') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
