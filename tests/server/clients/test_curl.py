"""curl against a server that really runs: what comes as it comes, and who is turned away."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.server.clients.house import House, said
from tests.server.clients.payloads import check_chunk, check_completion, events_of

CURL = shutil.which("curl")
JSON = ("-H", "Content-Type: application/json")

pytestmark = pytest.mark.skipif(CURL is None, reason="there is no curl here")


def curl(
    house: House, *arguments: str, key: str | None = "", path: str = "/chat/completions"
) -> tuple[int, str]:
    """Return the status and what curl shows; `key` None asks without one."""
    shown = () if key is None else ("-H", f"Authorization: Bearer {key or house.secret}")
    command = [
        str(CURL),
        "-sS",
        "--noproxy",
        "*",
        "-w",
        "\n%{http_code}",
        *shown,
        *arguments,
        house.url + path,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    text, _, status = done.stdout.rpartition("\n")
    return int(status), text


def body(**parts: Any) -> str:
    return json.dumps({"model": "team", "messages": said(), **parts})


def code_of(text: str) -> str:
    code: str = json.loads(text)["error"]["code"]
    return code


def test_it_shows_an_answer(house: House) -> None:
    status, text = curl(house, *JSON, "-d", body())
    assert status == 200
    assert check_completion(json.loads(text)).choices[0].message.content == "An answer to: Why?"


def test_it_shows_a_stream_as_it_comes(house: House) -> None:
    command = [str(CURL), "-sSN", "--noproxy", "*", "-H", f"Authorization: Bearer {house.secret}", *JSON]
    command += ["-d", body(model="endless", stream=True), f"{house.url}/chat/completions"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        # The answer has no end: whatever is read has come while it was being written.
        lines = [line for line in (process.stdout.readline() for _ in range(20)) if line.strip()]
        process.kill()
    chunks = [check_chunk(json.loads(line.removeprefix("data: "))) for line in lines]
    assert any(chunk.choices[0].delta.content == "drip " for chunk in chunks)


def test_a_whole_stream_ends_with_done(house: House) -> None:
    status, text = curl(house, "-N", *JSON, "-d", body(stream=True))
    assert status == 200
    assert events_of(text + "\n" * (not text.endswith("\n\n")))[-1] == (None, "[DONE]")


def test_a_stream_is_neither_cached_nor_buffered(house: House) -> None:
    status, text = curl(house, "-D", "-", "-o", "/dev/null", *JSON, "-d", body(stream=True))
    headers = text.lower()
    assert status == 200
    assert "content-type: text/event-stream" in headers
    assert "cache-control: no-cache" in headers
    assert "x-accel-buffering: no" in headers


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_is_not_json_is_refused(house: House, kind: str) -> None:
    status, text = curl(house, "-H", f"Content-Type: {kind}", "-d", body())
    assert (status, code_of(text)) == (415, "unsupported_content_type")


def test_a_body_that_is_no_json_is_refused(house: House) -> None:
    status, text = curl(house, *JSON, "-d", '{"model": ')
    assert (status, code_of(text)) == (400, "invalid_json")


@pytest.mark.parametrize("framing", [(), ("-H", "Transfer-Encoding: chunked"), ("-H", "Expect:")])
def test_a_body_above_a_megabyte_is_refused(house: House, tmp_path: Path, framing: tuple[str, ...]) -> None:
    large = tmp_path / "large.json"
    large.write_text(body(messages=said("a" * 1_000_000)), encoding="utf-8")
    status, text = curl(house, *JSON, *framing, "--data-binary", f"@{large}")
    assert (status, code_of(text)) == (413, "body_too_large")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8000"])
def test_a_foreign_host_is_refused(house: House, host: str) -> None:
    status, text = curl(house, *JSON, "-H", f"Host: {host}", "-d", body())
    assert (status, code_of(text)) == (421, "host_not_allowed")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://chat.example"])
def test_a_foreign_page_is_refused(house: House, origin: str) -> None:
    status, text = curl(house, *JSON, "-H", f"Origin: {origin}", "-d", body())
    assert (status, code_of(text)) == (403, "origin_not_allowed")


def test_a_page_of_an_allowed_origin_may_ask(house: House) -> None:
    status, text = curl(
        house, *JSON, "-D", "-", "-o", "/dev/null", "-H", "Origin: https://chat.example", "-d", body()
    )
    assert status == 200
    assert "access-control-allow-origin: https://chat.example" in text.lower()


@pytest.mark.parametrize("path", ["/chat/completions", "/responses", "/../metrics"])
def test_nobody_asks_without_a_key(house: House, path: str) -> None:
    send = () if path == "/../metrics" else (*JSON, "-d", body())
    status, text = curl(house, *send, key=None, path=path)
    assert (status, code_of(text)) == (401, "invalid_api_key")
    assert house.count() == 0


def test_whether_it_is_well_needs_no_key(house: House) -> None:
    assert curl(house, key=None, path="/../healthz") == (200, '{"status":"ok"}')


def test_the_numbers_are_there_for_who_has_a_key(house: House) -> None:
    curl(house, *JSON, "-d", body())
    status, text = curl(house, path="/../metrics")
    assert status == 200
    assert 'moa_runs_total{model="team",status="answered"}' in text
