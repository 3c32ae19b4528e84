from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moa_graph.estimate import estimate
from moa_graph.spec.loading import parse_spec
from moa_graph.spec.schema import MoASpec, PriceSpec
from tests.cli.conftest import Moa, SpecFile

PRICE = {"input": 1.0, "output": 2.0}


def spec(**parts: Any) -> MoASpec:
    document = {
        "moa": 1,
        "name": "priced",
        "models": {
            "a": {"model": "openai:a", "max_tokens": 100, "price": PRICE},
            "b": {"model": "openai:b", "max_tokens": 200, "price": PRICE},
        },
        "layers": [{"proposers": ["a", {"model": "b", "samples": 2}]}, {"proposers": ["a"]}],
        "aggregator": {"model": "b", "fallbacks": ["a"]},
        **parts,
    }
    return parse_spec(json.dumps(document))


def price(of: MoASpec) -> Any:
    return lambda slot: of.models[slot].price


def test_calls_are_counted_without_and_with_retries_and_fallbacks() -> None:
    found = estimate(spec(), price(spec()))
    assert (found.calls, found.max_calls) == (5, 6 * 3)


def test_max_calls_of_the_spec_bounds_the_calls() -> None:
    assert estimate(spec(limits={"max_calls": 7}), price(spec())).max_calls == 7


def test_the_cost_counts_references_at_full_length() -> None:
    first = 3 * 1000 * 1.0 + (100 + 200 + 200) * 2.0
    second = (1000 + 500 + 150) * 1.0 + 100 * 2.0
    last = (1000 + 100 + 150) * 1.0 + 200 * 2.0
    assert estimate(spec(), price(spec())).max_cost == pytest.approx((first + second + last) / 1e6)


def test_max_cost_of_the_spec_bounds_the_cost() -> None:
    limited = spec(limits={"max_cost": 0.001})
    assert estimate(limited, price(limited)).max_cost == 0.001


def test_a_missing_price_or_length_makes_the_cost_unknown_and_says_why() -> None:
    unpriced = spec(models={"a": {"model": "openai:a"}, "b": {"model": "openai:b", "price": PRICE}})
    found = estimate(unpriced, price(unpriced))
    assert (found.max_cost, found.unknown) == (None, "models.a has no price")
    endless = spec(
        models={
            "a": {"model": "openai:a", "max_tokens": None, "price": PRICE},
            "b": {"model": "openai:b", "price": PRICE},
        }
    )
    found = estimate(endless, price(endless))
    assert (found.max_cost, found.unknown) == (None, "a model without max_tokens has no bound")


def test_free_models_cost_nothing_even_without_max_tokens() -> None:
    free = spec(models={name: {"model": "embedded:extractive", "max_tokens": None} for name in "ab"})
    assert estimate(free, lambda _: PriceSpec(input=0.0, output=0.0)).max_cost == 0


def test_check_shows_shape_calls_and_cost(moa: Moa, served: SpecFile) -> None:
    result = moa("check", served([["ok@a", "ok@b"], ["ok@a"]], "ok"))
    assert result.exit_code == 0
    assert "spec.yaml: ok: test" in result.stdout
    assert "depth 3 × width 2, 1" in result.stdout
    assert "calls per question: 4, at most 4" in result.stdout
    assert "cost per question: at most $0.0" in result.stdout


def test_check_counts_a_spec_without_layers_and_says_when_the_cost_is_unknown(
    moa: Moa, served: SpecFile
) -> None:
    result = moa("check", served([], "ok", slot={}))
    assert "depth 1 × width 0" in result.stdout
    assert "cost per question: unknown (models.ok has no price)" in result.stdout


def test_a_missing_key_is_a_warning(moa: Moa, served: SpecFile) -> None:
    result = moa("check", served([], "ok", slot={"api_key_env": "MOA_NO_SUCH_KEY"}))
    assert result.exit_code == 0
    warning = next(line for line in result.stdout.splitlines() if "warning:" in line)
    assert "MOA_NO_SUCH_KEY" in warning


def test_all_faults_of_all_files_are_shown_with_their_places(
    moa: Moa, served: SpecFile, tmp_path: Path
) -> None:
    good = served([["ok@a"]], "ok")
    (tmp_path / "bad.yaml").write_text(
        "moa: 1\nname: x\nmodels: {a: {model: nothing}}\nagregator: {model: a}\n"
    )
    result = moa("check", good, "bad.yaml", "missing.yaml")
    assert result.exit_code == 2
    lines = result.stdout.splitlines()
    assert "spec.yaml: ok: test" in lines
    faults = [line for line in lines if line.startswith("bad.yaml:")]
    assert len(faults) >= 2
    assert any(line.startswith("bad.yaml:3:") and "models.a.model" in line for line in faults)
    assert any(line.startswith("bad.yaml:4:") and "aggregator" in line for line in faults)
    assert any(line.startswith("missing.yaml") for line in lines)


def test_check_json_is_one_object(moa: Moa, served: SpecFile, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("moa: 2\n")
    result = moa("check", served([["ok@a"]], "ok"), "bad.yaml", "--json")
    assert result.exit_code == 2
    record = json.loads(result.stdout)
    assert record["ok"] is False
    good, bad = record["files"]
    assert (good["ok"], good["depth"], good["widths"], good["estimate"]["calls"]) == (True, 2, [1], 2)
    assert (bad["ok"], bad["estimate"]) == (False, None)
    assert {"message", "path", "file", "line", "column"} <= set(bad["faults"][0])
