"""What a request wants to be told beside its answer: in a header, or in its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["wants_detail", "wants_progress"]


def wants_detail(headers: Mapping[str, str], metadata: Mapping[str, Any] | None) -> bool:
    """Tell whether a request asks for the field `moa`: header X-MoA-Detail, or `moa` in its metadata."""
    return _wants("x-moa-detail", "moa", headers, metadata)


def wants_progress(headers: Mapping[str, str], metadata: Mapping[str, Any] | None) -> bool:
    """Tell whether a request asks for progress: header X-MoA-Progress, or `moa_progress` in its metadata."""
    return _wants("x-moa-progress", "moa_progress", headers, metadata)


def _wants(header: str, name: str, headers: Mapping[str, str], metadata: Mapping[str, Any] | None) -> bool:
    said = (headers.get(header), (metadata or {}).get(name))
    return any(isinstance(each, str) and each.strip().lower() in ("true", "1") for each in said)
