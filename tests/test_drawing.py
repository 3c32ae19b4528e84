from __future__ import annotations

import json
import re
import sys
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from moa_graph.drawing import mermaid, png, svg
from moa_graph.errors import MoAError
from moa_graph.spec.loading import parse_spec
from moa_graph.spec.schema import MoASpec

SVG = "{http://www.w3.org/2000/svg}"


def spec(width: int = 2, model: str = "openai:m", **aggregator: Any) -> MoASpec:
    return parse_spec(
        json.dumps(
            {
                "moa": 1,
                "name": "pictured",
                "models": {"a": {"model": model}, "b": {"model": "openai:other"}},
                "layers": [
                    {"name": "draft", "quorum": 2, "proposers": [{"model": "a", "samples": width}]},
                    {"name": "refine", "proposers": ["a", {"model": "b", "id": "sceptic"}]},
                ],
                "aggregator": {"model": "a", **aggregator},
            }
        )
    )


def _texts(picture: str, style: str) -> list[str]:
    found = ET.fromstring(picture).iter(f"{SVG}text")
    return [element.text or "" for element in found if element.get("class") == style]


def test_mermaid_has_a_subgraph_per_layer_with_its_proposers_inside() -> None:
    assert mermaid(spec(fallbacks=["b"])) == (
        "flowchart TD\n"
        "    question([question])\n"
        '    subgraph layer1["draft (quorum 2)"]\n'
        '        layer1_1["a-1<br/>openai:m"]\n'
        '        layer1_2["a-2<br/>openai:m"]\n'
        "    end\n"
        "    question --> layer1\n"
        '    subgraph layer2["refine"]\n'
        '        layer2_1["a<br/>openai:m"]\n'
        '        layer2_2["sceptic<br/>openai:other"]\n'
        "    end\n"
        "    layer1 --> layer2\n"
        '    subgraph layer3["aggregator"]\n'
        '        layer3_1["a<br/>openai:m"]\n'
        '        layer3_2["fallback: b<br/>openai:other"]\n'
        "    end\n"
        "    layer2 --> layer3\n"
        "    answer([answer])\n"
        "    layer3 --> answer\n"
    )


def test_names_mean_nothing_to_mermaid() -> None:
    text = mermaid(spec(model='openai:"]; click <b>`x`'))
    assert "openai:#34;#93;#59; click #60;b#62;#96;x#96;" in text


def test_svg_shows_every_layer_and_proposer() -> None:
    picture = svg(spec(fallbacks=["b"]))
    assert _texts(picture, "title") == ["draft (quorum 2)", "refine", "aggregator"]
    assert _texts(picture, "name") == ["a-1", "a-2", "a", "sceptic", "a", "fallback: b"]
    assert _texts(picture, "model") == ["openai:m"] * 3 + ["openai:other", "openai:m", "openai:other"]
    assert _texts(picture, "pill-text") == ["question", "answer"]


def test_svg_escapes_names_and_clips_long_ones_with_the_whole_in_the_tooltip() -> None:
    long = "openai:<&>" + "x" * 60 + "\u202e"
    picture = svg(spec(model=long))
    assert _texts(picture, "model")[0] == long[:26] + "…"
    tooltips = [element.text for element in ET.fromstring(picture).iter(f"{SVG}title")]
    assert f"a-1: {long[:-1]}\ufffd" in tooltips


def test_boxes_of_a_wide_layer_stay_inside_the_picture_and_apart() -> None:
    picture = ET.fromstring(svg(spec(width=100)))
    width, height = float(picture.get("width", 0)), float(picture.get("height", 0))
    boxes = [element for element in picture.iter(f"{SVG}rect") if element.get("class") in ("box", "final")]
    places = {(float(box.get("x", 0)), float(box.get("y", 0))) for box in boxes}
    assert len(places) == len(boxes) == 103
    assert all(0 < x < width - 204 and 0 < y < height - 52 for x, y in places)
    assert width < 1500


def test_arrows_lead_from_the_question_through_every_layer_to_the_answer() -> None:
    assert len(re.findall('class="arrow"', svg(spec()))) == 4


def test_png_is_a_picture_of_twice_the_size() -> None:
    data = png(spec())
    size = ET.fromstring(svg(spec()))
    assert data.startswith(b"\x89PNG")
    assert int.from_bytes(data[16:20]) == 2 * int(size.get("width", 0))
    assert int.from_bytes(data[20:24]) == 2 * int(size.get("height", 0))


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(MoAError) as caught:
        png(spec())
    assert "pip install 'moa-graph[png]'" in caught.value.hint


def kinds() -> MoASpec:
    """Return a spec with retrieval and every kind of proposer."""
    inner = {
        "moa": 1,
        "name": "inner",
        "models": {"x": {"model": "openai:m"}},
        "layers": [{"proposers": [{"model": "x", "samples": 4}]}, {"proposers": ["x"]}],
        "aggregator": {"model": "x"},
    }
    document = {
        "moa": 1,
        "name": "kinds",
        "models": {"a": {"model": "openai:m"}},
        "retrievers": {
            "docs": {"retriever": "bm25", "files": ["docs/*.md"]},
            "wiki": {"retriever": "host:wiki"},
        },
        "retrieve": ["docs"],
        "layers": [
            {
                "proposers": [
                    {"model": "a", "tools": ["search", "add"]},
                    {"runnable": "helper"},
                    {"spec": inner},
                    {"model": "a", "id": "reader", "retrieve": "wiki"},
                ]
            }
        ],
        "aggregator": {"model": "a", "retrieve": "wiki"},
    }
    return parse_spec(json.dumps(document))


def test_every_kind_of_proposer_shows_what_it_is() -> None:
    tooltips = [element.text for element in ET.fromstring(svg(kinds())).iter(f"{SVG}title")]
    assert tooltips[1:] == [
        "docs: bm25",
        "a: openai:m, tools: search, add",
        "helper: runnable:helper",
        "inner: spec:inner, 3 × 4",
        "reader: openai:m, retrieve: wiki",
        "a: openai:m, retrieve: wiki",
    ]


def test_shared_retrieval_stands_before_the_first_layer() -> None:
    assert _texts(svg(kinds()), "title") == ["retrieve", "layer-1", "aggregator"]
    lines = mermaid(kinds()).splitlines()
    assert lines[2:6] == [
        '    subgraph layer1["retrieve"]',
        '        layer1_1["docs<br/>bm25"]',
        "    end",
        "    question --> layer1",
    ]
    assert '        layer2_3["inner<br/>spec:inner, 3 #215; 4"]' in lines


def special(**parts: Any) -> MoASpec:
    """Return a spec of three layers that selects, stops and votes."""
    return parse_spec(
        json.dumps(
            {
                "moa": 1,
                "name": "special",
                "models": {"a": {"model": "openai:m"}, "b": {"model": "openai:n"}},
                "layers": [
                    {
                        "name": "draft",
                        "quorum": 2,
                        "proposers": ["a", "b"],
                        "select": {"by": "rank", "keep": 2, "model": "a"},
                    },
                    {"name": "refine", "proposers": ["a"], "residual": {"model": "b"}, "concurrency": 1},
                    {"name": "last", "proposers": ["b"]},
                ],
                "stop": {"by": "judge", "model": "b"},
                "aggregator": {"reduce": "vote", "extract": "number"},
                **parts,
            }
        )
    )


def test_titles_say_what_is_special_and_a_vote_has_no_model() -> None:
    picture = svg(special())
    assert _texts(picture, "title") == [
        "draft (quorum 2; select rank, keep 2, asks a)",
        "refine (1 at once; residual by b)",
        "last",
        "aggregator (reduce vote, extract number)",
    ]
    assert _texts(picture, "name")[-1] == "vote"
    assert _texts(picture, "model")[-1] == "no model is asked"


def test_dashed_arrows_lead_to_the_aggregator_from_where_it_may_be_enough() -> None:
    assert mermaid(special()).splitlines()[-4:-2] == [
        '    layer1 -. "stop: judge b" .-> layer4',
        '    layer2 -. "stop: judge b" .-> layer4',
    ]
    picture = svg(special())
    assert picture.count('class="stop"') == 2
    assert _texts(picture, "stop-text") == ["stop: judge b"]
    late = special(stop={"by": "judge", "model": "b", "min_layers": 2})
    assert mermaid(late).count("-.") == 1
    assert svg(late).count('class="stop"') == 1


def test_the_dashed_arrows_stay_beside_the_frames_and_inside_the_picture() -> None:
    picture = ET.fromstring(svg(special()))
    frames = [each for each in picture.iter(f"{SVG}rect") if each.get("class") == "group"]
    edge = max(float(each.get("x", 0)) + float(each.get("width", 0)) for each in frames)
    line = next(each.get("d", "") for each in picture.iter(f"{SVG}path") if each.get("class") == "stop")
    bend = float(re.findall(r"H([\d.]+)", line)[0])
    assert edge < bend < float(picture.get("width", 0))


def test_retrieval_comes_before_the_layers_that_may_be_the_last() -> None:
    spec = special(retrievers={"docs": {"retriever": "host:d"}}, retrieve=["docs"])
    assert '    layer2 -. "stop: judge b" .-> layer5' in mermaid(spec).splitlines()


@pytest.mark.parametrize(
    ("stop", "words"),
    [
        ({"by": "no_change", "extract": "number"}, "stop: no change for 1 layer"),
        (
            {"by": "similarity", "threshold": 0.9, "min_layers": 2},
            "stop: similarity 0.9 or more#44; at least 2",
        ),
        ({"by": "residual"}, "stop: no residual for 1 layer"),
        ({"by": "agreement", "agree": 2, "extract": "number", "max_layers": 1}, "2 proposals agree"),
    ],
)
def test_a_stop_says_what_is_enough(stop: dict[str, Any], words: str) -> None:
    assert words.replace("#44;", ",") in mermaid(special(stop=stop)).replace("#44;", ",")


def test_agreement_ends_a_layer_and_its_title_says_so() -> None:
    refine = {"name": "refine", "proposers": ["a", "b"], "residual": {"model": "b"}, "concurrency": 1}
    spec = special(
        layers=[{"name": "draft", "proposers": ["a", "b"]}, refine, {"name": "last", "proposers": ["b"]}],
        stop={"by": "agreement", "agree": 2, "extract": "number", "min_layers": 2},
    )
    titles = _texts(svg(spec), "title")
    assert "agree" not in titles[0]
    assert titles[1] == "refine (until 2 agree; 1 at once; residual by b)"
    assert titles[2] == "last", "one alone cannot agree with anybody"


def test_an_aggregator_that_chooses_or_folds_says_so() -> None:
    layers = [
        {"proposers": ["a", "b"], "select": {"by": "cluster", "embeddings": "e"}},
        {"proposers": ["a"], "select": {"by": "vote", "extract": "choice"}},
    ]
    pick = special(layers=layers, stop=None, aggregator={"reduce": "pick", "model": "a", "fallbacks": ["b"]})
    assert _texts(svg(pick), "title") == [
        "layer-1 (select cluster, embeddings e)",
        "layer-2 (select vote, extract choice)",
        "aggregator (reduce pick)",
    ]
    assert _texts(svg(pick), "name")[-2:] == ["a", "fallback: b"]
    assert "stop" not in mermaid(pick)
    assert 'aggregator (window 2)"]' in mermaid(special(stop=None, aggregator={"model": "a", "window": 2}))


def test_a_frame_is_as_wide_as_its_title() -> None:
    picture = ET.fromstring(svg(special()))
    frames = [each for each in picture.iter(f"{SVG}rect") if each.get("class") == "group"]
    assert float(frames[-1].get("width", 0)) > 236  # that of a single box


def test_the_picture_of_a_vote_can_be_a_png() -> None:
    assert png(special()).startswith(b"\x89PNG")


def arrows(spec: MoASpec) -> list[str]:
    """Return Mermaid's arrows between the steps, without those of the question and of the answer."""
    lines = [line.strip() for line in mermaid(spec).splitlines()]
    return [line for line in lines if line.startswith("layer") and ("->" in line) and "answer" not in line]


def test_no_stop_is_drawn_where_there_can_be_none() -> None:
    assert arrows(special(stop={"by": "residual"})) == [
        "layer1 --> layer2",
        "layer2 --> layer3",
        "layer3 --> layer4",
        'layer2 -. "stop: no residual for 1 layer" .-> layer4',
    ]
    assert svg(special(stop={"by": "residual"})).count('class="stop"') == 1
    voted = special(stop={"by": "no_change", "extract": "number", "max_layers": 1})
    assert arrows(voted)[-1].startswith("layer1 -.")
    assert "layer2 -." not in mermaid(voted)


def reading(**references: dict[str, Any]) -> MoASpec:
    """Return a spec of three layers and an aggregator, of which these have references."""
    layers: list[dict[str, Any]] = [
        {"name": name, "proposers": ["a", "b"]} for name in ("draft", "review", "revise")
    ]
    for layer in layers[1:]:
        if layer["name"] in references:
            layer["references"] = references[layer["name"]]
    final = {"model": "a", "references": references.get("aggregator", {})}
    return special(layers=layers, stop=None, aggregator=final)


def test_svg_says_on_every_arrow_what_is_seen_as_mermaid_does() -> None:
    review = {"see": {"a": ["b"], "b": ["a"]}, "self": False}
    revise = {"from": [{"layer": "draft", "see": "own"}, {"layer": "review", "see": [["a"], ["b"]]}]}
    picture = svg(reading(review=review, revise=revise, aggregator={"from": ["draft"]}))
    assert _texts(picture, "sight") == ["by lists, not its own", "in groups", "then", "own"]
    assert _texts(svg(reading()), "sight") == []


def test_what_is_seen_of_farther_layers_stands_beside_their_own_part_of_the_line() -> None:
    far = [{"layer": "draft", "see": "own"}, {"layer": "review", "self": False}]
    layers = [{"name": name, "proposers": ["a", "b"]} for name in ("draft", "review", "revise", "last")]
    picture = ET.fromstring(
        svg(special(layers=[*layers[:3], {**layers[3], "references": {"from": far}}], stop=None))
    )
    words = [each for each in picture.iter(f"{SVG}text") if each.get("class") == "sight"]
    frames = [each for each in picture.iter(f"{SVG}rect") if each.get("class") == "group"]
    edge = min(float(each.get("x", 0)) for each in frames)
    tops = [float(each.get("y", 0)) for each in frames]
    assert [each.text for each in words] == ["then", "own", "not its own"]
    assert all(0 < float(each.get("x", 0)) < edge for each in words[1:])
    own, others = (float(each.get("y", 0)) for each in words[1:])
    assert tops[0] < own < tops[1] + 60 < others < tops[3] + 26


def test_a_long_stop_is_told_whole() -> None:
    stop = {"by": "similarity", "threshold": 0.9, "min_layers": 2, "max_layers": 2}
    picture = svg(special(stop=stop))
    lines = ["stop: similarity 0.9 or more", "at least 2 layers", "at most 2 layers"]
    assert _texts(picture, "stop-text") == lines[::-1], "the last one stands nearest to the line"
    tooltips = [element.text for element in ET.fromstring(picture).iter(f"{SVG}title")]
    assert ", ".join(lines) in tooltips
    width = float(ET.fromstring(picture).get("width", 0))
    places = [
        each.get("x", "")
        for each in ET.fromstring(picture).iter(f"{SVG}text")
        if each.get("class") == "stop-text"
    ]
    assert all(float(place) < width - 10 for place in places)


def test_an_arrow_leads_to_a_step_from_each_layer_that_it_really_sees() -> None:
    revise = {"from": [{"layer": "draft", "see": "own"}, {"layer": "review", "self": False}]}
    spec = reading(revise=revise, aggregator={"from": ["draft"]})
    assert arrows(spec) == [
        "layer1 --> layer2",
        'layer1 -- "own" --> layer3',
        'layer2 -- "not its own" --> layer3',
        'layer3 -. "then" .-> layer4',
        "layer1 --> layer4",
    ]


def test_who_sees_nothing_comes_then_and_who_sees_all_sees_each_layer() -> None:
    assert arrows(reading(review={"from": "none"}, aggregator={"from": "all"})) == [
        'layer1 -. "then" .-> layer2',
        "layer2 --> layer3",
        "layer1 --> layer4",
        "layer2 --> layer4",
        "layer3 --> layer4",
    ]


def test_titles_say_how_proposals_are_shown() -> None:
    shown = {
        "anonymous": False,
        "order": "shuffled",
        "max_chars": 90,
        "payload": "summary",
        "summarizer": "b",
        "instruction": "Criticise.",
    }
    titles = _texts(svg(reading(review=shown, aggregator={"anonymous": False})), "title")
    assert titles[1] == "review (shuffled; named; summaries by b; at most 90 characters; own instruction)"
    assert titles[3] == "aggregator (named)"


def test_arrows_from_farther_layers_stay_beside_the_frames_and_inside_the_picture() -> None:
    spec = reading(revise={"from": ["draft"]}, aggregator={"from": "all"})
    picture = ET.fromstring(svg(spec))
    edge = min(float(each.get("x", 0)) for each in picture.iter(f"{SVG}rect") if each.get("class") == "group")
    lines = [each for each in picture.iter(f"{SVG}path") if each.get("class") == "arrow"]
    bends = [float(found[0]) for each in lines if (found := re.findall(r" H([\d.]+) V", each.get("d", "")))]
    assert len(bends) == 3, "draft to revise, draft and review to the aggregator"
    assert all(0 < bend < edge for bend in bends)
    assert len(set(bends)) == 2, "one lane for each reader"
    dashed = [each for each in lines if "dasharray" in each.get("style", "")]
    assert len(dashed) == 1, "revise sees nothing of review"
