"""A spec inside a spec: from a file or inline, a part of the whole, and no way to foreign files."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from moa_graph.errors import Fault, SpecError
from moa_graph.spec import MoASpec, dump_spec, load_spec, parse_spec, spec_hash

INNER = "moa: 1\nname: inner\nmodels: {x: {model: openai:m}}\naggregator: {model: x}\n"
OUTER = """\
moa: 1
name: outer
models: {{a: {{model: openai:m}}}}
layers:
  - proposers: [{}]
aggregator: {{model: a}}
"""


def outer(*proposers: str) -> str:
    return OUTER.format(", ".join(proposers))


def naming(file: str) -> str:
    return outer(f"{{spec: '{file}'}}")


def inline(text: str) -> str:
    """Write a spec in flow style, to stand inside another one."""
    return str(load_spec_data(text)).replace("'", '"').replace("None", "null")


def load_spec_data(text: str) -> dict[str, Any]:
    data: dict[str, Any] = parse_spec(text).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return data


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def faults_of(source: Any) -> tuple[Fault, ...]:
    with pytest.raises(SpecError) as caught:
        load_spec(source)
    return caught.value.faults


def nested(spec: MoASpec, index: int = 0) -> MoASpec:
    found = spec.layers[0].proposers[index].spec
    assert found is not None
    return found


def test_a_file_is_found_from_the_folder_of_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, outer=naming("sub/middle.yaml"), inner=INNER)
    write(tmp_path / "sub", middle=naming("../inner.yaml").replace("outer", "middle"))
    spec = load_spec(tmp_path / "outer.yaml")
    assert nested(nested(spec)).name == "inner"
    [layer] = spec.layers
    assert [member.id for member in spec.members(layer)] == ["middle"]
    assert spec.requested(spec.members(layer)[0]) == "spec:middle"


def test_for_a_text_and_a_dict_a_file_is_found_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, inner=INNER)
    monkeypatch.chdir(tmp_path)
    spec = parse_spec(naming("inner.yaml"))
    assert nested(spec).name == "inner"
    data = load_spec_data(outer("a")) | {"layers": [{"proposers": [{"spec": "inner.yaml"}]}]}
    assert load_spec(data) == spec


def test_the_text_of_a_real_file_finds_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, outer="", inner=INNER)
    spec = parse_spec(naming("inner.yaml"), file=str(tmp_path / "outer.yaml"))
    assert nested(spec).name == "inner"


def test_a_spec_with_files_is_self_contained(tmp_path: Path) -> None:
    write(tmp_path, outer=naming("inner.yaml"), inner=INNER)
    spec = load_spec(tmp_path / "outer.yaml")
    assert spec == parse_spec(outer(f"{{spec: {inline(INNER)}}}"), files=False)
    assert parse_spec(dump_spec(spec), files=False) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_the_hash_covers_what_is_inside(tmp_path: Path) -> None:
    write(tmp_path, outer=naming("inner.yaml"), inner=INNER)
    before = spec_hash(load_spec(tmp_path / "outer.yaml"))
    write(tmp_path, inner=INNER.replace("openai:m", "openai:n"))
    assert spec_hash(load_spec(tmp_path / "outer.yaml")) != before


def test_faults_of_a_file_are_said_with_its_own_name_and_places(tmp_path: Path) -> None:
    write(tmp_path, outer=naming("inner.yaml") + "oops: 1\n", inner=INNER.replace("model: x}", "model: y}"))
    first, second = faults_of(tmp_path / "outer.yaml")
    assert (first.file, first.line, first.path) == (str(tmp_path / "outer.yaml"), 7, "oops")
    assert (second.file, second.line, second.column) == (str(tmp_path / "inner.yaml"), 4, 21)
    assert (second.path, second.message) == ("aggregator.model", 'there is no slot "y" under `models`')


def test_faults_of_an_inline_spec_have_the_outer_files_places() -> None:
    text = outer(
        "a", "{spec: {moa: 1, name: i, models: {x: {model: opena:m, parms: 1}}, aggregator: {model: y}}}"
    )
    with pytest.raises(SpecError) as caught:
        parse_spec(text, file="s.yaml")
    at = "layers[0].proposers[1].spec"
    assert [(fault.line, fault.path, fault.suggestion) for fault in caught.value.faults] == [
        (5, f"{at}.models.x.model", 'did you mean "openai"?'),
        (5, f"{at}.models.x.parms", 'did you mean "params"?'),
        (5, f"{at}.aggregator.model", ""),
    ]


def test_params_and_versions_are_judged_inside_as_outside() -> None:
    inner = "moa: 2, name: i, models: {x: {model: embedded:extractive, params: {ranker: bm26}}}"
    with pytest.raises(SpecError) as caught:
        parse_spec(outer(f"{{spec: {{{inner}, aggregator: {{model: x}}}}}}"))
    version, ranker = caught.value.faults
    assert "expected 1, its only version" in str(version)
    assert ranker.suggestion == 'did you mean "bm25"?'


def test_two_proposers_of_one_spec_need_ids(tmp_path: Path) -> None:
    write(tmp_path, outer=outer("{spec: inner.yaml}", "{spec: ./inner.yaml}"), inner=INNER)
    [fault] = faults_of(tmp_path / "outer.yaml")
    assert fault.message == '"inner" is the id of proposers[0] already'
    write(tmp_path, outer=outer("{spec: inner.yaml}", "{spec: inner.yaml, id: other}"))
    spec = load_spec(tmp_path / "outer.yaml")
    assert nested(spec, 0) is nested(spec, 1)


@pytest.mark.parametrize("inside", [False, True])
def test_a_circle_is_refused_with_the_files_in_it(tmp_path: Path, *, inside: bool) -> None:
    back = naming("outer.yaml")
    write(
        tmp_path, outer=naming("inner.yaml"), inner=outer(f"{{spec: {{{_flow(back)}}}}}") if inside else back
    )
    [fault] = faults_of(tmp_path / "outer.yaml")
    assert fault.message.startswith("a circle of files: ")
    assert [Path(name).name for name in fault.message.partition(": ")[2].split(" → ")] == [
        "outer.yaml",
        "inner.yaml",
        "outer.yaml",
    ]


def _flow(text: str) -> str:
    return "moa: 1, name: flow, models: {a: {model: openai:m}}, aggregator: {model: a}, " + (
        "layers: [{proposers: [" + text.partition("[")[2].partition("]")[0] + "]}]"
    )


def test_a_file_that_names_itself_by_a_link_is_a_circle(tmp_path: Path) -> None:
    write(tmp_path, outer=naming("link.yaml"))
    (tmp_path / "link.yaml").symlink_to(tmp_path / "outer.yaml")
    [fault] = faults_of(tmp_path / "outer.yaml")
    assert "a circle of files" in fault.message


def test_a_link_to_a_spec_is_fine(tmp_path: Path) -> None:
    write(tmp_path, outer=naming("link.yaml"), inner=INNER)
    (tmp_path / "link.yaml").symlink_to(tmp_path / "inner.yaml")
    assert nested(load_spec(tmp_path / "outer.yaml")).name == "inner"


def test_three_specs_stand_inside_each_other_and_no_more(tmp_path: Path) -> None:
    write(tmp_path, a=naming("b.yaml"), b=naming("c.yaml"), c=naming("d.yaml"), d=INNER)
    assert load_spec(tmp_path / "b.yaml").name == "outer"
    [fault] = faults_of(tmp_path / "a.yaml")
    assert (fault.file, fault.message) == (str(tmp_path / "c.yaml"), "more than 3 specs inside each other")


def test_a_file_that_was_read_for_a_shallow_place_is_too_deep_in_a_deep_one(tmp_path: Path) -> None:
    write(tmp_path, a=outer("{spec: c.yaml, id: x}", "{spec: b.yaml}"), b=naming("c.yaml"))
    write(tmp_path, c=naming("d.yaml"), d=INNER)
    [fault] = faults_of(tmp_path / "a.yaml")
    assert (fault.file, fault.message) == (str(tmp_path / "b.yaml"), "more than 3 specs inside each other")


def test_inline_specs_are_no_deeper_than_files() -> None:
    deep = "{spec: {moa: 1, name: d, models: {a: {model: openai:m}}, aggregator: {model: a}"
    closing = ", layers: [{proposers: ["
    three = outer(deep + closing + deep + "}}]}]}}")
    assert nested(nested(parse_spec(three))).name == "d"
    four = outer(deep + closing + deep + closing + deep + "}}]}]}}]}]}}")
    with pytest.raises(SpecError, match="more than 3 specs inside each other") as caught:
        parse_spec(four)
    assert len(caught.value.faults) == 1


# -- what a file may be ------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_is_a_fault_where_it_is_named(tmp_path: Path) -> None:
    write(tmp_path, outer=outer("{spec: missing.yaml}", "{spec: ., id: y}", f"{{spec: {'x' * 300}, id: z}}"))
    faults = faults_of(tmp_path / "outer.yaml")
    assert [fault.path for fault in faults] == [f"layers[0].proposers[{index}].spec" for index in range(3)]
    assert '"missing.yaml" cannot be read: No such file or directory' in faults[0].message
    assert faults[1].message.endswith("cannot be read: not a file")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    write(tmp_path, outer=naming("pipe"))
    os.mkfifo(tmp_path / "pipe")
    [fault] = faults_of(tmp_path / "outer.yaml")
    assert "not a file" in fault.message


@pytest.mark.parametrize(
    "content",
    ["root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1\n", "password: hunter2\nhunter3: x\n",
     "hunter4: 1\nhunter4: 2\n\tx", "*hunter5", "- hunter6", "!hunter7 [",
     "hunter8: &hunter9 1\nhunter8: 1\nx: [", "", "\0hunter"],
)  # fmt: skip
def test_a_file_that_is_no_spec_is_not_quoted(tmp_path: Path, content: str) -> None:
    write(tmp_path, outer=naming("secret.yaml"), secret=content)
    [fault] = faults_of(tmp_path / "outer.yaml")
    assert fault.file == str(tmp_path / "secret.yaml")
    assert "hunter" not in str(fault)
    assert "root" not in fault.message


def test_a_text_from_elsewhere_names_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, inner=INNER)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match="a spec from elsewhere cannot name a file"):
        parse_spec(naming("inner.yaml"), files=False)


def test_a_key_is_not_taken_for_a_file_and_not_repeated() -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(naming("sk-ant-0123456789abcdef0123"))
    [fault] = caught.value.faults
    assert "sk-ant" not in str(fault)


def test_the_whole_is_held_to_the_limits_of_one_file(tmp_path: Path) -> None:
    large = INNER + "description: " + "x" * 100_000 + "\n"
    two = ["{spec: inner.yaml, id: p1}", "{spec: inner.yaml, id: p2}"]
    write(tmp_path, outer=outer(*two), inner=large)
    assert load_spec(tmp_path / "outer.yaml").name == "outer"
    write(tmp_path, outer=outer(*two, "{spec: inner.yaml, id: p3}"))
    [fault] = faults_of(tmp_path / "outer.yaml")
    assert fault.path == "layers[0].proposers[2].spec"
    assert "too large with the specs inside it; expected up to 256 kB, 10000 entries" in str(fault)


def test_many_entries_inside_count_as_if_they_stood_inline(tmp_path: Path) -> None:
    slots = "".join(f"  s{number}: {{model: openai:m}}\n" for number in range(1500))
    wide = INNER.replace("models: {x: {model: openai:m}}\n", "models:\n  x: {model: openai:m}\n" + slots)
    write(tmp_path, outer=outer("{spec: a.yaml, id: x}", "{spec: b.yaml, id: y}"), a=wide, b=wide)
    [fault] = faults_of(tmp_path / "outer.yaml")
    assert "more than 10000 entries" in str(fault)
    write(tmp_path, outer=outer(*(f"{{spec: a.yaml, id: x{number}}}" for number in range(3))))
    [fault] = faults_of(tmp_path / "outer.yaml")
    assert "too large" in fault.message


def test_levels_inside_count_as_if_they_stood_inline(tmp_path: Path) -> None:
    params = "[" * 27 + "]" * 27
    write(
        tmp_path,
        outer=naming("inner.yaml"),
        inner=INNER.replace("openai:m}", f"openai:m, params: {{y: {params}}}}}"),
    )
    assert load_spec(tmp_path / "inner.yaml").name == "inner"
    [fault] = faults_of(tmp_path / "outer.yaml")
    assert "32 levels" in str(fault)


def test_files_are_not_opened_without_end(tmp_path: Path) -> None:
    for number in range(101):
        write(tmp_path, **{f"i{number}": INNER})
    names = (f"{{spec: i{number}.yaml, id: x{number}}}" for number in range(101))
    write(tmp_path, outer=outer(*names))
    [fault] = faults_of(tmp_path / "outer.yaml")
    assert fault.path == "layers[0].proposers[100].spec"
    assert "100 files" in fault.expected


def test_a_file_too_large_inside_is_said_once_wherever_it_stands(tmp_path: Path) -> None:
    large = INNER + "description: " + "x" * 250_000 + "\n"
    write(tmp_path, outer=outer("{spec: b.yaml, id: x}", "{spec: inner.yaml}", "a"), inner=large)
    write(tmp_path, b=outer("{spec: inner.yaml, id: y}", "{spec: inner.yaml, id: z}"))
    [fault] = faults_of(tmp_path / "outer.yaml")
    assert fault.file == str(tmp_path / "b.yaml")


# -- limits ------------------------------------------------------------------------------------------------


def test_a_cost_limit_needs_the_prices_of_the_specs_inside(tmp_path: Path) -> None:
    limited = naming("inner.yaml").replace("openai:m", "embedded:extractive") + "limits: {max_cost: 1}\n"
    write(tmp_path, outer=limited, inner=INNER)
    [fault] = faults_of(tmp_path / "outer.yaml")
    assert (fault.file, fault.path) == (str(tmp_path / "inner.yaml"), "models.x.price")
    assert (
        fault.message
        == f"`limits.max_cost` of {tmp_path / 'outer.yaml'} needs the price of every slot in use"
    )
    write(tmp_path, inner=INNER.replace("openai:m", "openai:m, price: {input: 1, output: 1}"))
    assert load_spec(tmp_path / "outer.yaml").limits.max_cost == 1


def test_a_cost_limit_needs_the_prices_of_inline_specs() -> None:
    text = outer(f"{{spec: {inline(INNER)}}}").replace(
        "{a: {model: openai:m}}", "{a: {model: embedded:extractive}}"
    )
    with pytest.raises(SpecError) as caught:
        parse_spec(text + "limits: {max_cost: 1}\n")
    [fault] = caught.value.faults
    assert fault.path == "layers[0].proposers[0].spec.models.x.price"
    assert "of the spec round it" in fault.message


def test_the_calls_of_a_spec_inside_count(tmp_path: Path) -> None:
    write(tmp_path, inner=outer("a", "{runnable: r}").replace("[a,", "[a, {model: a, id: a2},"))
    text = naming("inner.yaml")
    write(tmp_path, outer=text + "limits: {max_calls: 2}\n")
    [fault] = faults_of(tmp_path / "outer.yaml")
    assert fault.expected == "at least 3"
    write(tmp_path, outer=text.replace("[{", "[a, {") + "limits: {max_calls: 2}\n")
    assert load_spec(tmp_path / "outer.yaml").limits.max_calls == 2


def test_a_spec_inside_may_have_a_system_text_and_no_sampling_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, inner=INNER, outer=outer("{spec: inner.yaml, system: Be brief.}"))
    assert load_spec(tmp_path / "outer.yaml").layers[0].proposers[0].system == "Be brief."
    write(tmp_path, outer=outer("{spec: inner.yaml, max_tokens: 9}"))
    [fault] = faults_of(tmp_path / "outer.yaml")
    assert fault.expected == "`max_tokens` in that spec instead"
