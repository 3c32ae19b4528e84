"""JSON goes out whatever a model wrote."""

from __future__ import annotations

import json

from moa_graph.server.encoding import JsonReply, encoded
from moa_graph.server.streaming import event

TOLD = {"text": "half a pair: \ud83d, a whole one: \U0001f600, a line:\u2028"}


def test_half_a_surrogate_pair_breaks_no_answer() -> None:
    assert json.loads(encoded(TOLD)) == TOLD
    assert json.loads(JsonReply(TOLD).body) == TOLD


def test_other_letters_stay_as_they_are() -> None:
    assert encoded(["…", "\U0001f600"]) == '["…","\U0001f600"]'


def test_an_event_is_one_line_whatever_is_in_it() -> None:
    sent = event(TOLD, "told")
    assert sent.encode().decode() == sent
    assert [line.partition(": ")[0] for line in sent.split("\n")] == ["event", "data", "", ""]
