"""Keys: a file of hashes, and whom it admits."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from moa_graph.errors import MoAError, ThreadBusy
from moa_graph.server import keys as keys_module
from moa_graph.server.faults import Refused
from moa_graph.server.keys import Key, KeyLimits, KeyRing, add_key, list_keys, revoke_key

NONE = KeyLimits()
ANOTHER = f"Bearer moa-{'a' * 43}"
DAMAGED = ["", "{", "[]", '{"version": 2, "keys": []}', '{"keys": [{}]}', '{"keys": [], "more": 1}', "\xff"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def refused(ring: KeyRing, authorization: str | None) -> Refused:
    with pytest.raises(Refused) as caught:
        ring.find(authorization)
    return caught.value


def entry(**changes: Any) -> dict[str, Any]:
    plain = {
        "id": "0123456789ab",
        "name": "ada",
        "created": "2026-01-02T03:04:05Z",
        "sha256": sha256(b"x").hexdigest(),
        "limits": {},
    }
    return plain | changes


def written(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"version": 1, "keys": entries}))
    return path


def test_a_key_that_was_added_is_found_by_its_secret(path: Path) -> None:
    secret = add_key(path, "ada", KeyLimits(60, 2, 1.5))
    add_key(path, "bob", NONE)
    ring = KeyRing(path, NONE)
    key = ring.find(f"Bearer {secret}")
    assert (key.name, key.limits) == ("ada", KeyLimits(60, 2, 1.5))
    assert key == list_keys(path)[0] == ring.by_id(key.id)
    assert ring.guarded


def test_what_a_key_does_not_limit_the_default_does(path: Path) -> None:
    secret = add_key(path, "ada", KeyLimits(requests_per_minute=5))
    default = KeyLimits(requests_per_minute=60, cost_per_day=0.0)
    assert KeyRing(path, default).find(f"Bearer {secret}").limits == KeyLimits(5, None, 0.0)
    assert list_keys(path)[0].limits == KeyLimits(5)


def test_the_file_holds_hashes_alone_and_is_its_owners(path: Path) -> None:
    secrets = [add_key(path, name, NONE) for name in ("ada", "bob")]
    content = path.read_text()
    assert len(set(secrets)) == 2
    for secret in secrets:
        assert secret.startswith("moa-")
        assert len(secret) == 47
        assert secret[4:] not in content
        assert sha256(secret.encode()).hexdigest() in content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
def test_the_scheme_may_be_written_in_any_case(path: Path, scheme: str) -> None:
    secret = add_key(path, "ada", NONE)
    assert KeyRing(path, NONE).find(f"{scheme} {secret}").name == "ada"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer moa-",
        "Basic {secret}",
        "{secret}",
        "Bearer{secret}",
        "Bearer {secret}x",
        "Bearer {secret}, Bearer {secret}",
        "Bearer {secret}\n",
        "Bearer {hash}",
        "Bearer moa-{hash}",
        "Bearer {id}",
    ],
)
def test_what_is_no_key_is_refused_and_told_how_to_show_one(path: Path, authorization: str | None) -> None:
    secret = add_key(path, "ada", NONE)
    digest, id_ = sha256(secret.encode()).hexdigest(), list_keys(path)[0].id
    given = authorization and authorization.format(secret=secret, hash=digest, id=id_)
    fault = refused(KeyRing(path, NONE), given)
    assert (fault.status, fault.kind, fault.code) == (401, "authentication_error", "invalid_api_key")
    assert fault.headers == {"WWW-Authenticate": "Bearer"}
    assert "Authorization: Bearer" in fault.message
    assert secret not in str(fault.body)


def test_an_unknown_key_is_refused_and_not_repeated(path: Path) -> None:
    secret = add_key(path, "ada", NONE)
    wrong = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    fault = refused(KeyRing(path, NONE), f"Bearer {wrong}")
    assert (fault.status, fault.headers) == (401, {"WWW-Authenticate": "Bearer"})
    assert "unknown" in fault.message
    assert wrong not in str(fault.body)


def test_a_revoked_key_is_refused_at_the_next_request(path: Path) -> None:
    secret, other = add_key(path, "ada", NONE), add_key(path, "bob", NONE)
    ring = KeyRing(path, NONE)
    key = ring.find(f"Bearer {secret}")
    assert revoke_key(path, "ada") == key
    assert refused(ring, f"Bearer {secret}").status == 401
    assert ring.by_id(key.id) is None
    assert ring.find(f"Bearer {other}").name == "bob"


def test_a_key_that_is_added_is_admitted_at_the_next_request(path: Path) -> None:
    add_key(path, "ada", NONE)
    ring = KeyRing(path, NONE)
    assert ring.find(f"Bearer {add_key(path, 'bob', NONE)}").name == "bob"


def test_a_key_is_revoked_by_its_id_too_and_its_name_is_free_again(path: Path) -> None:
    add_key(path, "ada", NONE)
    (key,) = list_keys(path)
    revoke_key(path, key.id)
    assert list_keys(path) == []
    add_key(path, "ada", NONE)
    assert list_keys(path)[0].id != key.id


def test_revoking_what_is_not_there_says_so_and_makes_nothing(path: Path) -> None:
    with pytest.raises(MoAError, match="cannot read"):
        revoke_key(path, "ada")
    assert list(path.parent.iterdir()) == []
    add_key(path, "bob", NONE)
    with pytest.raises(MoAError, match="no key 'ada'"):
        revoke_key(path, "ada")


def test_a_name_is_taken_once(path: Path) -> None:
    add_key(path, "ada", NONE)
    with pytest.raises(MoAError, match="'ada' already"):
        add_key(path, "ada", NONE)
    assert len(list_keys(path)) == 1


@pytest.mark.parametrize("name", ["", " ", "a b", "a\n", "-a", "é", "a" * 65, "0123456789ab", "\x1b[2J"])
def test_a_name_is_short_and_plain_and_no_id(path: Path, name: str) -> None:
    with pytest.raises(MoAError, match="cannot be a key's name"):
        add_key(path, name, NONE)
    assert not path.exists()


@pytest.mark.parametrize(
    "limits",
    [KeyLimits(0), KeyLimits(None, -1), KeyLimits(cost_per_day=float("inf")), KeyLimits(cost_per_day=-1.0)],
)
def test_limits_that_are_none_are_not_written(path: Path, limits: KeyLimits) -> None:
    with pytest.raises(MoAError, match=r"^limits\.\w+: Input should be"):
        add_key(path, "ada", limits)
    assert not path.exists()


def test_without_a_file_everybody_is_the_local_key() -> None:
    ring = KeyRing(None, KeyLimits(5))
    local = Key("local", "local", KeyLimits(5))
    assert not ring.guarded
    assert [ring.find(header) for header in (None, "Bearer none-needed", "Basic eDp5")] == [local] * 3
    assert ring.by_id("local") == local
    assert ring.by_id("0123456789ab") is None


def test_with_a_file_nobody_is_the_local_key(path: Path) -> None:
    add_key(path, "local", NONE)
    assert KeyRing(path, NONE).by_id("local") is None


def test_a_file_without_keys_admits_nobody(path: Path) -> None:
    add_key(path, "ada", NONE)
    revoke_key(path, "ada")
    assert refused(KeyRing(path, NONE), "Bearer anything").status == 401


def test_a_server_does_not_start_without_its_file(path: Path) -> None:
    with pytest.raises(MoAError, match="No such file") as caught:
        KeyRing(path, NONE)
    assert str(path) in caught.value.message
    assert "moa keys add" in caught.value.hint


@pytest.mark.parametrize("content", DAMAGED)
def test_a_server_does_not_start_with_a_damaged_file(path: Path, content: str) -> None:
    path.write_text(content, encoding="latin-1")
    with pytest.raises(MoAError, match="not a file of keys") as caught:
        KeyRing(path, NONE)
    assert str(path) in caught.value.message
    assert "move the file away" in caught.value.hint
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "0123456789AB"},
        {"id": "0123456789ab\n"},
        {"sha256": "short"},
        {"created": "yesterday"},
        {"limits": {"cost_a_day": 1.0}},
        {"limits": {"requests_per_minute": 0}},
        {"limits": {"concurrent_runs": True}},
        {"limits": {"cost_per_day": -1.0}},
    ],
)
def test_an_entry_that_is_not_understood_is_not_half_obeyed(path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(MoAError, match="not a file of keys") as caught:
        list_keys(written(path, entry(**changes)))
    assert next(iter(changes)) in caught.value.message
    assert entry()["sha256"] not in str(caught.value)


@pytest.mark.parametrize("same", ["id", "name", "sha256"])
def test_two_keys_have_nothing_in_common(path: Path, same: str) -> None:
    other = entry(id="ba9876543210", name="bob", sha256=sha256(b"y").hexdigest())
    with pytest.raises(MoAError, match=f"{same}: two keys have the same"):
        list_keys(written(path, entry(), other | {same: entry()[same]}))


def test_a_file_that_is_damaged_later_admits_nobody_and_is_complained_about_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = add_key(path, "ada", NONE)
    ring = KeyRing(path, NONE)
    key = ring.find(f"Bearer {secret}")
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    faults = [refused(ring, header) for header in (f"Bearer {secret}", f"Bearer {secret}", None)]
    assert [(fault.status, fault.message) for fault in faults] == [(503, "keys cannot be read")] * 3
    with pytest.raises(Refused, match="keys cannot be read"):
        ring.by_id(key.id)
    (logged,) = caplog.records
    assert str(path) in logged.getMessage()
    assert secret not in caplog.text
    path.write_bytes(whole)
    assert ring.find(f"Bearer {secret}") == key


def test_a_file_that_goes_away_admits_nobody_until_it_is_back(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = add_key(path, "ada", NONE)
    ring = KeyRing(path, NONE)
    aside = path.rename(path.with_suffix(".away"))
    assert [refused(ring, f"Bearer {secret}").status for _ in range(3)] == [503] * 3
    assert len(caplog.records) == 1
    aside.rename(path)
    assert ring.find(f"Bearer {secret}").name == "ada"


def test_keys_that_are_added_at_once_are_all_kept(path: Path) -> None:
    names = [f"key{number}" for number in range(12)]
    with ThreadPoolExecutor(6) as pool:
        secrets = list(pool.map(lambda name: add_key(path, name, NONE), names))
    ring = KeyRing(path, NONE)
    assert [ring.find(f"Bearer {secret}").name for secret in secrets] == names
    assert {each.name for each in path.parent.iterdir()} <= {"keys.json", ".keys.json.lock"}


def test_who_cannot_get_at_the_file_gives_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "_PATIENCE", 0.0)
    with FileLock(path.parent / ".keys.json.lock"), pytest.raises(ThreadBusy, match="somebody else"):
        add_key(path, "ada", NONE)


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(MoAError, match="cannot write"):
        add_key(tmp_path / "mistyped" / "keys.json", "ada", NONE)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_key(path, "ada", NONE)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MoAError, match="No space left"):
        add_key(path, "bob", NONE)
    assert path.read_bytes() == before
    assert {each.name for each in path.parent.iterdir()} <= {"keys.json", ".keys.json.lock"}


def test_a_link_to_the_file_stays_one(path: Path, tmp_path: Path) -> None:
    add_key(path, "ada", NONE)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    add_key(link, "bob", NONE)
    assert link.is_symlink()
    assert [key.name for key in list_keys(path)] == ["ada", "bob"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_file_stays_its_owners_when_root_writes_it(path: Path) -> None:
    add_key(path, "ada", NONE)
    os.chown(path, 12345, 12345)
    add_key(path, "bob", NONE)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12345)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


limits = st.builds(
    KeyLimits,
    st.none() | st.integers(1, 10**9),
    st.none() | st.integers(1, 10**9),
    st.none() | st.floats(0, 1e9),
)
names = st.from_regex(keys_module._NAME, fullmatch=True)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(names, limits), unique_by=lambda each: each[0], max_size=5))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, given: list[tuple[str, KeyLimits]]
) -> None:
    path = tmp_path_factory.mktemp("ring") / "keys.json"
    secrets = [add_key(path, name, limit) for name, limit in given]
    if not given:
        return
    ring = KeyRing(path, NONE)
    found = [ring.find(f"Bearer {secret}") for secret in secrets]
    assert [(key.name, key.limits) for key in found] == given
    assert found == list_keys(path)


@settings(deadline=None, max_examples=50)
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*entry(), "version", "keys"]), inner, max_size=4)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_content_is_more_than_a_damaged_file(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("ring") / "keys.json"
    path.write_bytes(content)
    try:
        ring = KeyRing(path, NONE)
    except MoAError as error:
        told = error.message
    else:
        told = f"{path}: {refused(ring, ANOTHER).status}"
    assert told.startswith((f"{path}: not a file of keys", f"{path}: 401"))


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=80))
def test_no_header_is_more_than_refused(tmp_path_factory: pytest.TempPathFactory, header: str) -> None:
    path = tmp_path_factory.mktemp("ring") / "keys.json"
    assert refused(KeyRing(written(path, entry()), NONE), header).status == 401
