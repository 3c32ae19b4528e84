"""A thread belongs to the spec it was made by."""

from __future__ import annotations

import pytest

from moa_graph.errors import SpecMismatch
from moa_graph.runs.pinning import check_pin
from moa_graph.runs.records import ThreadRecord
from moa_graph.spec.loading import dump_spec, parse_spec
from tests.runs.cast import THREE, Cast
from tests.spec.samples import VALID


def test_the_same_spec_passes_however_it_is_written() -> None:
    spec = Cast(THREE).spec
    record = ThreadRecord.new("t", spec)
    check_pin(record, spec)
    check_pin(record, None)
    check_pin(record, parse_spec("# a comment\n" + dump_spec(spec)))


def test_a_thread_of_the_first_release_is_not_orphaned() -> None:
    """Its hash was computed of all keys that there were, defaults as well."""
    first = "sha256:884ef2bbbe7a36025cbcadeb0837ce3b1a71d0617b3463c0f3594a2a7668074c"
    spec = parse_spec(VALID)
    record = ThreadRecord.new("t", spec).model_copy(update={"spec_hash": first})
    check_pin(record, spec)
    assert record.load_spec() == spec
    with pytest.raises(SpecMismatch):
        check_pin(record, parse_spec(VALID + "fan_out: every_call\n"))


def test_the_difference_shows_both_sides_with_their_names() -> None:
    cast = Cast(THREE)
    other = cast.changed(lambda spec: spec.update(name="other", limits={"max_calls": 9}))
    with pytest.raises(SpecMismatch) as caught:
        check_pin(ThreadRecord.new("t", cast.spec), other)
    lines = caught.value.difference.splitlines()
    assert lines[:2] == ["--- thread t", "+++ other"]
    assert {"-name: cast", "+name: other"} <= set(lines)
    assert any("max_calls: 9" in line for line in lines)
    assert caught.value.difference in str(caught.value)
    assert "nothing was called" in caught.value.message
    assert "--spec" in caught.value.hint
