from __future__ import annotations

import json

from tests.cli.conftest import Moa, SpecFile
from tests.cli.threaded import ask, go_on
from tests.fakes.openai_server import FakeOpenAI


def test_the_id_alone_goes_to_stdout_and_stderr_says_what_is_left(
    moa: Moa, served: SpecFile, server: FakeOpenAI
) -> None:
    slot = {"price": {"input": 1.0, "output": 2.0}, "max_tokens": 10}
    ask(served([["ok@a", "ok@b"]], "ok@z", slot=slot))
    result = moa("fork", "t1", "--before", "aggregator")
    assert result.exit_code == 0
    assert result.stdout == "t1~1\n"
    assert result.stderr.splitlines() == [
        "re-used: 2 proposals",
        "  layer-1/ok-a",
        "  layer-1/ok-b",
        "left: 1 call, cost at most $0.0002, if nothing is tried twice; next: aggregator",
        "go on: moa resume 't1~1'",
    ]
    assert len(server.requests) == 3
    assert go_on("t1~1").status == "answered"
    assert len(server.requests) == 4


def test_a_fork_of_everything_has_the_answer(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"))
    result = moa("fork", "t1", "--to", "copy")
    assert result.stdout == "copy\n"
    assert "re-used: 1 proposal and the answer\n" in result.stderr
    assert result.stderr.endswith("left: nothing\nsee it: moa show copy\n")


def test_another_spec_keeps_what_is_still_valid(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"))
    other = served([["ok@a"]], "ok@y", name="other.yaml")
    record = json.loads(moa("fork", "t1", "--spec", other, "--json").stdout)
    assert (record["thread"], record["next_layer"], record["calls_left"]) == ("t1~1", "aggregator", 1)
    assert [proposal["id"] for proposal in record["proposals"]] == ["layer-1/ok-a"]


def test_a_checkpoint_of_the_history_is_forked(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"))
    result = moa("fork", "t1", "--checkpoint", "0")
    assert "re-used: 0 proposals\nleft: 2 calls" in result.stderr


def test_what_cannot_be_forked_ends_with_2(moa: Moa, served: SpecFile) -> None:
    ask(served([["ok@a"]], "ok@z"))
    both = moa("fork", "t1", "--checkpoint", "0", "--before", "aggregator")
    assert both.exit_code == 2
    assert "use either --checkpoint or --before" in both.stderr
    assert moa("fork", "t1", "--spec", "missing.yaml").exit_code == 2
    assert moa("fork", "t1", "--to", "t1").exit_code == 2
    assert moa("fork", "t9").exit_code == 2
