"""Figures show what was computed, each point with its interval, and touch no state of matplotlib."""

from __future__ import annotations

import json
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from moa_graph.errors import MoAError, ModelNotReady
from moa_graph.evaluation.curves import FIGURES, FigureName, curves_of
from moa_graph.evaluation.figures import Curve, Point, draw_curves, draw_selection, save
from moa_graph.evaluation.measured import read_measured
from moa_graph.evaluation.results import Results
from moa_graph.evaluation.selection import select
from moa_graph.evaluation.statistics import Interval, mean_interval, share_interval
from tests.evaluation.runs_of_eval import written_run


def half(value: float) -> Interval:
    return Interval(value, value - 0.1, value + 0.1)


CURVES: list[Curve] = [
    ("one", [Point(half(0.5), 1), Point(half(0.7), 3, "last")]),
    ("two", [Point(half(0.6), 1)]),
]


def lines_of(axes: Any) -> dict[str, list[tuple[float, float]]]:
    return {
        bars.get_label(): [(float(x), float(y)) for x, y in bars.lines[0].get_xydata()]
        for bars in axes.containers
    }


def spans_of(axes: Any, number: int) -> list[list[float]]:
    """Return the vertical intervals of a curve."""
    return [[float(y) for _, y in segment] for segment in axes.containers[number].lines[2][-1].get_segments()]


def test_points_stand_at_their_values_in_percent_with_intervals_as_bars() -> None:
    [axes] = draw_curves(CURVES, title="t", across="proposers", upward="accuracy, %").axes
    assert [y for _, y in lines_of(axes)["one"]] == pytest.approx([50, 70])
    assert [x for x, _ in lines_of(axes)["one"]] == pytest.approx([1, 3], abs=0.05)
    assert lines_of(axes)["one"][0][0] != lines_of(axes)["two"][0][0]  # bars that would hide each other
    assert spans_of(axes, 0) == [pytest.approx([40, 60]), pytest.approx([60, 80])]
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("t", "proposers", "accuracy, %")
    assert [text.get_text() for text in axes.texts] == ["last"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "two"]
    assert list(axes.get_xticks()) == [1, 3]


def test_uncertain_places_have_bars_across() -> None:
    curve: Curve = ("answer", [Point(half(0.5), Interval(0.2, 0.1, 0.4), "run")])
    [axes] = draw_curves([curve], title="t", across="USD", upward="%", joined=False).axes
    [across, _] = axes.containers[0].lines[2]
    assert [float(x) for x, _ in across.get_segments()[0]] == pytest.approx([0.1, 0.4])
    assert axes.containers[0].lines[0].get_linestyle() == "None"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["answer"]


def test_points_are_joined_unless_two_stand_at_one_place() -> None:
    twice: Curve = ("two runs", [Point(half(0.5), 3), Point(half(0.6), 3)])
    [axes] = draw_curves([CURVES[0], twice], title="t", across="proposers", upward="%").axes
    assert [bars.lines[0].get_linestyle() for bars in axes.containers] == ["-", "None"]


def test_equal_values_at_one_number_stand_side_by_side() -> None:
    equal: Curve = ("answer", [Point(half(0.5), 3), Point(half(0.5), 3), Point(half(0.5), 4)])
    [axes] = draw_curves([equal], title="t", across="proposers", upward="%").axes
    first, second, third = (x for x, _ in lines_of(axes)["answer"])
    assert first < 3 < second < third == 4
    assert (first + second) / 2 == pytest.approx(3)


def test_no_label_covers_another_one_and_no_legend_a_bar() -> None:
    free = Interval(0, 0, 0)
    equal: Curve = ("answer", [Point(half(0.5), free, f"the run {name}") for name in "abcd"])
    figure = draw_curves([equal], title="t", across="USD", upward="%", joined=False)
    figure.draw_without_rendering()
    [axes] = figure.axes
    boxes = [note.get_window_extent() for note in axes.texts]
    assert len(boxes) == 4
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert axes.get_legend().get_window_extent().y1 < axes.get_window_extent().y0


def test_an_axis_of_costs_does_not_begin_below_0() -> None:
    free: Curve = ("answer", [Point(half(0.5), Interval(0, 0, 0)), Point(half(0.6), Interval(0, 0, 0))])
    dear: Curve = ("answer", [Point(half(0.5), Interval(7, 6, 8))])
    for curve, least in ((free, 0), (dear, 5)):
        [axes] = draw_curves([curve], title="t", across="USD", upward="%", joined=False).axes
        assert axes.get_xlim()[0] >= least


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(MoAError, match="nothing to draw"):
        draw_curves([("empty", [])], title="t", across="x", upward="y")


@pytest.mark.parametrize(("name", "begin"), [("f.png", b"\x89PNG\r\n"), ("f.SVG", b"<?xml")])
def test_the_suffix_decides_on_the_format_and_no_global_state_is_changed(
    tmp_path: Path, name: str, begin: bytes
) -> None:
    before = dict(mpl.rcParams)
    figure = draw_curves(CURVES, title="t", across="x", upward="y")
    save(figure, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begin)
    assert dict(mpl.rcParams) == before


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MoAError, match=r"the suffix must be \.png or \.svg"):
        save(draw_curves(CURVES, title="t", across="x", upward="y"), tmp_path / "f.pdf")


def test_without_the_extra_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModelNotReady, match=r"pip install 'moa-graph\[eval\]'"):
        draw_curves(CURVES, title="t", across="x", upward="y")


def results(**scores: str) -> Results:
    answers: dict[str, list[str | None]] = {
        model: ["right" if sign == "1" else f"{model}{place}" for place, sign in enumerate(signs)]
        for model, signs in scores.items()
    }
    known = {model: [float(sign) for sign in signs] for model, signs in scores.items()}
    return Results([str(n) for n in range(len(scores["a"]))], known, answers=answers)


def test_a_selection_is_drawn_between_diversity_and_quality() -> None:
    selection = select(results(a="11110110", b="11101100", c="00111011"), 2, seeds=6)
    left, right = draw_selection(selection).axes
    assert left.get_ylabel() == "mean accuracy of the members, %"
    assert right.get_ylabel() == "accuracy of the vote, %"
    assert [text.get_text() for text in right.get_legend().get_texts()] == [
        "6 random teams",
        "score, λ from 0 to 2",
        "top",
        "score",
        "coverage",
        "vote",
    ]
    top = next(spot for spot in selection.spots if spot.label == "top")
    assert lines_of(left)["top"] == [pytest.approx((top.diversity, 100 * top.mean.value))]
    assert top.vote is not None
    assert lines_of(right)["top"] == [pytest.approx((top.diversity, 100 * top.vote.value))]


def test_equal_teams_are_drawn_so_that_each_is_seen() -> None:
    [left, _] = draw_selection(select(results(a="1111", b="1111"), 2, seeds=3)).axes
    marks = [bars.lines[0] for bars in left.containers]
    assert len({mark.get_markersize() for mark in marks}) == len(marks) == 4
    assert {mark.get_markerfacecolor() for mark in marks} == {"none"}


def test_win_rates_are_drawn_without_a_vote() -> None:
    scores = {"a": [0.9, 0.8, 0.7, 0.9], "b": [0.1, 0.9, 0.2, 0.8], "c": [0.5, 0.5, 0.5, 0.5]}
    [axes] = draw_selection(select(Results(list("1234"), scores, "win rate"), 2, seeds=4)).axes
    assert axes.get_ylabel() == "mean win rate of the members, %"
    assert axes.get_xlabel() == "diversity (1 − agreement of scores)"


def test_a_team_of_one_cannot_be_drawn() -> None:
    with pytest.raises(MoAError, match="no diversity to draw"):
        draw_selection(select(results(a="1111", b="0000"), 1, seeds=2))


def values(curve: Curve) -> list[tuple[Any, float, str]]:
    return [(point.at, round(point.value.value, 4), point.label) for point in curve[1]]


def test_by_layer_follows_proposals_and_ends_with_the_answer(tmp_path: Path) -> None:
    layers = {"draft": {"a": "++--", "b": "+-.?"}, "refine": {"a": "++.."}}
    run = read_measured(written_run(tmp_path / "moa", layers, [True, True, False, True]))
    shape, curves = curves_of("by-layer", [run])
    assert [curve[0] for curve in curves] == ["moa"]
    # Each question counts once, whatever the number of its proposals; two went on to the second layer.
    assert values(curves[0]) == [(1, 0.375, "1 cut"), (2, 1.0, "n=2"), (3, 0.75, "answer")]
    assert shape.joined


STOPPED = """\
moa: 1
name: n
models:
  a: {model: embedded:extractive}
layers:
  - {name: draft, concurrency: 1, proposers: [{model: a, samples: 3}]}
stop: {by: agreement, agree: 2, extract: number}
aggregator: {reduce: vote, extract: number}
"""


def test_a_layer_in_which_not_all_were_asked_says_for_how_many_questions(tmp_path: Path) -> None:
    draft = {"a-1": "++-+", "a-2": "++-+", "a-3": ".cc+"}
    run = read_measured(written_run(tmp_path / "moa", {"draft": draft}, [True] * 4))
    layer, answer = curves_of("by-layer", [run])[1][0][1]
    assert (layer.cut, layer.label) == (3, "3 cut")
    assert (answer.cut, answer.label) == (0, "answer")


def test_whoever_was_asked_about_no_question_is_known_from_the_spec(tmp_path: Path) -> None:
    folder = written_run(tmp_path / "moa", {"draft": {"a-1": "++", "a-2": "++"}}, [True, True])
    (folder / ".spec.yaml").write_text(STOPPED)
    layer, _ = curves_of("by-layer", [read_measured(folder)])[1][0][1]
    assert (layer.cut, layer.label) == (2, "2 cut")


def test_who_failed_was_asked_and_marks_nothing(tmp_path: Path) -> None:
    run = read_measured(written_run(tmp_path / "moa", {"draft": {"a": "+f", "b": "++"}}, [True, True]))
    assert values(curves_of("by-layer", [run])[1][0])[0] == (1, 0.75, "")


def test_questions_without_a_judged_answer_are_left_out(tmp_path: Path) -> None:
    run = read_measured(written_run(tmp_path / "moa", {"draft": {"a": "+-+"}}, [True, None, False]))
    assert values(curves_of("by-layer", [run])[1][0]) == [(1, 1.0, ""), (2, 0.5, "answer")]
    with pytest.raises(MoAError, match="no answer in it is judged"):
        read_measured(written_run(tmp_path / "none", {"draft": {"a": "?"}}, [None]))


def test_a_layer_that_one_question_of_several_reached_has_no_point(tmp_path: Path) -> None:
    layers = {"draft": {"a": "++--"}, "refine": {"a": "-..."}, "last": {"a": "-+.."}}
    run = read_measured(written_run(tmp_path / "moa", layers, [True] * 4))
    assert values(curves_of("by-layer", [run])[1][0]) == [(1, 0.5, ""), (3, 0.5, "n=2"), (4, 1.0, "answer")]
    alone = read_measured(written_run(tmp_path / "one", {"draft": {"a": "+"}}, [True]))
    assert values(curves_of("by-layer", [alone])[1][0]) == [(1, 1.0, ""), (2, 1.0, "answer")]


def test_a_layer_whose_proposals_are_not_judged_has_no_point(tmp_path: Path) -> None:
    run = read_measured(written_run(tmp_path / "moa", {"draft": {"a": "??"}}, [True, False]))
    assert values(curves_of("by-layer", [run])[1][0]) == [(2, 0.5, "answer")]


def test_by_proposers_stands_at_the_width_of_the_first_layer(tmp_path: Path) -> None:
    wide = read_measured(
        written_run(tmp_path / "wide", {"d": {"a": ".+", "b": ".+", "c": "++"}}, [True, True])
    )
    narrow = read_measured(
        written_run(tmp_path / "narrow", {"d": {"a": "++"}, "e": {"a": "++", "b": "++"}}, [False, True])
    )
    alone = read_measured(written_run(tmp_path / "alone", {}, [False, False]) / "records.jsonl")
    _, [curve] = curves_of("by-proposers", [wide, narrow, alone])
    assert values(curve) == [(0, 0.0, "records"), (1, 0.5, "narrow"), (3, 1.0, "wide")]


def test_runs_of_one_model_are_told_from_those_of_several(tmp_path: Path) -> None:
    two = {"d": {"a": "++", "b": "++"}}
    same = read_measured(written_run(tmp_path / "same", two, [True, False], models={"a": "p:x", "b": "p:x"}))
    several = read_measured(written_run(tmp_path / "several", two, [True, True]))
    _, [single, multiple] = curves_of("single-multiple", [several, same])
    assert (single[0], values(single)) == ("one model, sampled", [(2, 0.5, "same")])
    assert (multiple[0], values(multiple)) == ("different models", [(2, 1.0, "several")])
    assert [curve[0] for curve in curves_of("single-multiple", [several])[1]] == ["different models"]


SLOTS = """\
moa: 1
name: n
models:
  bm25: {model: embedded:extractive, params: {ranker: bm25}}
  tfidf: {model: embedded:extractive, params: {ranker: tfidf}}
  warm: {model: embedded:extractive, params: {ranker: bm25}, temperature: 1.0}
layers:
  - proposers: PROPOSERS
aggregator: {model: bm25}
"""


@pytest.mark.parametrize(
    ("proposers", "name"),
    [
        ("[bm25, tfidf]", "different models"),
        ("[{model: bm25, samples: 2}]", "one model, sampled"),
        ("[bm25, warm]", "one model, sampled"),
        ("[bm25, {runnable: mine}]", "different models"),
    ],
)
def test_models_with_other_parameters_are_different_ones(tmp_path: Path, proposers: str, name: str) -> None:
    same = {"a": "embedded:extractive", "b": "embedded:extractive"}
    folder = written_run(tmp_path / "run", {"d": {"a": "++", "b": "++"}}, [True, False], models=same)
    (folder / ".spec.yaml").write_text(SLOTS.replace("PROPOSERS", proposers))
    assert [curve[0] for curve in curves_of("single-multiple", [read_measured(folder)])[1]] == [name]


def test_a_spec_that_cannot_be_read_leaves_the_models_of_the_records(tmp_path: Path) -> None:
    folder = written_run(tmp_path / "run", {"d": {"a": "++", "b": "++"}}, [True, False])
    (folder / ".spec.yaml").write_text("moa: 99")
    assert [curve[0] for curve in curves_of("single-multiple", [read_measured(folder)])[1]] == [
        "different models"
    ]


def test_runs_of_one_proposer_or_none_are_neither_sampled_nor_different(tmp_path: Path) -> None:
    one = read_measured(written_run(tmp_path / "one", {"d": {"a": "++"}}, [True, False]))
    none = read_measured(written_run(tmp_path / "none", {}, [True, False]))
    shape, [curve] = curves_of("single-multiple", [one, none])
    assert (curve[0], values(curve)) == ("at most one proposer", [(0, 0.5, "none"), (1, 0.5, "one")])
    assert not shape.joined  # runs that have nothing to do with each other


def test_cost_stands_against_quality_and_an_unknown_cost_is_left_out(tmp_path: Path) -> None:
    known = read_measured(
        written_run(tmp_path / "known", {"d": {"a": "++"}}, [True, False], costs=[0.25, 0.75])
    )
    unknown = read_measured(
        written_run(tmp_path / "unknown", {"d": {"a": "++"}}, [True, True], costs=[0.1, None])
    )
    shape, [curve] = curves_of("cost-quality", [known, unknown])
    [point] = curve[1]
    assert (point.label, point.value.value) == ("known", 0.5)
    assert isinstance(point.at, Interval)
    assert (point.at.value, point.at.low, point.at.high) == (0.5, 0.25, 0.75)
    assert not shape.joined
    assert curves_of("cost-quality", [unknown])[1] == []


@pytest.mark.parametrize("figure", FIGURES)
def test_runs_over_different_questions_are_not_compared(tmp_path: Path, figure: FigureName) -> None:
    one = read_measured(written_run(tmp_path / "one", {"d": {"a": "+"}}, [True], digest="1"))
    other = read_measured(written_run(tmp_path / "other", {"d": {"a": "+"}}, [True], digest="2"))
    with pytest.raises(MoAError, match="over different questions"):
        curves_of(figure, [one, other])


def test_a_record_of_another_kind_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text('{"id": 1, "correct": true}\n{"id": 2, "correct": "yes"}\n')
    with pytest.raises(MoAError, match=r": 2: correct: "):
        read_measured(tmp_path)


def test_runs_over_other_items_of_one_dataset_are_not_compared(tmp_path: Path) -> None:
    one = read_measured(written_run(tmp_path / "one", {"d": {"a": "++"}}, [True, True]))
    other = read_measured(written_run(tmp_path / "other", {"d": {"a": "+++"}}, [True, True, False]))
    with pytest.raises(MoAError, match="one over 2, other over 3, of which 2 are in both"):
        curves_of("by-proposers", [one, other])


def test_an_accuracy_of_all_or_none_has_a_width_and_means_of_proposals_a_bootstrap(tmp_path: Path) -> None:
    run = read_measured(written_run(tmp_path / "run", {"d": {"a": "++++", "b": "++-+"}}, [True] * 4))
    _, [(_, [layer, answer])] = curves_of("by-layer", [run])
    assert answer.value == share_interval(4, 4)
    assert layer.value == mean_interval([1, 1, 0.5, 1])


def test_accuracies_of_answers_that_were_read_in_different_ways_are_not_set_side_by_side(
    tmp_path: Path,
) -> None:
    runs = []
    for name, how in (("one", {"by": "number"}), ("other", {"by": "last-line"})):
        folder = written_run(tmp_path / name, {"d": {"a": "++"}}, [True, False])
        pin = json.loads((folder / "evaluation.json").read_text())
        (folder / "evaluation.json").write_text(json.dumps({**pin, "extract": how}))
        runs.append(read_measured(folder))
    with pytest.raises(MoAError, match="right means something else in each run") as refused:
        curves_of("by-proposers", runs)
    assert "--extract" in refused.value.hint


def test_a_cost_that_is_no_number_is_not_drawn(tmp_path: Path) -> None:
    run = read_measured(
        written_run(tmp_path / "run", {"d": {"a": "++"}}, [True, True], costs=[0.1, float("nan")])
    )
    assert curves_of("cost-quality", [run])[1] == []
