"""An id names a thread and a turn, the same ones each time, and nobody else's."""

from __future__ import annotations

import re

import pytest

from moa_graph.server.faults import Refused
from moa_graph.server.keys import Key, KeyLimits
from moa_graph.server.responses.ids import ResponseId, new_id, read_id

ANNE, BEN = Key("a" * 12, "anne", KeyLimits()), Key("b" * 12, "ben", KeyLimits())


def test_an_id_is_read_as_it_was_written() -> None:
    id_ = new_id(ANNE, None)
    assert re.fullmatch(r"resp_[0-9a-f]{32}_[0-9a-f]{16}", str(id_))
    assert read_id(str(id_)) == id_


def test_without_an_idempotency_key_no_id_is_given_twice() -> None:
    assert len({str(new_id(ANNE, None)) for _ in range(100)}) == 100


def test_an_idempotency_key_gives_the_same_id_each_time() -> None:
    assert new_id(ANNE, "once") == new_id(ANNE, "once") != new_id(ANNE, "twice")


def test_two_owners_never_share_an_idempotency_key() -> None:
    assert new_id(ANNE, "once") != new_id(BEN, "once")


@pytest.mark.parametrize(
    "text", ["", "resp_1", "resp_" + "a" * 49, f"resp_{'A' * 32}_{'0' * 16}", f"resp_{'a' * 32}_{'0' * 16}\n"]
)
def test_what_is_no_id_is_not_found(text: str) -> None:
    with pytest.raises(Refused) as refused:
        read_id(text)
    assert (refused.value.status, refused.value.code) == (404, "response_not_found")


def test_a_thread_begins_with_its_owner() -> None:
    id_ = ResponseId("a" * 32, "b" * 16)
    assert id_.thread_of(ANNE) == f"{ANNE.id}/resp/{'a' * 32}"
    assert id_.thread_of(ANNE) != id_.thread_of(BEN)
    assert id_.once(ANNE) not in (id_.thread_of(ANNE), id_.once(BEN))


def test_items_of_a_response_have_ids_of_their_own() -> None:
    id_ = ResponseId("a" * 32, "b" * 16)
    ids = [id_.of(kind, number) for kind in ("msg", "fc", "rs") for number in range(2)]
    assert len(set(ids)) == 6
    assert all(len(each) <= 64 for each in ids)
