"""Who wants to be told more says so in a header or in the metadata."""

from __future__ import annotations

from typing import Any

import pytest

from moa_graph.server.wishes import wants_detail, wants_progress


@pytest.mark.parametrize(
    ("headers", "metadata", "wanted"),
    [
        ({}, None, False),
        ({}, {}, False),
        ({"name": "TRUE"}, None, True),
        ({"name": "1"}, {}, True),
        ({"name": "false"}, {"key": "true"}, True),
        ({"name": "yes"}, {"key": "no"}, False),
        ({}, {"key": True}, False),
    ],
)
@pytest.mark.parametrize(
    ("wants", "header", "key"),
    [(wants_detail, "x-moa-detail", "moa"), (wants_progress, "x-moa-progress", "moa_progress")],
)
def test_who_asks_for_more_says_so(
    wants: Any, header: str, key: str, headers: dict[str, str], metadata: dict[str, Any] | None, wanted: bool
) -> None:
    named = dict.fromkeys([header] if headers else [], headers.get("name", ""))
    asked = metadata and {key: metadata["key"]}
    assert wants(named, asked) is wanted
