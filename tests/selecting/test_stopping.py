"""When it is enough: agreement, votes that stay, layers that are alike."""

from __future__ import annotations

from typing import Any

import pytest

from moa_graph.selecting.stopping import agreed, likeness_to_before, nothing_changed, unchanged


@pytest.mark.parametrize(
    ("answers", "least", "answer"),
    [
        (["1", "2", "1"], 2, "1"),
        (["1", "2", "1"], 3, None),
        ([None, None, None], 2, None),
        ([], 2, None),
        (["1", None, None, "1"], 2, "1"),
        (["2", "1", "1", "2"], 2, "2"),
        (["2", "1", "1", "2", "1"], 2, "1"),
    ],
)
def test_it_is_agreed_when_enough_say_the_same(
    answers: list[str | None], least: int, answer: str | None
) -> None:
    assert agreed(answers, least) == answer


@pytest.mark.parametrize(
    ("votes", "layers", "stays"),
    [
        (["1", "1"], 1, True),
        (["1"], 1, False),
        (["1", "2"], 1, False),
        (["2", "1", "1"], 2, False),
        (["2", "1", "1", "1"], 2, True),
        ([None, None], 1, False),
        (["1", None], 1, False),
        ([], 1, False),
    ],
)
def test_a_vote_stays_when_the_last_layers_say_what_the_one_before_said(
    votes: list[str | None], layers: int, *, stays: bool
) -> None:
    assert unchanged(votes, layers) is stays


def said(text: str, status: str = "ok") -> Any:
    return {"text": text, "status": status}


@pytest.mark.parametrize(
    ("records", "count", "silent"),
    [
        ({"two/@residual": said("NONE")}, 1, True),
        ({"two/@residual": said("NONE")}, 2, False),
        ({"one/@residual": said("NONE"), "two/@residual": said("none.")}, 2, True),
        ({"one/@residual": said("NONE"), "two/@residual": said("Lost.")}, 1, False),
        ({"two/@residual": said("", "failed")}, 1, False),
        ({}, 1, False),
    ],
)
def test_nothing_changed_when_all_who_compared_the_last_layers_say_so(
    records: dict[str, Any], count: int, *, silent: bool
) -> None:
    assert nothing_changed(records, ["one", "two"], count) is silent


def test_layers_are_compared_writer_by_writer() -> None:
    before = {"a": "red foxes", "b": "prime numbers"}
    assert likeness_to_before(before, before) == pytest.approx(1.0)
    assert likeness_to_before({"a": "prime numbers", "b": "red foxes"}, before) == 0.0


def test_who_did_not_write_before_is_compared_with_whom_it_is_closest_to() -> None:
    before = {"a": "red foxes", "b": "prime numbers"}
    assert likeness_to_before({"c": "prime numbers"}, before) == pytest.approx(1.0)


def test_nothing_is_like_nothing() -> None:
    assert likeness_to_before({}, {"a": "x"}) == likeness_to_before({"a": "x"}, {}) == 0.0
