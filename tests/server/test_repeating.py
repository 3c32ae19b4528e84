"""An Idempotency-Key is fit or refused, and stands for one request however its answer is to come."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.datastructures import Headers

from moa_graph.server.faults import Refused
from moa_graph.server.repeating import check_same, digest_of, repeated_by

BODY: dict[str, Any] = {"model": "team", "input": "Why?"}


def test_a_request_need_not_have_a_key() -> None:
    assert repeated_by(Headers({})) is None


@pytest.mark.parametrize("key", ["k", "k" * 255])
def test_a_key_is_read_as_it_was_given(key: str) -> None:
    assert repeated_by(Headers({"Idempotency-Key": key})) == key


@pytest.mark.parametrize("key", ["", "  ", "k" * 256])
def test_a_key_that_names_nothing_is_refused(key: str) -> None:
    with pytest.raises(Refused) as refused:
        repeated_by(Headers({"idempotency-key": key}))
    told = refused.value
    assert (told.status, told.param, told.code) == (400, "Idempotency-Key", "invalid_value")


@pytest.mark.parametrize(
    "more",
    [{"stream": True}, {"stream_options": {"include_usage": True}}, {"background": True}, {"user": None}],
)
def test_how_an_answer_comes_makes_no_other_request(more: dict[str, Any]) -> None:
    assert digest_of({**BODY, **more}) == digest_of(BODY)


def test_another_question_is_another_request() -> None:
    notes = {"body": digest_of(BODY)}
    check_same(notes, digest_of(dict(reversed(BODY.items()))))
    with pytest.raises(Refused) as refused:
        check_same(notes, digest_of({**BODY, "input": "How?"}))
    assert (refused.value.status, refused.value.code) == (422, "idempotency_key_reused")
