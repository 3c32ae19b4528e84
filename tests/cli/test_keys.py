from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from moa_graph.server.keys import KeyLimits, KeyRing, list_keys
from tests.cli.conftest import Moa

FILE = Path("moa-keys.json")


def test_a_key_is_written_to_stdout_alone_and_admits(moa: Moa) -> None:
    result = moa("keys", "add", "ada")
    secret = result.stdout.removesuffix("\n")
    assert result.exit_code == 0
    assert re.fullmatch(r"moa-[A-Za-z0-9_-]{43}", secret)
    assert result.stderr == "the key of ada, which is shown this once:\n"
    assert KeyRing(FILE, KeyLimits()).find(f"Bearer {secret}").name == "ada"


def test_a_key_is_shown_only_once(moa: Moa) -> None:
    secret = moa("keys", "add", "ada").stdout.strip()
    later = [moa("keys", *words) for words in (["list"], ["list", "--json"], ["revoke", "ada", "--json"])]
    assert [result.exit_code for result in later] == [0, 0, 0]
    assert all(secret not in result.output for result in later)


def test_a_key_has_the_limits_that_it_was_given(moa: Moa) -> None:
    moa("keys", "add", "ada", "--rpm", "60", "--concurrent", "2", "--cost-per-day", "1.5")
    assert [key.limits for key in list_keys(FILE)] == [KeyLimits(60, 2, 1.5)]


def test_as_json_a_key_is_one_object(moa: Moa) -> None:
    made = json.loads(moa("keys", "add", "ada", "--rpm", "5", "--json").stdout)
    (key,) = list_keys(FILE)
    assert made.pop("key").startswith("moa-")
    assert made == {
        "id": key.id,
        "name": "ada",
        "created": key.created,
        "limits": {"requests_per_minute": 5, "concurrent_runs": None, "cost_per_day": None},
    }
    assert json.loads(moa("keys", "list", "--json").stdout) == {"keys": [made]}
    assert json.loads(moa("keys", "revoke", "ada", "--json").stdout) == {"revoked": made}


def test_the_list_shows_each_key_with_its_limits_and_no_hash(moa: Moa) -> None:
    moa("keys", "add", "ada", "--rpm", "6000", "--cost-per-day", "2.5")
    moa("keys", "add", "bob", "--concurrent", "3")
    result = moa("keys", "list")
    head, ada, bob = result.stdout.splitlines()
    keys = list_keys(FILE)
    assert head.split() == ["id", "name", "created", "a", "minute", "at", "once", "a", "day"]
    assert [ada.split()[each] for each in (0, 1, 4, 5, 6)] == [keys[0].id, "ada", "6,000", "–", "$2.50"]
    assert [bob.split()[each] for each in (0, 1, 4, 5, 6)] == [keys[1].id, "bob", "–", "3", "–"]
    hashes = re.findall(r"[0-9a-f]{64}", FILE.read_text())
    assert len(hashes) == 2
    assert all(each not in result.output for each in hashes)


def test_names_from_a_file_cannot_write_to_the_terminal(moa: Moa) -> None:
    moa("keys", "add", "ada")
    FILE.write_text(FILE.read_text().replace('"ada"', r'"a\u001b[2Jb"'))
    assert "\x1b" not in moa("keys", "list").stdout
    assert moa("keys", "revoke", "a\x1b[2Jb").stdout.startswith("revoked ab (")


@pytest.mark.parametrize("by", ["name", "id"])
def test_a_key_is_revoked_by_its_name_or_its_id(moa: Moa, by: str) -> None:
    moa("keys", "add", "ada")
    (key,) = list_keys(FILE)
    result = moa("keys", "revoke", getattr(key, by))
    assert (result.exit_code, result.stdout) == (0, f"revoked ada ({key.id})\n")
    result = moa("keys", "list")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "there are no keys\n")


def test_another_file_can_be_named(moa: Moa, monkeypatch: pytest.MonkeyPatch) -> None:
    assert moa("keys", "add", "ada", "--keys", "other.json").exit_code == 0
    monkeypatch.setenv("MOA_KEYS", "other.json")
    assert moa("keys", "add", "bob").exit_code == 0
    assert [key.name for key in list_keys(Path("other.json"))] == ["ada", "bob"]
    assert not FILE.exists()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["add", "ada"], "there is a key 'ada' already"),
        (["add", "a b"], "cannot be a key's name"),
        (["revoke", "bob"], "there is no key 'bob'"),
        (["list", "--keys", "mistyped.json"], "mistyped.json: No such file"),
    ],
)
def test_what_cannot_be_done_is_told_with_what_to_do(moa: Moa, words: list[str], problem: str) -> None:
    moa("keys", "add", "ada")
    result = moa("keys", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr
    assert "hint: " in result.stderr
    error = json.loads(moa("keys", *words, "--json").stdout)["error"]
    assert problem in error["message"]


@pytest.mark.parametrize(
    "words",
    [[], ["add"], ["add", "ada", "--rpm", "0"], ["add", "ada", "--concurrent", "0"], ["revoke"], ["show"]],
)
def test_wrong_usage_ends_with_2_and_makes_no_key(moa: Moa, words: list[str]) -> None:
    assert moa("keys", *words).exit_code == 2
    assert not FILE.exists()


@pytest.mark.parametrize("amount", ["-1", "nan", "inf"])
def test_a_days_cost_is_a_number_of_dollars(moa: Moa, amount: str) -> None:
    result = moa("keys", "add", "ada", "--cost-per-day", amount)
    assert result.exit_code == 2
    assert not FILE.exists()
