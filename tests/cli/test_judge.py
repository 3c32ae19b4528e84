from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from langchain_core.messages import BaseMessage
from typer.testing import CliRunner, Result

from moa_graph.cli import judge as command
from moa_graph.cli.judge import judge
from moa_graph.cli.stopping import Stopped
from moa_graph.errors import MoAError
from moa_graph.evaluation import judging
from tests.evaluation.test_judging import fair
from tests.fakes.models import ScriptedChatModel
from tests.fakes.specs import spec_document

Judged = Any


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judged:
    """Run `moa judge` on two runs with a judge in this process; give the answers of both."""
    monkeypatch.chdir(tmp_path)

    def invoke(
        old: list[str | None],
        new: list[str | None],
        *options: str,
        by: Any = fair,
        real: bool = False,
    ) -> Result:
        for name, answers in (("a.jsonl", old), ("b.jsonl", new)):
            records = [{"id": number, "answer": answer} for number, answer in enumerate(answers)]
            Path(name).write_text("".join(json.dumps(record) + "\n" for record in records))
        rows = [{"id": number, "question": "Why?"} for number in range(max(len(old), len(new)))]
        Path("d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        whole = judging.Judge

        def with_model(spec: Any) -> judging.Judge:
            return whole(spec, models=None if real else {"judge": ScriptedChatModel(by)})

        monkeypatch.setattr(judging, "Judge", with_model)
        app = typer.Typer()
        app.command()(judge)
        given = ["--model", "host:judge", *options]
        if "--dataset" not in options:
            given += ["--dataset", "d.jsonl"]
        try:
            return CliRunner().invoke(app, ["a.jsonl", "b.jsonl", *given], catch_exceptions=False)
        finally:
            monkeypatch.setattr(judging, "Judge", whole)

    return invoke


def long(text: str, number: int) -> str:
    return text + " " + "word " * (number % 7)


def test_the_win_rate_of_the_second_run_is_told_with_all_that_limits_it(judged: Judged) -> None:
    old = [*(long("bad", 3 * number) for number in range(12)), "good", None]
    new = [*(long("good", number) for number in range(12)), "bad", "good", "good"]
    result = judged(old, new)
    out = result.stdout
    assert result.exit_code == 0
    assert out.startswith("13 pairs, each judged in both orders\n")
    assert "left out, without an answer in one run: 1 item\nleft out, in one run only: 1 item\n" in out
    assert "win rate of b.jsonl against a.jsonl: 92.3 [66.7, 98.6] %: b.jsonl is preferred\n" in out
    assert "won 12, lost 1, tied 0, not judged 0\n" in out
    controlled = next(line for line in out.splitlines() if line.startswith("length-controlled: "))
    assert "no difference can be told (under 200 items its penalty pulls it towards 50 %, " in controlled
    assert "verdicts that changed with the order: 0.0 % of the pairs\n" in out
    assert "won by the answer in the first place: 13, in the second: 13\n" in out
    assert out.endswith("26 calls, cost unknown; the verdicts are in verdicts.jsonl\n")


def test_few_pairs_tell_no_difference_and_no_length_control(judged: Judged) -> None:
    out = judged(["bad", "bad"], ["good", "good"]).stdout
    assert "win rate of b.jsonl against a.jsonl: 100.0 [34.2, 100.0] %: no difference can be told\n" in out
    assert "length-controlled: unknown (2 judged items are too few" in out


def test_the_first_run_may_be_preferred(judged: Judged) -> None:
    assert "a.jsonl is preferred" in judged(["good"] * 8, ["bad"] * 8).stdout


def test_as_json_everything_is_there_and_the_same_command_asks_for_nothing_again(judged: Judged) -> None:
    first = judged(["bad"], ["good"], "--json", "--out", "v/x.jsonl")
    again = judged(["bad"], ["good"], "--json", "--out", "v/x.jsonl", "--quiet")
    assert json.loads(first.stdout) == json.loads(again.stdout)
    found = json.loads(first.stdout)
    assert found["preferences"] == {"0": 1.0}
    assert (found["calls"], found["inconsistent_share"], found["length_controlled"]) == (2, 0.0, None)
    assert len(Path("v/x.jsonl").read_text().splitlines()) == 2


def test_replies_that_say_nothing_give_no_win_rate(judged: Judged) -> None:
    result = judged(["bad"], ["good"], by="Well.")
    assert "no pair has both verdicts: there is no win rate\n" in result.stdout
    assert "verdicts unparsable: 2, failed: 0, not asked for: 0\n" in result.stdout
    assert (
        "unparsable, and not asked for again, is a reply whose last line is no verdict, such as: Well.\n"
        in (result.stdout)
    )
    assert result.exit_code == 1


def test_a_ceiling_that_is_reached_says_so_and_what_is_enough(judged: Judged, tmp_path: Path) -> None:
    slot = {"model": "host:judge", "price": {"input": 0.0, "output": 1000.0}, "max_tokens": 100}
    document = {"moa": 1, "name": "j", "models": {"judge": slot}, "aggregator": {"model": "judge"}}
    (tmp_path / "judge.yaml").write_text(json.dumps(document))
    options = ["--model", "judge.yaml", "--concurrency", "1"]
    result = judged(["bad"] * 3, ["good"] * 3, *options, "--max-cost", "0.107")
    assert result.exit_code == 1
    assert (
        "the ceiling is reached: $0.0100 spent, and the next verdict may cost $0.10; "
        "--max-cost 0.41 is enough for all\n"
    ) in result.stdout
    assert judged(["bad"] * 3, ["good"] * 3, *options, "--max-cost", "0.41").exit_code == 0


def test_who_is_preferred_is_in_the_json(judged: Judged) -> None:
    found = json.loads(judged(["bad"] * 8, ["good"] * 8, "--json").stdout)
    assert (found["run_a"], found["run_b"], found["preferred"]) == ("a.jsonl", "b.jsonl", "run_b")
    assert found["length_controlled"] is None
    assert "too few" in found["length_controlled_unknown"]
    answers = ["good" + " word" * (7 * number % 13) for number in range(210)]
    found = json.loads(judged(["bad and bad again"] * 210, answers, "--json", "--out", "w.jsonl").stdout)
    assert found["length_controlled_unknown"] == "all items were judged alike: the length's effect is unknown"
    answers[3] = answers[11] = "bad"
    found = json.loads(judged(["ok, bad and bad"] * 208 + ["good"] * 2, answers, "--json", "-o", "x").stdout)
    assert found["length_controlled_preferred"] == "run_b"


@pytest.mark.parametrize("model", ["quatsch", "openai:", "nonsense:"])
def test_a_judge_that_is_neither_a_model_nor_a_file_is_a_wrong_option(judged: Judged, model: str) -> None:
    result = judged(["bad"], ["good"], "--model", model)
    assert result.exit_code == 2
    assert "--model" in result.stderr
    assert "neither provider:model nor a spec file" in " ".join(result.stderr.replace("│", " ").split())


def test_a_replayed_judge_without_the_recorded_answer_fails_for_that_pair_alone(
    judged: Judged, tmp_path: Path
) -> None:
    (tmp_path / "said.jsonl").write_text('{"question": "x", "text": "VERDICT: A"}\n')
    result = judged(["bad"], ["good"], "--model", "replay:said.jsonl", real=True)
    assert result.exit_code == 1
    assert "failed: 2" in result.stdout
    assert "said.jsonl has no answer" in result.stdout
    assert "aggregator" not in result.stdout


def test_verdicts_that_failed_make_the_exit_code_1(judged: Judged) -> None:
    def broken(_: list[BaseMessage]) -> str:
        raise ValueError("broken")

    result = judged(["bad"], ["good"], by=broken)
    assert result.exit_code == 1
    assert "failed: 2" in result.stdout
    assert "failed, and asked for again by the same command: " in result.stdout
    assert "broken" in result.stdout


def test_a_spec_file_judges_with_its_prices(judged: Judged, tmp_path: Path) -> None:
    slot = {"model": "host:judge", "price": {"input": 1.0, "output": 1.0}}
    document = {"moa": 1, "name": "j", "models": {"judge": slot}, "aggregator": {"model": "judge"}}
    (tmp_path / "judge.yaml").write_text(json.dumps(document))
    result = judged(["bad"], ["good"], "--model", "judge.yaml", "--max-cost", "1")
    assert "2 calls, cost <$0.0001" in result.stdout


def test_without_a_dataset_that_a_run_names_the_option_is_asked_for(judged: Judged, tmp_path: Path) -> None:
    judged(["bad"], ["good"])
    app = typer.Typer()
    app.command()(judge)
    with pytest.raises(MoAError, match="which dataset"):
        CliRunner().invoke(app, ["a.jsonl", "b.jsonl", "--model", "host:judge"], catch_exceptions=False)


def test_on_a_terminal_verdicts_are_counted(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        class stderr:  # noqa: N801 -- it stands for `sys.stderr`
            @staticmethod
            def isatty() -> bool:
                return True

    monkeypatch.setattr(command, "sys", Terminal)
    result = judged(["bad"], ["good"])
    assert result.stderr == "\r1 verdict …\r2 verdicts …\n"
    assert judged(["bad"], ["good"], "--quiet").stderr == ""


def test_when_it_is_stopped_it_says_where_the_verdicts_are(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(work: Any, on_stop: Any) -> None:
        work.close()
        on_stop()
        raise Stopped(2)

    monkeypatch.setattr("moa_graph.cli.stopping.run_until_stopped", stop)
    result = judged(["bad"], ["good"])
    assert result.exit_code == 130
    assert "the verdicts so far are in verdicts.jsonl" in result.stderr


def test_the_judge_is_asked_over_http_as_any_other_model(
    tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Path(f"{name}.jsonl").write_text(json.dumps({"id": 0, "answer": name}) + "\n")
    Path("d.jsonl").write_text(json.dumps({"id": 0, "question": "Why?"}) + "\n")
    Path("judge.yaml").write_text(json.dumps(spec_document(server.base_url, [], "ok@judge")))
    app = typer.Typer()
    app.command()(judge)
    arguments = ["a.jsonl", "b.jsonl", "--model", "judge.yaml", "--dataset", "d.jsonl"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "verdicts unparsable: 2" in result.stdout
    assert len(server.requests) == 2
