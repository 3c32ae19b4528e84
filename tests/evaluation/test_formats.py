from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from moa_graph.errors import MoAError
from moa_graph.evaluation.datasets import Item
from moa_graph.evaluation.formats import check_items, file_of, write_outputs

ASKED = ({"role": "user", "content": "Why?"},)


def record(answer: str | None = "Because.", **fields: Any) -> dict[str, Any]:
    status = "answered" if answer is not None else "failed"
    return {"status": status, "answer": answer, "turns": None, "thread": "run/1-abc", **fields}


def outputs(form: Any, items: list[Item], records: dict[int, dict[str, Any]]) -> str:
    return write_outputs(items, records, form, generator="moa", dataset="mine")


def test_alpaca_eval_gets_a_list_of_what_was_asked_and_answered() -> None:
    rows = [{"instruction": "Why?", "context": "Moss.", "dataset": "koala"}, {"instruction": "How? é"}]
    items = [Item(n, (ASKED,), row=row, asked="instruction") for n, row in enumerate(rows, 1)]
    check_items(items, "alpaca_eval")
    assert json.loads(outputs("alpaca_eval", items, {0: record(), 1: record("So.")})) == [
        {"instruction": "Why?", "output": "Because.", "generator": "moa", "dataset": "koala"},
        {"instruction": "How? é", "output": "So.", "generator": "moa", "dataset": "mine"},
    ]
    assert file_of("alpaca_eval", "moa") == "alpaca_eval/moa.json"


def test_half_a_character_and_a_date_are_written_so_that_a_judge_can_read_them() -> None:
    row = {"instruction": "Half \ud800?", "dataset": dt.date(2026, 1, 2)}
    text = outputs("alpaca_eval", [Item(1, (ASKED,), row=row, asked="instruction")], {0: record("é \udfff")})
    (line,) = json.loads(text.encode("utf-8"))
    assert (line["instruction"], line["output"]) == ("Half \ud800?", "é \udfff")
    assert line["dataset"] == "2026-01-02"
    assert "é" in text


def test_mt_bench_gets_both_turns_of_each_question() -> None:
    item = Item(81, (ASKED, ASKED))
    check_items([item], "mt_bench")
    text = outputs("mt_bench", [item], {0: record("b", turns=["a", "b"])})
    assert text.count("\n") == 1
    line = json.loads(text)
    assert isinstance(line.pop("tstamp"), float)
    assert line == {
        "question_id": 81,
        "answer_id": "run/1-abc",
        "model_id": "moa",
        "choices": [{"index": 0, "turns": ["a", "b"]}],
    }
    assert file_of("mt_bench", "moa") == "mt_bench/moa.jsonl"


def test_flask_gets_a_line_for_each_question() -> None:
    items = [Item(1, (ASKED,), row={"question": "Why?"}), Item("2", (ASKED,), row={"question": "Why?"})]
    check_items(items, "flask")
    lines = outputs("flask", items, {0: record(), 1: record("So.")}).splitlines()
    assert [json.loads(line) for line in lines] == [
        {"question_id": 1, "text": "Because.", "model_id": "moa"},
        {"question_id": 2, "text": "So.", "model_id": "moa"},
    ]


@pytest.mark.parametrize("form", ["alpaca_eval", "flask"])
def test_nothing_stands_in_for_an_answer_that_is_not_there(form: str) -> None:
    items = [Item(n, (ASKED,), row={"question": "Why?"}) for n in (1, 2, 3)]
    text = outputs(form, items, {0: record(None), 2: record("Third.")})
    assert text.count("Third.") == 1
    assert text.count("moa") == 1


@pytest.mark.parametrize(
    ("form", "item", "problem"),
    [
        ("alpaca_eval", Item(1, (ASKED,), row={"question": ["a", "b"]}), "its question is not one text"),
        ("mt_bench", Item(1, (ASKED,)), "it has not 2 turns"),
        ("mt_bench", Item("q", (ASKED, ASKED)), "its id is not a whole number"),
        ("flask", Item("q", (ASKED,), row={"question": "Why?"}), "its id is not a whole number"),
        ("flask", Item(1, (ASKED, ASKED), row={"question": ["a", "b"]}), "its question is not one text"),
        ("flask", Item(1, (ASKED,), row={"question": [ASKED[0]]}), "its question is not one text"),
    ],
)
def test_items_that_a_judge_could_not_use_are_refused_before_anything_is_asked(
    form: Any, item: Item, problem: str
) -> None:
    with pytest.raises(MoAError, match=f"does not suit {form}: {problem}"):
        check_items([item], form)
