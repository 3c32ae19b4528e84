"""Policies choose by performance and diversity on one half of the questions; the other tells how well."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from moa_graph.errors import MoAError
from moa_graph.evaluation.policies import POLICIES, Policy, Teams, choose
from moa_graph.evaluation.results import Results, read_results
from moa_graph.evaluation.selection import select, split

SHARED = Path(os.environ.get("MOA_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
ANSWERS = SHARED / "zeroeval" / "answers28.json.xz"


def results(**answers: str) -> Results:
    """Return results of models whose answers are letters: R is right, _ abstains."""
    given = {model: [None if sign == "_" else sign for sign in signs] for model, signs in answers.items()}
    scores = {model: [float(sign == "R") for sign in signs] for model, signs in answers.items()}
    count = len(next(iter(given.values())))
    return Results([str(n) for n in range(count)], scores, answers=given)


POOL = results(
    strong="RRRRRRxx",
    twin="RRRRRxxx",  # errs as strong does
    other="xRRyRyRz",  # worse, but right where strong is not
    odd="yyyyyyyR",
)


@pytest.mark.parametrize(
    ("policy", "trade_off", "team"),
    [
        ("top", 0.0, ["strong", "twin", "other"]),
        ("score", 0.0, ["strong", "twin", "other"]),
        ("score", 0.5, ["strong", "other", "twin"]),
        ("score", 2.0, ["strong", "odd", "other"]),
        ("coverage", 0.0, ["strong", "other", "odd"]),
    ],
)
def test_each_policy_has_its_own_idea_of_a_team(policy: Policy, trade_off: float, team: list[str]) -> None:
    assert choose(Teams(POOL), 3, policy, trade_off=trade_off) == team


def test_vote_takes_who_makes_the_vote_right() -> None:
    pool = results(best="RRRRyx", second="RRRyyy", third="RxRzRR", fourth="xRxRRR")
    team = choose(Teams(pool), 3, "vote")
    assert team[0] == "best"
    assert set(team) == {"best", "third", "fourth"}
    assert sum(Teams(pool).vote_of(team)) == 6


def test_ties_go_to_the_better_model_then_to_the_one_named_first() -> None:
    pool = results(a="RR__", b="RR__", c="__R_", d="R__R")
    assert choose(Teams(pool), 4, "top") == ["a", "b", "d", "c"]
    assert choose(Teams(pool), 2, "coverage") == ["a", "d"]


@pytest.mark.parametrize("k", [0, 5])
def test_a_team_that_cannot_be_is_refused(k: int) -> None:
    with pytest.raises(MoAError, match=f"cannot choose {k} of 4 models"):
        choose(Teams(POOL), k, "top")
    with pytest.raises(MoAError, match=f"cannot choose {k} of 4 models"):
        select(POOL, k)


def test_agreement_is_the_share_of_equal_answers_and_an_abstention_agrees_with_nobody() -> None:
    teams = Teams(results(a="RR_x", b="Rx_x", c="____"))
    assert teams.likeness == "answers"
    assert teams.agreement("a", "b") == teams.agreement("b", "a") == 0.5
    assert teams.agreement("b", "c") == 0
    assert teams.agreement_of(["a", "b", "c"]) == pytest.approx(0.5 / 3)
    assert teams.agreement_of(["a"]) is None


def test_agreement_is_that_of_texts_where_no_answers_are_recorded() -> None:
    said: dict[str, list[str | None]] = {
        "a": ["the quick brown fox", "green tea"],
        "b": ["the quick brown fox", None],
        "c": ["volcanic ash everywhere", "green tea"],
    }
    teams = Teams(Results(["1", "2"], {model: [0.5, 0.5] for model in said}, "win rate", texts=said))
    assert teams.likeness == "texts"
    assert teams.agreement("a", "b") == pytest.approx(1)  # of the one question on which both wrote
    assert teams.agreement("a", "c") == pytest.approx(0.5)
    assert teams.agreement("b", "c") == 0


def test_agreement_with_a_model_whose_texts_are_not_recorded_is_unknown() -> None:
    said: dict[str, list[str | None]] = {"a": ["green tea"] * 4, "b": ["tea"] * 4, "c": [None] * 4}
    pool = Results(list("1234"), {model: [0.5] * 4 for model in said}, "win rate", texts=said)
    with pytest.raises(MoAError, match="a and c have no texts on one question"):
        choose(Teams(pool), 2, "score")
    assert choose(Teams(pool.among(["a", "b"])), 2, "score") == ["a", "b"]


def test_agreement_is_that_of_scores_where_nothing_else_is_recorded() -> None:
    teams = Teams(Results(["1", "2"], {"a": [1.0, 0.5], "b": [0.5, 0.5]}, "win rate"))
    assert (teams.likeness, teams.votes) == ("scores", False)
    assert teams.agreement("a", "b") == 0.75
    with pytest.raises(MoAError, match="a vote needs `answers`"):
        teams.vote_of(["a"])


def test_what_a_team_reached_is_told_question_by_question() -> None:
    teams = Teams(results(a="Rx_", b="xx_", c="xR_"))
    assert teams.mean_of(["a", "c"]) == [0.5, 0.5, 0]
    assert teams.best_of(["a", "b", "c"]) == [1, 1, 0]
    assert teams.vote_of(["a", "b", "c"]) == [0, 0, 0]
    assert teams.vote_of(["a", "c"]) == [1, 0, 0]


def test_even_and_odd_questions_are_split_and_random_halves_follow_their_seed() -> None:
    assert split(5, "even-odd") == ([0, 2, 4], [1, 3])
    one, other = split(11, "random:1")
    assert (len(one), sorted(one + other)) == (6, list(range(11)))
    assert split(11, "random:1") == (one, other)
    assert split(11, "random:2") != (one, other)


@pytest.mark.parametrize("how", ["odd", "random", "random:٣", "random:x", "random:-1", "even-odd "])
def test_another_split_is_refused(how: str) -> None:
    with pytest.raises(MoAError, match="is no split"):
        split(10, how)


def test_one_question_cannot_be_split() -> None:
    with pytest.raises(MoAError, match="one question cannot be split"):
        select(results(a="R", b="x"), 1)


def test_a_team_is_chosen_on_one_half_and_tested_on_the_other() -> None:
    # On even questions a and b are right, on odd ones c and d.
    pool = results(a="RxRxRxRx", b="RyRyRyRy", c="xRxRxRxR", d="yRyRyRyR")
    selection = select(pool, 2, seeds=20)
    assert selection.best == "a"
    assert selection.teams["top"] == ["a", "b"]
    rows = {row.name: row for row in selection.rows}
    assert list(rows) == ["best single", "random-2", *POLICIES]
    assert rows["best single"].models == ["a"]
    assert (rows["best single"].mean.value, rows["best single"].vote, rows["best single"].gain) == (
        0,
        None,
        None,
    )
    assert (rows["top"].mean.value, rows["top"].agreement) == (0, 0)
    assert (rows["coverage"].models, rows["coverage"].right.value) == (["a", "b"], 0)
    drawn = rows["random-2"]
    assert drawn.range is not None
    assert drawn.vote is not None
    assert 0 == drawn.range[0] < drawn.vote.value < drawn.range[1] == 1


def test_the_gain_is_the_difference_to_the_best_single_model_with_its_interval() -> None:
    selection = select(results(a="RRRRxxRR" * 4, b="RRxxRRyy" * 4, c="xxRRRRRR" * 4), 3, seeds=5)
    row = next(row for row in selection.rows if row.name == "vote")
    assert row.vote is not None
    assert row.gain is not None
    best = selection.rows[0].mean.value
    assert row.gain.value == pytest.approx(row.vote.value - best)
    assert row.gain.low <= row.gain.value <= row.gain.high
    assert row.gain.low < row.gain.high


def test_without_answers_there_is_neither_a_vote_nor_its_policy() -> None:
    scores = {"a": [0.9, 0.8, 0.7, 0.9], "b": [0.1, 0.9, 0.2, 0.8], "c": [0.5, 0.5, 0.5, 0.5]}
    selection = select(Results(list("1234"), scores, "win rate"), 2, seeds=10)
    assert (selection.measure, selection.likeness) == ("win rate", "scores")
    assert list(selection.teams) == ["top", "score", "coverage"]
    assert {(row.vote, row.gain) for row in selection.rows} == {(None, None)}
    assert {spot.vote for spot in selection.spots} == {None}


def test_the_front_rises_in_diversity_and_holds_each_team_once() -> None:
    pool = results(
        **{
            name: signs * 3
            for name, signs in {"a": "RRRRx", "b": "RRRxx", "c": "RyyRz", "d": "zzzzR"}.items()
        }
    )
    selection = select(pool, 2, seeds=7)
    diversities = [spot.diversity for spot in selection.front]
    assert len(diversities) > 1
    assert diversities == sorted(diversities)
    assert [spot.label for spot in selection.spots] == [*POLICIES, *[""] * 7]


def test_a_team_of_one_has_no_diversity() -> None:
    selection = select(POOL, 1, seeds=3)
    assert (selection.spots, selection.front) == ([], [])
    assert all(row.agreement is None for row in selection.rows)


@pytest.mark.skipif(not ANSWERS.exists(), reason="the recorded data are not here")
def test_the_recorded_pool_of_six_votes_as_was_published() -> None:
    recorded = read_results(ANSWERS, "math-l5")
    pool = ["Mistral-Large-2", "deepseek-v2.5-0908", "Meta-Llama-3.1-70B-Instruct", "Qwen2-72B-Instruct"]
    teams = Teams(recorded)
    team = [*pool, "Meta-Llama-3-70B-Instruct", "Yi-1.5-34B-Chat"]
    count = len(recorded.ids)
    assert 100 * sum(teams.vote_of(team)) / count == pytest.approx(53.6755, abs=1e-4)
    assert 100 * sum(teams.best_of(team)) / count == pytest.approx(71.7060, abs=1e-4)
    assert 100 * sum(teams.mean_of(team)) / count == pytest.approx(36.3153, abs=1e-4)
    assert 100 * max(teams.means[model] for model in team) == pytest.approx(48.5437, abs=1e-4)


def test_every_block_of_the_guide_can_be_pasted_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "selection.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    for block in blocks:
        exec(compile(block, "selection.md", "exec"), {})
    assert len(blocks) >= 4
