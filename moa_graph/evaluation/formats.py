"""The files that published judges expect: what was answered, in their words.

Sources: AlpacaEval's `model_outputs` (github.com/tatsu-lab/alpaca_eval, README.md and example/outputs.json);
MT-Bench's `model_answer` (github.com/lm-sys/FastChat, fastchat/llm_judge/gen_model_answer.py and common.py);
FLASK's answer files (github.com/kaistAI/FLASK, gpt_review/gpt4_eval.py and model_output/outputs/).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from moa_graph.errors import MoAError
from moa_graph.evaluation.datasets import Item

__all__ = ["FORMATS", "Format", "check_items", "file_of", "write_outputs"]

Format = Literal["alpaca_eval", "mt_bench", "flask"]
FORMATS: tuple[Format, ...] = get_args(Format)

_TURNS = 2
"""Of a question of MT-Bench; its judge reads the answers to both."""


def file_of(form: Format, generator: str) -> str:
    """Return the file's name; FastChat takes a model's name from that of its file."""
    return f"{form}/{generator}.{'json' if form == 'alpaca_eval' else 'jsonl'}"


def check_items(items: Sequence[Item], form: Format) -> None:
    """Raise MoAError, before anything is asked, for items that the judge of a format could not use."""
    for item in items:
        if problem := _problem(item, form):
            raise MoAError(f"item {item.id!r} does not suit {form}: {problem}", hint="Nothing was asked.")


def write_outputs(
    items: Sequence[Item],
    records: Mapping[int, Mapping[str, Any]],
    form: Format,
    *,
    generator: str,
    dataset: str,
) -> str:
    """Return the text of an outputs file; items without an answer are left out, nothing stands in for them.

    `records` are by an item's place, `generator` is what the judge calls the model, `dataset` what it calls
    items that do not say where they are from.
    """
    answered = [
        (item, records[place])
        for place, item in enumerate(items)
        if place in records and records[place]["status"] == "answered"
    ]
    match form:
        case "alpaca_eval":
            rows = [_alpaca(item, record, generator, dataset) for item, record in answered]
            return _json(rows, indent=2)
        case "mt_bench":
            lines = [_mt_bench(item, record, generator) for item, record in answered]
        case "flask":
            lines = [_flask(item, record, generator) for item, record in answered]
    return "".join(map(_json, lines))


_SURROGATE = re.compile("[\ud800-\udfff]")


def _json(value: Any, indent: int | None = None) -> str:
    text = json.dumps(value, indent=indent, ensure_ascii=False) + "\n"
    # Half of a character is no UTF-8; as an escape it says the same.
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _problem(item: Item, form: Format) -> str:
    match form:
        case "alpaca_eval" if not isinstance(item.row.get(item.asked), str):
            return "its question is not one text"
        case "mt_bench" if len(item.turns) != _TURNS:
            return f"it has not {_TURNS} turns"
        case "flask" if len(item.turns) != 1 or not isinstance(item.row.get(item.asked), str):
            return "its question is not one text"  # the judge shows one question beside one answer
        case "mt_bench" | "flask" if isinstance(item.id, str) and not item.id.isdecimal():
            return "its id is not a whole number"
    return ""


def _alpaca(item: Item, record: Mapping[str, Any], generator: str, dataset: str) -> dict[str, Any]:
    # The judge matches instructions with those of the reference: as the file has them, without a context.
    return {
        "instruction": item.row[item.asked],
        "output": record["answer"],
        "generator": generator,
        "dataset": str(item.row.get("dataset") or dataset),
    }


def _mt_bench(item: Item, record: Mapping[str, Any], generator: str) -> dict[str, Any]:
    return {
        "question_id": int(item.id),
        "answer_id": record["thread"],
        "model_id": generator,
        "choices": [{"index": 0, "turns": record["turns"]}],
        "tstamp": time.time(),
    }


def _flask(item: Item, record: Mapping[str, Any], generator: str) -> dict[str, Any]:
    return {"question_id": int(item.id), "text": record["answer"], "model_id": generator}
