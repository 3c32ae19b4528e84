"""A thread belongs to the spec it was made by."""

from __future__ import annotations

import pytest

from moa_graph.errors import SpecMismatch
from moa_graph.runs.pinning import check_pin
from moa_graph.runs.records import ThreadRecord
from moa_graph.spec.loading import dump_spec, parse_spec
from tests.runs.cast import THREE, Cast


def test_the_same_spec_passes_however_it_is_written() -> None:
    spec = Cast(THREE).spec
    record = ThreadRecord.new("t", spec)
    check_pin(record, spec)
    check_pin(record, None)
    check_pin(record, parse_spec("# a comment\n" + dump_spec(spec)))


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
