from __future__ import annotations

import csv
import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from moa_graph.errors import MoAError, ModelNotReady
from moa_graph.evaluation.datasets import Fields, Item, choose, question_digest, read_dataset


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(folder: Path, *values: Any) -> Path:
    return write(folder, "data.jsonl", "".join(json.dumps(value) + "\n" for value in values))


def asked(item: Item) -> list[list[tuple[str, Any]]]:
    return [[(message["role"], message["content"]) for message in turn] for turn in item.turns]


def test_jsonl_gives_items_with_id_question_and_gold(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "data.jsonl",
        '\ufeff{"id": "a", "question": "Why?\u2028So?", "gold": 72}\n\n'
        '{"id": 7, "question": "How?", "gold": null}\n',
    )
    dataset = read_dataset(path)
    first, second = dataset.items
    assert (first.id, first.gold, asked(first)) == ("a", ("72",), [[("user", "Why?\u2028So?")]])
    assert (second.id, second.gold) == (7, ())
    assert (dataset.name, dataset.file) == ("data", str(path))


def test_a_json_list_is_read_as_well(tmp_path: Path) -> None:
    path = write(tmp_path, "alpaca.json", json.dumps([{"instruction": "Say hello.", "dataset": "koala"}]))
    (item,) = read_dataset(path).items
    assert (item.id, item.asked, item.row["dataset"]) == (1, "instruction", "koala")


def test_csv_with_quotes_and_line_breaks(tmp_path: Path) -> None:
    path = write(tmp_path, "data.csv", 'question,answer\r\n"One,\ntwo?",2\r\n\r\nThree?,\r\n')
    first, second = read_dataset(path).items
    assert asked(first) == [[("user", "One,\ntwo?")]]
    assert (first.gold, second.gold) == (("2",), ())


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "data.parquet"
    table = {"question_id": [81], "turns": [["One?", "Two?"]], "gold": [0.5]}
    parquet.write_table(pyarrow.table(table), path)
    (item,) = read_dataset(path).items
    assert (item.id, item.gold) == (81, ("0.5",))
    assert asked(item) == [[("user", "One?")], [("user", "Two?")]]
    with pytest.raises(MoAError, match=r"bad\.parquet: not a Parquet file"):
        read_dataset(write(tmp_path, "bad.parquet", "no"))
    with pytest.raises(MoAError, match=r"none\.parquet: cannot be read: No such file"):
        read_dataset(tmp_path / "none.parquet")


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModelNotReady, match=r"pip install 'moa-graph\[eval\]'"):
        read_dataset(write(tmp_path, "data.parquet", "x"))


def test_a_conversation_is_one_turn(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello", "name": "left out"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": [{"type": "text", "text": "Why?"}]},
    ]
    (item,) = read_dataset(rows(tmp_path, {"messages": messages})).items
    assert asked(item) == [
        [
            ("system", "Be brief."),
            ("user", "Hello"),
            ("assistant", "Hi"),
            ("user", [{"type": "text", "text": "Why?"}]),
        ]
    ]


@pytest.mark.parametrize(
    ("context", "expected"),
    [("Moss.", "Moss.\n\nWhy?"), (["Moss. ", "", "Fern."], "Moss.\n\nFern.\n\nWhy?"), (None, "Why?")],
)
def test_a_context_goes_before_the_question_of_the_first_turn(
    tmp_path: Path, context: Any, expected: str
) -> None:
    (item,) = read_dataset(rows(tmp_path, {"turns": ["Why?", "How?"], "context": context})).items
    assert asked(item) == [[("user", expected)], [("user", "How?")]]


def test_the_fields_can_be_named(tmp_path: Path) -> None:
    path = rows(tmp_path, {"id": "x", "q": "Why?", "question": "no", "right": ["2", 3, None], "number": 5})
    (item,) = read_dataset(path, Fields("q", "right", "number")).items
    assert (item.id, item.gold, asked(item), item.asked) == (5, ("2", "3"), [[("user", "Why?")]], "q")


TEXT = "neither a text nor a list"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"q": "Why?"}, "it has no field 'question', but 'gold', 'id', 'q'"),
        ({"question": 3}, f"the question is {TEXT}"),
        ({"question": []}, f"the question is {TEXT}"),
        ({"question": " "}, "the question is blank"),
        ({"question": ["Why?", ""]}, "the question is blank"),
        ({"question": [{"role": "user", "content": "a"}, "b"]}, "message 2 has no role of assistant, system"),
        ({"question": [{"role": "tool", "content": "a"}]}, "message 1 has no role"),
        ({"question": [{"role": "user", "content": " "}]}, "message 1 has no content"),
        ({"question": [{"role": "user"}]}, "message 1 has no content"),
        (
            {"question": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            "the last message is not the user's",
        ),
        ({"question": "a", "context": 3}, f"the context is {TEXT}"),
        (
            {"question": [{"role": "user", "content": [{"type": "text", "text": "a"}]}], "context": "b"},
            "a context goes before a question that is a text",
        ),
        ({"question": "a", "gold": {"b": 1}}, "the gold answer is neither"),
        ({"question": "a", "gold": "1", "id": 1.5}, "its id is neither a text nor a whole number"),
        ({"question": "a", "gold": "1", "id": True}, "its id is neither"),
        ({"question": "a", "gold": "1", "id": " "}, "its id is neither"),
        ({"question": "a", "gold": "1", "id": "0"}, r"the id '0' is that of .*data\.jsonl:1, too"),
    ],
)
def test_a_fault_is_told_with_its_place(tmp_path: Path, row: dict[str, Any], problem: str) -> None:
    path = rows(tmp_path, {"question": "a", "gold": "1", "id": 0}, {"gold": "1", "id": 2, **row})
    with pytest.raises(MoAError, match=rf"data\.jsonl:2: .*{problem}") as caught:
        read_dataset(path)
    assert caught.value.hint == "Nothing was asked."


def test_all_faults_are_told_at_once_but_not_more_than_anybody_reads(tmp_path: Path) -> None:
    with pytest.raises(MoAError) as caught:
        read_dataset(rows(tmp_path, {"question": "a"}, *[{"q": 1}] * 25))
    lines = caught.value.message.splitlines()
    assert len(lines) == 21
    assert lines[0].startswith(f"{tmp_path / 'data.jsonl'}:2: ")
    assert lines[-1] == "… and 5 more"


def test_a_line_that_is_broken_hides_no_other_fault(tmp_path: Path) -> None:
    lines = ['{"id": 1, "question": "a"}', '{"id": 2, "question": ""}', '{"id', '{"id": 1, "question": "b"}']
    with pytest.raises(MoAError) as caught:
        read_dataset(write(tmp_path, "data.jsonl", "\n".join(lines)))
    told = [line.removeprefix(f"{tmp_path}/") for line in caught.value.message.splitlines()]
    assert [line.partition(": ")[0] for line in told] == ["data.jsonl:2", "data.jsonl:3", "data.jsonl:4"]
    assert "the question is blank" in told[0]
    assert "not JSON" in told[1]


def test_all_lines_of_a_csv_that_are_broken_are_told(tmp_path: Path) -> None:
    content = 'id,question\n1,"a"b\n2,"x\ny"\n3,"c"d\n4\n5,"open\n'
    with pytest.raises(MoAError) as caught:
        read_dataset(write(tmp_path, "data.csv", content))
    places = [line.partition(": ")[0] for line in caught.value.message.splitlines()]
    assert places == [f"{tmp_path}/data.csv:{number}" for number in (2, 5, 6, 7)]


def test_a_cell_may_be_long_and_other_readers_keep_their_limit(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    (item,) = read_dataset(write(tmp_path, "data.csv", f"question\n{'x' * 200_000}\n")).items
    assert asked(item) == [[("user", "x" * 200_000)]]
    assert csv.field_size_limit() == limit


def test_a_field_that_only_a_later_row_has_is_not_passed_over(tmp_path: Path) -> None:
    path = rows(tmp_path, {"question": "a"}, {"question": "b", "gold": "1", "id": 5})
    with pytest.raises(MoAError, match=r"data\.jsonl:1: it has no field 'gold', but 'question'"):
        read_dataset(path)
    first = rows(tmp_path, {"id": 1, "prompt": "a"}, {"id": 2, "prompt": "b", "question": "no"})
    assert [item.asked for item in read_dataset(first).items] == ["prompt", "prompt"]


def test_what_parquet_holds_beside_json_is_no_message(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "data.parquet"
    content = [{"type": "text", "when": dt.date(2026, 1, 1)}]
    parquet.write_table(pyarrow.table({"messages": [[{"role": "user", "content": content}]]}), path)
    with pytest.raises(MoAError, match="row 1: message 1 has content that is not JSON"):
        read_dataset(path)


def test_a_row_without_fields_is_told(tmp_path: Path) -> None:
    with pytest.raises(MoAError, match="no field 'question', but none at all"):
        read_dataset(rows(tmp_path, {"question": "a"}, {}))


def test_a_question_that_nobody_named_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(MoAError, match="known to be the question") as caught:
        read_dataset(rows(tmp_path, {"frage": "Warum?", "gold": "b"}))
    assert caught.value.hint == "Say which one is: --question FIELD. It has: frage, gold."


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.jsonl", '{"question": "a"}\nno\n', r"a\.jsonl:2: not JSON: Expecting value \(column 1\)"),
        ("a.jsonl", '{"question": "a"}\n[1]\n', r"a\.jsonl:2: not a JSON object"),
        ("a.jsonl", '{"gold": 1%s}' % ("0" * 5000), r"a\.jsonl:1: .*more digits than can be read"),
        ("a.json", '[{"gold": 1%s}]' % ("0" * 5000), r"a\.json: .*more digits than can be read"),
        ("a.jsonl", "no\n", r"a\.jsonl:1: not JSON"),
        ("a.jsonl", "[" * 100_000, r"a\.jsonl:1: nested too deeply"),
        ("a.jsonl", b'{"question": "a"}\n"\xff"\n', r"a\.jsonl:2: not UTF-8 text"),
        ("a.jsonl", "\n", r"a\.jsonl: there are no rows"),
        ("a.json", '[{"question": "a"},\n no]', r"a\.json:2: not JSON"),
        ("a.json", '{"question": "a"}', r"a\.json: not a list of JSON objects"),
        ("a.json", '[{"question": "a"}, 3]', r"a\.json: item 2: not a JSON object"),
        ("a.json", "[" * 100_000, r"a\.json: nested too deeply"),
        ("a.csv", "question,gold\na\n", r"a\.csv:2: 1 cells, but there are 2 columns"),
        ("a.csv", 'question,gold\n"x\ny",1\nb,c,d\n', r"a\.csv:4: 3 cells"),
        ("a.csv", "question,question\na,b\n", r"a\.csv:1: the first line must name every column"),
        ("a.csv", "question,\na,b\n", r"a\.csv:1: the first line must name every column"),
        ("a.csv", 'question\n"a"b\n', r"a\.csv:2: "),
        ("a.txt", "Why?", r"a\.txt: its suffix does not say what it is"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(
    tmp_path: Path, name: str, content: str | bytes, problem: str
) -> None:
    with pytest.raises(MoAError, match=problem):
        read_dataset(write(tmp_path, name, content))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MoAError, match=r"none\.jsonl: cannot be read: No such file"):
        read_dataset(tmp_path / "none.jsonl")


def test_the_digest_is_of_what_is_asked_and_not_of_the_answers(tmp_path: Path) -> None:
    row = {"id": 1, "question": "a", "gold": "1"}
    digest = read_dataset(rows(tmp_path, row)).digest
    assert read_dataset(rows(tmp_path, {**row, "gold": "2", "note": "x"})).digest == digest
    others = [{**row, "question": "b"}, {**row, "id": 2}, {**row, "id": "1"}, {**row, "context": "c"}]
    assert digest not in {read_dataset(rows(tmp_path, other)).digest for other in others}
    assert question_digest(Item(1, ())) == question_digest(Item(2, (), ("gold",)))


def test_the_order_of_the_rows_is_no_part_of_the_digest(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"id": 1, "question": "a"},
        {"id": "b", "question": "b"},
        {"id": 3, "question": "c"},
    ]
    dataset = read_dataset(rows(tmp_path, *lines))
    other = read_dataset(rows(tmp_path, *lines[::-1]))
    assert other.digest == dataset.digest
    assert [item.id for item in other.items] == [3, "b", 1]
    swapped = [{**lines[0], "question": "b"}, {**lines[1], "question": "a"}, lines[2]]
    assert read_dataset(rows(tmp_path, *swapped)).digest != dataset.digest


def items(count: int) -> list[Item]:
    return [Item(n, (({"role": "user", "content": str(n)},),)) for n in range(count)]


def test_a_sample_is_drawn_by_the_seed_keeps_the_order_and_grows() -> None:
    small, large = choose(items(50), sample=10), choose(items(50), sample=20)
    ids = [item.id for item in small]
    assert len(ids) == 10
    assert ids == sorted(ids, key=int)
    assert set(ids) < {item.id for item in large}
    assert ids == [item.id for item in choose(items(50), sample=10)]
    assert ids != [item.id for item in choose(items(50), sample=10, seed=1)]
    assert ids != list(range(10))
    assert len(choose(items(3), sample=10)) == 3


def test_half_a_character_in_an_id_can_be_drawn_as_well() -> None:
    odd = [Item("\ud800", ()), Item("b", ())]
    assert choose(odd, sample=2) == odd


def test_a_limit_takes_the_first() -> None:
    assert [item.id for item in choose(items(5), limit=2)] == [0, 1]
    assert len(choose(items(5))) == 5
