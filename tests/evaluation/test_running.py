from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from moa_graph.errors import (
    AggregatorFailed,
    BudgetExceeded,
    MoAError,
    ModelNotReady,
    QuorumNotMet,
    RunError,
    SpecMismatch,
    StoreError,
    ThreadBusy,
)
from moa_graph.evaluation.ceiling import Ceiling
from moa_graph.evaluation.datasets import Item, choose
from moa_graph.evaluation.evaluate import evaluate, summary_json, summary_of
from moa_graph.evaluation.folder import Folder
from moa_graph.evaluation.hopeless import is_hopeless
from moa_graph.evaluation.running import Evaluation, Happened, Plan, thread_of
from moa_graph.models.failures import ProviderError
from moa_graph.runs.run import Run
from moa_graph.runs.threads import Runs
from moa_graph.spec.extracting import ExtractSpec
from tests.evaluation.orders import NUMBER, Bench, sums
from tests.fakes.models import ScriptedChatModel

DATASET = {"file": "x", "digest": "x"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def priced(tmp_path: Path) -> Bench:
    """A bench whose aggregator alone answers: at most $10 an item, and $4 when it says four words."""
    priced = Bench(tmp_path, price={"input": 0, "output": 1_000_000}, max_tokens=10)
    priced.document["layers"] = []
    return priced


def refusal() -> ProviderError:
    return ProviderError("no such parameter", status_code=400)


async def interrupted(bench: Bench, rows: list[dict[str, Any]], after: int, **options: Any) -> None:
    """Cancel an evaluation when so many items have ended."""
    ended = asyncio.Event()
    count = 0

    def watch(happened: Happened) -> None:
        nonlocal count
        count += happened.type == "ended"
        if count == after:
            ended.set()

    task = asyncio.create_task(evaluate(bench.order(rows, **options), watch=watch))
    await asyncio.wait_for(ended.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_each_item_is_a_thread_and_its_record_says_what_became_of_it(bench: Bench) -> None:
    evaluation = await bench.run(sums(2))
    first, second = bench.records
    assert (first["id"], second["id"]) == ("q1", "q2")
    assert first["status"] == "answered"
    assert (first["answer"], first["extracted"], first["gold"]) == ("The answer is 2", "2", ["2"])
    assert (first["correct"], first["answered_by"], first["turns"], first["error"]) == (True, "z", None, None)
    assert (first["calls"], first["cost"]) == (3, None), "a price is unknown, and so is the cost"
    assert first["usage"]["output_tokens"] == 9
    assert first["seconds"] > 0
    assert [(each["id"], each["extracted"], each["correct"]) for each in second["proposals"]] == [
        ("draft/a", "4", True),
        ("draft/b", "1", False),
    ]
    assert first["proposals"][0]["model"] == "host:a"
    async with Runs.open(f"sqlite:///{bench.folder / 'out' / 'threads.db'}") as runs:
        assert {each.thread for each in await runs.threads()} == {first["thread"], second["thread"]}
        assert (await runs.status(first["thread"])).answer == "The answer is 2"
    assert evaluation.left == []


async def test_records_stand_in_the_order_of_the_dataset_whoever_ends_first(bench: Bench) -> None:
    arrived: list[str | int] = []
    waiting = asyncio.Event()

    async def wait() -> None:
        # The first to come waits for all others.
        if not waiting.is_set():
            waiting.set()
            await bench.gate.wait()

    bench.models["z"].wait = wait

    def watch(happened: Happened) -> None:
        if happened.type == "ended":
            arrived.append(happened.item.id)
            if len(arrived) == 3:
                bench.gate.set()

    await evaluate(bench.order(sums(4), concurrency=4), watch=watch)
    assert [record["id"] for record in bench.records] == ["q1", "q2", "q3", "q4"]
    assert arrived != ["q1", "q2", "q3", "q4"]


async def test_no_more_items_run_at_once_than_was_said(bench: Bench) -> None:
    bench.held()
    task = asyncio.create_task(bench.run(sums(6), concurrency=2))
    async with asyncio.timeout(30):
        while bench.under_way < 2:  # noqa: ASYNC110 -- a turn or two of the loop
            await asyncio.sleep(0)
    bench.gate.set()
    await task
    assert bench.peak == 2


async def test_the_same_order_again_pays_nothing(bench: Bench) -> None:
    await bench.run(sums(3))
    before, records = bench.sent, bench.records
    again = await bench.run(sums(3))
    assert bench.sent == before
    assert bench.records == records
    assert again.left == []


async def test_an_interrupted_evaluation_goes_on_and_pays_nothing_twice(bench: Bench) -> None:
    await interrupted(bench, sums(6), after=2, concurrency=1)
    assert [record["id"] for record in bench.records] == ["q1", "q2"]
    await bench.run(sums(6), concurrency=1)
    assert [record["id"] for record in bench.records] == [f"q{n}" for n in range(1, 7)]
    assert bench.sent["z"] <= 7, "the one that was under way may be asked again, and no other"
    assert bench.sent["a"] <= 7


async def test_a_failed_item_counts_as_wrong_is_told_apart_and_tried_again(bench: Bench) -> None:
    bench.fail["2+2"] = refusal()
    evaluation = await bench.run(sums(3))
    failed = bench.records[1]
    assert (failed["status"], failed["answer"], failed["correct"]) == ("failed", None, False)
    assert failed["error"] is not None
    assert failed["error"]["type"] == "AggregatorFailed"
    assert "no such parameter" in failed["error"]["message"]
    by_id = {each["id"]: each for each in failed["proposals"]}
    assert by_id["draft/a"]["status"] == "failed"
    assert (by_id["draft/a"]["correct"], by_id["draft/b"]["correct"]) == (False, False)
    summary = summary_of(evaluation)
    assert (summary["answered"], summary["failed"], summary["judged"], summary["correct"]) == (2, 1, 3, 2)
    assert summary["failures"] == {"AggregatorFailed": 1}
    assert summary["accuracy"] is not None
    assert summary["accuracy"].value == pytest.approx(2 / 3)
    assert summary["accuracy_of_answered"] is not None
    assert summary["accuracy_of_answered"].value == 1.0

    bench.fail.clear()
    before = bench.sent
    evaluation = await bench.run(sums(3))
    assert summary_of(evaluation)["failed"] == 0
    assert bench.sent["z"] - before["z"] == 1
    assert bench.sent["b"] == before["b"], "what the failed item had made already is kept"


async def test_what_failed_before_is_not_forgotten_when_the_next_start_is_interrupted(bench: Bench) -> None:
    bench.fail["1+1"] = refusal()
    await bench.run(sums(1))
    restored: list[dict[str, Any]] = []

    def note(evaluation: Evaluation) -> None:
        restored.extend(dict(record) for record in evaluation.in_order())
        raise KeyError("the process ends here")

    with pytest.raises(KeyError):
        await evaluate(bench.order(sums(1)), restored=note)
    assert restored[0]["error"]["type"] == "AggregatorFailed"
    assert "no such parameter" in restored[0]["error"]["message"]


async def test_another_spec_is_refused_with_the_difference(bench: Bench) -> None:
    await bench.run(sums(1))
    before = bench.sent
    bench.document["layers"][0]["proposers"] = ["a"]
    with pytest.raises(SpecMismatch, match="begun with another spec") as caught:
        await bench.run(sums(1))
    assert "-  - b\n" in caught.value.difference
    assert "prices, limits and description" in caught.value.hint
    (bench.folder / "out" / ".spec.yaml").unlink()
    with pytest.raises(SpecMismatch, match="begun with another spec"):
        await bench.run(sums(1))
    assert bench.sent == before


@pytest.mark.parametrize("change", ["question", "id", "more"])
async def test_other_questions_are_refused(bench: Bench, change: str) -> None:
    await bench.run(sums(1))
    before = bench.sent
    rows = sums(2) if change == "more" else [{**sums(1)[0], change: "3+3"}]
    with pytest.raises(MoAError, match="begun with other questions"):
        await bench.run(rows)
    assert bench.sent == before


async def test_other_gold_answers_are_judged_anew_for_nothing(bench: Bench) -> None:
    await bench.run(sums(1))
    before = bench.sent
    await bench.run([{**sums(1)[0], "gold": 3}])
    assert bench.sent == before
    assert (bench.records[0]["gold"], bench.records[0]["correct"]) == (["3"], False)


async def test_an_extractor_that_was_said_once_holds_until_another_is_said(bench: Bench) -> None:
    rows = [{"question": "1+1", "gold": "The answer is 2"}]
    by_line = ExtractSpec(by="last-line")
    assert summary_of(await bench.run(rows, how=None))["judged"] == 0
    await bench.run(rows, how=by_line)
    before = bench.sent
    evaluation = await bench.run(rows, how=None)
    assert (evaluation.plan.how, bench.records[0]["correct"]) == (by_line, True)
    regex = ExtractSpec(by="regex", pattern=r"(\d+)")
    await bench.run(rows, how=regex)
    assert (await bench.run(rows, how=None)).plan.how == regex
    assert bench.sent == before


async def test_rows_in_another_order_are_the_same_dataset(bench: Bench) -> None:
    await bench.run(sums(3))
    before = bench.sent
    await bench.run(sums(3)[::-1])
    assert bench.sent == before
    assert [record["id"] for record in bench.records] == ["q3", "q2", "q1"]


async def test_fewer_items_leave_the_records_of_the_others_where_they_are(bench: Bench) -> None:
    bench.fail["3+3"] = refusal()
    items = bench.order(sums(4)).dataset.items
    await bench.run(sums(4))
    before, records = bench.sent, bench.records
    evaluation = await bench.run(sums(4), items=items[1:2])
    assert bench.records == records
    assert bench.sent == before, "the one that failed is not among the items"
    summary = summary_of(evaluation)
    assert (summary["items"], summary["answered"], summary["failed"]) == (1, 1, 0)


async def test_an_item_that_was_begun_counts_under_the_ceiling_of_other_items(priced: Bench) -> None:
    items = priced.order(sums(6)).dataset.items
    await priced.run(sums(6), items=items[:4])
    assert priced.sent["z"] == 4, "which is $16"
    evaluation = await priced.run(sums(6), items=items[4:], max_cost=25)
    assert (priced.sent["z"], evaluation.left) == (4, list(items[4:]))
    ceiling = evaluation.plan.ceiling
    assert ceiling is not None
    assert ceiling.spent == 16.0
    assert evaluation.cost == 0.0, "of the items themselves"
    done = await priced.run(sums(6), items=items[4:], max_cost=34)
    assert (done.left, done.cost, priced.sent["z"]) == ([], 8.0, 6)


async def test_answers_that_the_store_has_lost_are_not_bought_again_unasked(bench: Bench) -> None:
    await bench.run(sums(3))
    before, records = bench.sent, bench.records
    (bench.folder / "out" / "threads.db").unlink()
    with pytest.raises(
        MoAError, match=r"3 of the 3 answers in records\.jsonl are not in the store"
    ) as caught:
        await bench.run(sums(3))
    assert "move records.jsonl away" in caught.value.hint
    assert (bench.sent, bench.records) == (before, records)
    (bench.folder / "out" / "records.jsonl").write_text('{"id": "q1", "status": "answ')
    await bench.run(sums(3))
    assert bench.sent["z"] == before["z"] + 3


async def test_another_store_that_lacks_the_answers_is_refused(bench: Bench) -> None:
    await bench.run(sums(1))
    with pytest.raises(MoAError, match="are not in the store") as caught:
        await bench.run(sums(1), db=f"sqlite:///{bench.folder / 'other.db'}")
    assert "--db" in caught.value.hint
    assert bench.sent["z"] == 1


@pytest.mark.parametrize("status", [401, 404])
async def test_an_aggregator_that_nobody_can_reach_ends_the_evaluation_and_what_is_left_goes_on(
    bench: Bench, status: int
) -> None:
    for row in sums(9):
        bench.fail[row["question"]] = ProviderError("no", status_code=status)
    bench.models["a"] = ScriptedChatModel("1")
    evaluation = await bench.run(sums(9), concurrency=2)
    assert bench.sent["z"] <= 2
    assert evaluation.hopeless is not None
    assert evaluation.hopeless["type"] == "AggregatorFailed"
    assert len(evaluation.left) >= 7
    bench.fail.clear()
    done = await bench.run(sums(9), concurrency=2)
    assert (done.hopeless, done.left, summary_of(done)["failed"]) == (None, [], 0)
    assert bench.sent["b"] == 9, "proposals are kept"


def failed(id_: str, kind: str) -> dict[str, Any]:
    failure = {"kind": kind, "message": "no", "retryable": False, "status_code": None}
    layer, _, model = id_.partition("/")
    return {"id": id_, "layer": layer, "requested_model": model, "status": "failed", "failure": failure}


@pytest.mark.parametrize(
    ("error", "records", "hopeless"),
    [
        (AggregatorFailed, [("draft/a", "timeout"), ("aggregator/z", "auth")], True),
        (AggregatorFailed, [("aggregator/y", "auth"), ("aggregator/z", "quota_exhausted")], True),
        (AggregatorFailed, [("aggregator/y", "auth"), ("aggregator/z", "timeout")], False),
        (AggregatorFailed, [("draft/a", "auth")], False),
        (AggregatorFailed, [("aggregator/host:z", "not_found")], True),
        (AggregatorFailed, [("aggregator/replay:z.jsonl", "not_found")], False),
        (QuorumNotMet, [("draft/a", "not_found"), ("draft/b", "auth")], True),
        (QuorumNotMet, [("draft/a", "not_found"), ("draft/b", "server_error")], False),
        (QuorumNotMet, [("draft/a", "auth"), ("refine/b", "server_error")], False),
        (QuorumNotMet, [], False),
        (BudgetExceeded, [("aggregator/z", "auth")], False),
    ],
)
def test_only_what_every_item_would_meet_is_hopeless(
    error: type[RunError], records: list[tuple[str, str]], hopeless: bool
) -> None:
    assert is_hopeless(error("no", proposals=[failed(*record) for record in records])) is hopeless


async def test_a_thread_that_another_evaluation_runs_names_a_way_out_of_an_evaluation(bench: Bench) -> None:
    class Store(_Fake):
        async def start(self, *_: Any, **__: Any) -> Run:
            raise ThreadBusy("thread 't' is run by somebody else", hint="`moa resume --wait`")

    evaluation = Evaluation(Store(), Plan("e", bench.order(sums(2)).items))  # type: ignore[arg-type]
    with pytest.raises(ThreadBusy, match="run by somebody else") as caught:
        await evaluation.run()
    assert "folder has the same name" in caught.value.hint
    assert "resume" not in caught.value.hint


async def test_a_part_of_the_items_can_be_made_more_later(bench: Bench) -> None:
    order = bench.order(sums(5))
    await bench.run(sums(5), items=choose(order.dataset.items, sample=2))
    assert bench.sent["z"] == 2
    await bench.run(sums(5), items=choose(order.dataset.items, sample=4))
    assert bench.sent["z"] == 4
    assert len(bench.records) == 4


async def test_a_folder_that_was_renamed_finds_its_threads(bench: Bench) -> None:
    await bench.run(sums(2))
    before = bench.sent
    (bench.folder / "out").rename(bench.folder / "moved")
    await bench.run(sums(2), out=bench.folder / "moved")
    assert bench.sent == before


async def test_a_folder_of_something_else_is_refused(bench: Bench) -> None:
    out = bench.folder / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(MoAError, match="not empty, and no evaluation"):
        await bench.run(sums(1))
    assert [entry.name for entry in out.iterdir()] == ["notes.txt"]
    with pytest.raises(MoAError, match=r"File exists|Not a directory"):
        await bench.run(sums(1), out=out / "notes.txt")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "cannot be read"),
        ("{}", "cannot be read"),
        ("[]", "cannot be read"),
        (
            json.dumps(
                {"format": 1, "name": "x", "spec": {"hash": "x"}, "dataset": DATASET, "extract": {"by": 1}}
            ),
            "cannot be read",
        ),
        ('{"format": 2, "name": "x", "spec": {"hash": "x"}}', "another version"),
    ],
)
async def test_a_folder_that_cannot_be_read_is_refused(bench: Bench, content: str, problem: str) -> None:
    out = bench.folder / "out"
    out.mkdir()
    (out / "evaluation.json").write_text(content)
    with pytest.raises(MoAError, match=problem):
        await bench.run(sums(1))


async def test_two_at_once_in_one_folder_are_refused(bench: Bench) -> None:
    order = bench.order(sums(1))
    with (
        Folder.open(order.out, order.spec, order.dataset),
        pytest.raises(ThreadBusy, match="somebody else works on this evaluation"),
    ):
        await evaluate(order)
    assert bench.sent["z"] == 0


async def test_a_model_that_is_not_ready_ends_all_before_anything_is_recorded(bench: Bench) -> None:
    bench.document["models"]["z"] = {"model": "openai:gpt-4o"}
    del bench.models["z"]
    with pytest.raises(ModelNotReady, match="OPENAI_API_KEY"):
        await bench.run(sums(3))
    assert bench.records == []
    assert bench.sent["a"] == 0


async def test_the_ceiling_stops_new_items_and_a_greater_one_goes_on(priced: Bench) -> None:
    evaluation = await priced.run(sums(8), max_cost=25, concurrency=1)
    assert evaluation.records[0]["cost"] == 4.0
    assert [item.id for item in evaluation.left] == ["q5", "q6", "q7", "q8"], "16 + 10 is more than 25"
    summary = summary_of(evaluation)
    assert (summary["answered"], summary["left"], summary["cost"]) == (4, 4, 16.0)
    again = await priced.run(sums(8), max_cost=25)
    assert priced.sent["z"] == 4, "what earlier processes spent counts"
    assert len(again.left) == 4
    done = await priced.run(sums(8), max_cost=100)
    assert done.left == []
    assert priced.sent["z"] == 8


async def test_under_the_ceiling_parallel_items_are_booked_with_all_they_may_cost(priced: Bench) -> None:
    priced.held()
    task = asyncio.create_task(priced.run(sums(8), max_cost=25, concurrency=8))
    async with asyncio.timeout(30):
        while priced.under_way < 2:  # noqa: ASYNC110 -- a turn or two of the loop
            await asyncio.sleep(0)
    priced.gate.set()
    evaluation = await task
    assert priced.peak == 2, "a third would make it 30 at most"
    assert priced.sent["z"] == 4
    assert len(evaluation.left) == 4


async def test_without_a_price_a_ceiling_is_refused_before_anything_is_asked(bench: Bench) -> None:
    with pytest.raises(MoAError, match="has no price") as caught:
        await bench.run(sums(2), max_cost=5)
    assert "Nothing was asked" in caught.value.hint
    assert bench.sent == {"a": 0, "b": 0, "z": 0}
    assert not (bench.folder / "out").exists()


async def test_an_item_of_unknown_cost_counts_with_all_it_may_have_cost(priced: Bench) -> None:
    priced.models["z"] = type(priced.models["z"])("no usage is reported")
    runs = [Run("t", "turn-1", "answered", answer="4", cost=None)]

    class Store(_Fake):
        async def start(self, *_: Any, **__: Any) -> Run:
            return runs[0]

    order = priced.order(sums(2))
    ceiling = Ceiling(15, {0: [10.0], 1: [10.0]})
    evaluation = Evaluation(Store(), Plan("e", order.items, ceiling=ceiling))  # type: ignore[arg-type]
    await evaluation.restore()
    await evaluation.run()
    assert [item.id for item in evaluation.left] == ["q2"]
    assert evaluation.cost is None
    assert ceiling.spent == 10.0


class _Fake:
    """Stand for threads of which there are none yet."""

    async def threads(self) -> list[Any]:
        return []

    async def status(self, thread: str) -> Run:
        return Run(thread, "turn-1", "failed")


async def test_an_answer_that_could_not_be_kept_ends_the_evaluation(bench: Bench) -> None:
    class Store(_Fake):
        async def start(self, *_: Any, **__: Any) -> Run:
            return Run("t", "turn-1", "answered", answer="4", saved=False, reason="StoreError: disk full")

    order = bench.order(sums(2))
    evaluation = Evaluation(Store(), Plan("e", order.items, concurrency=1))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="disk full"):
        await evaluation.run()
    assert [record["id"] for record in evaluation.in_order()] == ["q1"]


async def test_a_store_that_fails_ends_the_evaluation_and_is_no_items_failure(bench: Bench) -> None:
    class Store(_Fake):
        async def start(self, *_: Any, **__: Any) -> Run:
            raise StoreError("the disk is full")

    order = bench.order(sums(2))
    evaluation = Evaluation(Store(), Plan("e", order.items))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="the disk is full"):
        await evaluation.run()
    assert evaluation.in_order() == []


async def test_a_fault_of_the_program_is_no_items_failure(bench: Bench) -> None:
    class Store(_Fake):
        async def start(self, *_: Any, **__: Any) -> Run:
            raise ZeroDivisionError

    evaluation = Evaluation(Store(), Plan("e", bench.order(sums(2)).items))  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        await evaluation.run()


TURNS = [{"id": 81, "turns": ["1+1", "2+2"]}]


async def test_both_turns_run_in_one_thread_and_the_second_sees_the_firsts_answer(bench: Bench) -> None:
    await bench.run(TURNS)
    (record,) = bench.records
    assert record["turns"] == ["The answer is 2", "The answer is 4"]
    assert record["answer"] == "The answer is 4"
    assert record["calls"] == 6
    asked = [(message.type, message.text) for message in bench.models["a"].calls[1]]
    assert asked == [("human", "1+1"), ("ai", "The answer is 2"), ("human", "2+2")]


async def test_a_first_turn_is_not_paid_again_when_the_second_failed(bench: Bench) -> None:
    bench.fail["2+2"] = refusal()
    await bench.run(TURNS)
    (record,) = bench.records
    assert (record["status"], record["turns"], record["answer"]) == ("failed", ["The answer is 2"], None)
    assert record["error"] is not None
    bench.fail.clear()
    before = bench.sent
    await bench.run(TURNS)
    assert bench.records[0]["turns"] == ["The answer is 2", "The answer is 4"]
    assert bench.sent["z"] - before["z"] == 1
    again = bench.sent
    await bench.run(TURNS)
    assert bench.sent == again


async def test_a_second_turn_that_is_due_is_booked_alone(priced: Bench) -> None:
    priced.fail["2+2"] = refusal()
    await priced.run(TURNS, max_cost=20)
    priced.fail.clear()
    refused = await priced.run(TURNS, max_cost=13)
    assert priced.sent["z"] == 2, "4 are spent, and 10 more would be 14"
    assert refused.left == [], "it failed, and nothing new is known of it"
    done = await priced.run(TURNS, max_cost=14)
    assert summary_of(done)["answered"] == 1


def test_a_threads_id_tells_the_evaluation_the_item_and_its_question_apart() -> None:
    asked = ({"role": "user", "content": "Why?"},)
    item = Item("q1", (asked,))
    others = [
        thread_of("other", item),
        thread_of("run", Item("q2", (asked,))),
        thread_of("run", Item("q1", (asked, asked))),
    ]
    assert len({thread_of("run", item), *others}) == 4
    assert thread_of("run", item) == thread_of("run", Item("q1", (asked,), gold=("x",)))
    assert thread_of("run", item).startswith("run/q1-")
    assert len(thread_of("r" * 300, item)) <= 255


async def test_summary_and_records_are_written_as_json(bench: Bench) -> None:
    evaluation = await bench.run(sums(2))
    written = json.loads((bench.folder / "out" / "summary.json").read_text())
    assert written == json.loads(json.dumps(summary_json(summary_of(evaluation))))
    assert set(written["accuracy"]) == {"value", "low", "high", "level"}
    assert (bench.folder / "out" / "summary.json").stat().st_mode & 0o777 == 0o600
    pin = json.loads((bench.folder / "out" / "evaluation.json").read_text())
    assert pin["dataset"] == {
        "file": str(bench.folder / "data.jsonl"),
        "path": "../data.jsonl",
        "digest": evaluation_digest(bench),
        "items": 2,
        "fields": {"question": None, "gold": None, "id": None},
    }


def evaluation_digest(bench: Bench) -> str:
    return bench.order(sums(2)).dataset.digest


async def test_another_store_than_the_folders_own_can_be_used(bench: Bench) -> None:
    await bench.run(sums(1), db=f"sqlite:///{bench.folder / 'shared.db'}")
    assert not (bench.folder / "out" / "threads.db").exists()
    assert (bench.folder / "shared.db").exists()


async def test_a_spec_that_votes_says_itself_how_answers_are_read(bench: Bench) -> None:
    bench.document["aggregator"] = {"reduce": "vote", "extract": "number"}
    evaluation = await bench.run(sums(1), how=None)
    assert evaluation.plan.how == NUMBER
    assert (bench.records[0]["extracted"], bench.records[0]["correct"]) == ("2", True)
    assert bench.sent["z"] == 0


async def test_a_dataset_on_another_drive_is_noted_by_its_whole_path(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr("os.path.relpath", refuse)
    await bench.run(sums(1))
    pin = json.loads((bench.folder / "out" / "evaluation.json").read_text())
    assert pin["dataset"]["path"] == str(bench.folder / "data.jsonl")
