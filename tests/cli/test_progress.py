from __future__ import annotations

import io
import time
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from moa_graph.cli.lines import Lines, Silence, describe
from moa_graph.cli.live import LiveTable, table
from moa_graph.cli.progress import Progress
from moa_graph.runs.run import Run
from moa_graph.state import Proposal

FAILURE = {"kind": "timeout", "message": "no\x1b[31m answer [bold]", "retryable": True, "status_code": None}


def proposal(id_: str, status: str = "ok", **parts: Any) -> Proposal:
    layer, _, proposer = id_.partition("/")
    record: Any = {
        "id": id_,
        "layer": layer,
        "proposer": proposer,
        "status": status,
        "text": "text",
        "failure": None if status == "ok" else FAILURE,
        "requested_model": "openai:m",
        "attempts": 2,
        "usage": {"input_tokens": 10, "output_tokens": 5, "source": "provider"},
        "cost": 0.01,
        "seconds": 1.5,
        "warnings": [],
        **parts,
    }
    return record


def started(id_: str, role: str = "proposer") -> Any:
    return {"type": "call.started", "id": id_, "role": role, "model": "openai:m"}


def ended(record: Proposal, role: str = "proposer") -> Any:
    kind = "call.finished" if record["status"] == "ok" else "call.failed"
    return {"type": kind, "id": record["id"], "role": role, "proposal": record}


RETRIED: Any = {
    "type": "call.retried",
    "id": "draft/a",
    "role": "proposer",
    "attempt": 1,
    "wait": 1.2,
    "failure": FAILURE,
}


@pytest.fixture
def progress() -> Progress:
    progress = Progress()
    layers = {"draft": ["a", "b"], "refine": ["a"]}
    progress.feed({"type": "run.started", "name": "n", "resumed": False, "layers": layers, "aggregator": "z"})
    return progress


def shown(progress: Progress, width: int = 120, height: int = 40) -> str:
    output = io.StringIO()
    Console(file=output, width=width, height=height, markup=False, emoji=False).print(
        table(progress, width, height)
    )
    return output.getvalue()


def states(progress: Progress) -> dict[str, str]:
    return {row.id: row.state for row in progress.rows()}


def test_a_row_goes_from_waiting_through_retrying_to_done(progress: Progress) -> None:
    assert states(progress) == {"draft/a": "waiting", "draft/b": "waiting", "refine/a": "waiting"}
    progress.feed(started("draft/a"))
    assert states(progress)["draft/a"] == "running"
    progress.feed(RETRIED)
    assert states(progress)["draft/a"] == "retrying"
    progress.feed(ended(proposal("draft/a")))
    progress.feed(ended(proposal("draft/b", "cut")))
    progress.feed(started("aggregator/z", "aggregator"))
    progress.feed(ended(proposal("aggregator/z", "failed"), "aggregator"))
    assert states(progress) == {
        "draft/a": "done",
        "draft/b": "cut",
        "refine/a": "waiting",
        "aggregator/z": "failed",
    }


def test_what_was_paid_for_is_summed_over_proposers_and_aggregators(progress: Progress) -> None:
    progress.feed(started("draft/a"))
    progress.feed(RETRIED)
    assert progress.calls() == 2
    progress.feed(ended(proposal("draft/a")))
    progress.feed(ended(proposal("aggregator/z"), "aggregator"))
    assert progress.calls() == 4
    assert progress.usage() == {"input_tokens": 20, "output_tokens": 10, "source": "provider"}
    assert progress.cost() == pytest.approx(0.02)
    assert [record["id"] for record in progress.attempted] == ["aggregator/z"]
    assert [record["id"] for record in progress.proposals] == ["draft/a"]


def test_an_unknown_price_makes_the_cost_unknown(progress: Progress) -> None:
    progress.feed(ended(proposal("draft/a", cost=None)))
    assert progress.cost() is None


def test_unknown_events_and_unannounced_calls_do_no_harm(progress: Progress) -> None:
    later: Any = {"type": "something.new"}
    progress.feed(later)
    progress.feed(started("extra/x"))
    assert states(progress)["extra/x"] == "running"


def test_elapsed_time_counts_while_running_and_stops_at_the_end(progress: Progress) -> None:
    row = progress.layers["draft"][0]
    assert row.elapsed(time.monotonic()) is None
    progress.feed(started("draft/a"))
    assert row.elapsed(time.monotonic() + 5) == pytest.approx(5, abs=1)
    progress.feed(ended(proposal("draft/a")))
    assert row.elapsed(time.monotonic() + 50) == 1.5


def test_the_table_shows_each_proposer_with_state_time_tokens_and_cost(progress: Progress) -> None:
    progress.feed(started("draft/a"))
    progress.feed(ended(proposal("draft/a")))
    progress.feed(ended(proposal("draft/b", "failed")))
    lines = shown(progress).splitlines()
    a = next(line for line in lines if "✓ a" in line)
    assert all(part in a for part in ("done", "1.5 s", "10 → 5", "$0.01", "openai:m"))
    b = next(line for line in lines if "✗ b" in line)
    assert "failed" in b
    assert "timeout: no answer [bold]" in b, "markup in a provider's message is shown as it is"
    assert any("refine" in line and "0 of 1" in line for line in lines)


def test_before_the_first_event_the_table_says_what_is_going_on() -> None:
    assert "loading the models" in shown(Progress())


def test_a_low_terminal_folds_the_layers_that_do_not_run(progress: Progress) -> None:
    progress.feed(started("draft/a"))
    progress.feed(started("aggregator/z", "aggregator"))
    text = shown(progress, height=8)
    assert "▸ a" in text
    assert "· a" not in text
    assert "▸ z" in text


def test_long_reasons_do_not_push_the_figures_out(progress: Progress) -> None:
    failure = {**FAILURE, "message": "x" * 500}
    progress.feed(ended(proposal("draft/b", "failed", failure=failure)))
    assert any(
        "✗ b" in line and "failed" in line and "1.5 s" in line for line in shown(progress, 80).splitlines()
    )


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            {"type": "layer.started", "layer": "draft", "proposers": ["a", "b"], "references": 0},
            "draft: 2 proposers",
        ),
        (
            {"type": "layer.started", "layer": "refine", "proposers": ["a"], "references": 1},
            "refine: 1 proposer, each with 1 reference",
        ),
        (started("draft/a"), ""),
        (started("aggregator/z", "aggregator"), "aggregator/z: openai:m writes the answer"),
        (RETRIED, "draft/a: attempt 1 failed: timeout: no answer [bold]; again in 1.2 s"),
        ({**RETRIED, "wait": 0.0}, "draft/a: attempt 1 failed: timeout: no answer [bold]; again at once"),
        (ended(proposal("draft/a")), "draft/a: done in 1.5 s, 10 → 5 tokens, cost $0.0100"),
        (ended(proposal("draft/a", cost=None)), "draft/a: done in 1.5 s, 10 → 5 tokens, cost unknown"),
        (ended(proposal("aggregator/z"), "aggregator"), ""),
        (ended(proposal("draft/a", "failed")), "draft/a: failed after 1.5 s: timeout: no answer [bold]"),
        (ended(proposal("draft/a", "cut")), "draft/a: cut after 1.5 s: timeout: no answer [bold]"),
        (
            {"type": "layer.joined", "layer": "draft", "ok": 1, "failed": 1, "cut": 1, "seconds": 2.0},
            "draft: 1 of 3 proposals in 2.0 s",
        ),
        ({"type": "something.new"}, ""),
    ],
)
def test_each_event_worth_it_is_one_line(event: Any, line: str) -> None:
    assert describe(event) == line


def test_lines_go_to_stderr_and_silence_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for view in (Lines(), Silence()):
        view.event(RETRIED)
        view.event(started("draft/a"))
        view.pause()
        view.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1


def test_a_line_beside_the_table_keeps_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    table = LiveTable(Progress())
    table.say("thread [bold]t1[/bold]: waiting")
    table.close()
    assert "thread [bold]t1[/bold]: waiting" in capsys.readouterr().err


def before() -> Run:
    """Return a turn whose first layer ended, and whose second one failed with one proposal made."""
    made: list[Any] = [
        proposal("draft/a"),
        proposal("draft/b", "failed"),
        proposal("draft/mine", "dropped"),
        proposal("refine/a"),
        proposal("refine/b", "failed"),
    ]
    failed: Any = proposal("aggregator/z", "failed")
    usage: Any = {"input_tokens": 100, "output_tokens": 50, "source": "provider"}
    return Run(
        thread="t",
        turn="1",
        status="failed",
        proposals=made,
        aggregators=[failed],
        usage=usage,
        cost=1.0,
        calls=10,
        seconds=60.0,
        next_layer="refine",
    )


@pytest.fixture
def resumed() -> Progress:
    progress = Progress()
    progress.restore(before())
    layers = {"draft": ["a", "b"], "refine": ["a", "b"]}
    progress.feed({"type": "run.started", "name": "n", "resumed": True, "layers": layers, "aggregator": "z"})
    return progress


def test_what_was_restored_is_shown_as_it_ended_and_what_is_tried_again_as_waiting(resumed: Progress) -> None:
    assert states(resumed) == {
        "draft/a": "done",
        "draft/b": "failed",
        "draft/mine": "dropped",
        "refine/a": "done",
        "refine/b": "waiting",
    }
    text = shown(resumed)
    assert "✓ a" in text
    assert "– mine" in text
    assert "1.5 s" in text
    assert all(row.elapsed(time.monotonic()) in (None, 1.5) for row in resumed.rows())


def test_what_was_restored_counts_once(resumed: Progress) -> None:
    assert (resumed.calls(), resumed.cost()) == (10, 1.0)
    resumed.feed(ended(proposal("refine/a")))  # restored: reported again, without a call.started
    assert (resumed.calls(), resumed.cost()) == (10, 1.0)
    resumed.feed(started("refine/b"))
    assert resumed.calls() == 11
    resumed.feed(ended(proposal("refine/b")))
    assert (resumed.calls(), resumed.cost()) == (12, pytest.approx(1.01))
    assert resumed.usage()["input_tokens"] == 110
    assert resumed.seconds() >= 60.0
    assert [record["id"] for record in resumed.proposals] == [
        "draft/a",
        "draft/b",
        "draft/mine",
        "refine/a",
        "refine/b",
    ]
    assert resumed.proposals[-1]["status"] == "ok", "the newest record of each"
    assert [record["id"] for record in resumed.attempted] == ["aggregator/z"]


def test_a_call_that_is_made_again_forgets_how_it_ended(resumed: Progress) -> None:
    resumed.feed(started("draft/a"))
    row = resumed.layers["draft"][0]
    assert (row.state, row.seconds, row.usage, row.restored) == ("running", None, None, False)


AIDE: Any = {"role": "ranker"}
SELECTED: Any = {
    "type": "layer.selected",
    "layer": "draft",
    "by": "rank",
    "kept": ["draft/b"],
    "left_out": {"draft/a": "ranked 2 of 2"},
    "undecided": "",
}
STOPPED: Any = {"type": "layers.stopped", "layer": "draft", "reason": "2 proposals agree on 12"}
JOINED: Any = {"type": "layer.joined", "layer": "draft", "ok": 1, "failed": 0, "cut": 1, "seconds": 2.0}


def test_who_is_asked_about_proposals_has_a_row_but_counts_as_none(progress: Progress) -> None:
    progress.feed(ended(proposal("draft/a")))
    progress.feed(started("draft/@ranker", "ranker"))
    lines = shown(progress).splitlines()
    assert any("▸ @ranker" in line and "running" in line for line in lines)
    assert any("draft" in line and "1 of 2" in line for line in lines)
    progress.feed(ended(proposal("draft/@ranker", **AIDE), "ranker"))
    assert [record["id"] for record in progress.proposals] == ["draft/a"]
    assert [record["id"] for record in progress.aides] == ["draft/@ranker"]
    assert progress.calls() == 4
    assert progress.attempted == []


def test_who_chooses_the_answer_stands_beside_the_aggregator(progress: Progress) -> None:
    progress.feed(started("aggregator/@ranker:z", "ranker"))
    assert "aggregator" not in progress.layers
    assert [row.id for row in progress.aggregators] == ["aggregator/@ranker:z"]
    progress.feed(ended(proposal("aggregator/@ranker:z", **AIDE), "ranker"))
    assert progress.attempted == []
    assert "✓ @ranker:z" in shown(progress)


def test_many_comparisons_are_one_row(progress: Progress) -> None:
    ids = [f"draft/@compare:{one}:{other}" for one in "abc" for other in "abc" if one != other]
    for id_ in ids:
        progress.feed(started(id_, "ranker"))
    [line] = [line for line in shown(progress).splitlines() if "@compare" in line]
    assert "▸ @compare" in line
    assert "0 of 6" in line
    for id_ in ids:
        progress.feed(ended(proposal(id_, "failed" if id_.endswith("c") else "ok", **AIDE), "ranker"))
    [line] = [line for line in shown(progress).splitlines() if "@compare" in line]
    assert all(part in line for part in ("✓ @compare", "4 of 6", "60 → 30", "$0.0600", "2 failed"))


def test_what_is_left_out_says_why_beside_its_row(progress: Progress) -> None:
    progress.feed(ended(proposal("draft/a")))
    progress.feed(ended(proposal("draft/b")))
    progress.feed(SELECTED)
    lines = shown(progress).splitlines()
    assert any("✓ a" in line and "left out: ranked 2 of 2" in line for line in lines)
    assert any("✓ b" in line and "openai:m" in line for line in lines)
    assert [record.get("left_out") for record in progress.proposals] == ["ranked 2 of 2", None]


def test_layers_that_are_skipped_are_not_needed(progress: Progress) -> None:
    progress.feed(ended(proposal("draft/a")))
    progress.feed(JOINED)
    progress.feed(STOPPED)
    assert states(progress) == {"draft/a": "done", "draft/b": "not needed", "refine/a": "not needed"}
    lines = shown(progress).splitlines()
    assert any("refine" in line and "not needed" in line for line in lines)
    assert any("– b" in line and "not needed" in line for line in lines)
    assert not any("· a" in line or "– a" in line for line in lines)


def test_who_was_cut_because_enough_agree_is_not_needed_and_who_saw_nothing_is_told(
    progress: Progress,
) -> None:
    why: Any = {"kind": "deadline", "message": "cut as enough proposals agree", "retryable": False}
    cut = ended(proposal("draft/b", "cut", failure={**why, "status_code": None}))
    assert describe(cut) == "draft/b: not needed: enough proposals agree"
    progress.feed(cut)
    assert states(progress)["draft/b"] == "not needed"
    (line,) = [line for line in shown(progress).splitlines() if "– b" in line]
    assert line.rstrip().endswith("enough proposals agree")
    blind: Any = {**why, "kind": "error", "message": "not asked: there is nothing for it to see"}
    record = proposal("draft/b", "cut", failure={**blind, "status_code": None}, attempts=0)
    assert describe(ended(record)) == "draft/b: not asked: there is nothing for it to see"


def test_a_stop_and_what_was_said_before_it_are_restored() -> None:
    progress, ranker = Progress(), proposal("draft/@ranker", **AIDE)
    left_out = proposal("draft/a", left_out="ranked 2 of 2")
    run = Run(thread="t", turn="1", status="interrupted", proposals=[left_out], aides=[ranker])
    progress.restore(replace(run, stopped={"layer": "draft", "reason": "enough"}, next_layer="aggregator"))
    layers = {"draft": ["a"], "refine": ["a"]}
    progress.feed({"type": "run.started", "name": "n", "resumed": True, "layers": layers, "aggregator": "z"})
    assert states(progress) == {"draft/a": "done", "draft/@ranker": "done", "refine/a": "not needed"}
    assert "left out: ranked 2 of 2" in shown(progress)
    assert [record["id"] for record in progress.aides] == ["draft/@ranker"]


def test_a_stop_of_an_unknown_layer_does_no_harm(progress: Progress) -> None:
    progress.feed({**STOPPED, "layer": "elsewhere"})
    assert "not needed" not in states(progress).values()


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (started("draft/@ranker", "ranker"), ""),
        (
            ended(proposal("draft/@judge", **AIDE), "judge"),
            "draft/@judge: done in 1.5 s, 10 → 5 tokens, cost $0.0100",
        ),
        (SELECTED, "draft: b goes on (select by rank); left out: a (ranked 2 of 2)"),
        (
            {**SELECTED, "kept": ["draft/a", "draft/b"], "left_out": {}},
            "draft: all 2 go on (select by rank)",
        ),
        (STOPPED, "draft: enough: 2 proposals agree on 12; the aggregator comes next"),
    ],
)
def test_what_follows_a_layer_is_one_line(event: Any, line: str) -> None:
    assert describe(event) == line


def test_an_answer_that_is_a_proposal_was_no_call(capsys: pytest.CaptureFixture[str]) -> None:
    view = Lines()
    view.event(ended(proposal("aggregator/vote", attempts=0), "aggregator"))
    view.event(ended(proposal("draft/mine", attempts=0)))
    assert capsys.readouterr().err == "draft/mine: kept from before\n"


def test_the_table_says_selections_and_stops_as_lines(capsys: pytest.CaptureFixture[str]) -> None:
    view = LiveTable(Progress())
    for event in (SELECTED, STOPPED, JOINED):
        view.event(event)
    view.close()
    err = capsys.readouterr().err
    assert "left out: a (ranked 2 of 2)" in err
    assert "draft: enough: 2 proposals agree on 12" in err
