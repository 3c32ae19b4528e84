"""Faults of retrieval: what a retriever needs, who refers to which, and citations without passages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moa_graph.spec.document import Path, as_mapping, as_sequence, show
from moa_graph.spec.kinds import check_twice
from moa_graph.spec.parts import Part
from moa_graph.spec.slots import RetrieverSpec

__all__ = ["check_known", "check_retrieval"]

_CHUNK_CHARS = RetrieverSpec.model_fields["chunk_chars"].default
_SHOWN = 20


def check_known(part: Part, path: Path, name: str, kind: str, section: str) -> None:
    """Note a name that does not stand under a section of the spec, such as a slot under `models`."""
    there = as_mapping(part.data.get(section))
    if name in there or part.has_fault(path):
        return
    known = list(there)
    part.fault(
        path,
        f"there is no {kind} {show(name)} under `{section}`",
        expected="one of " + ", ".join(show(name) for name in known[:_SHOWN]) if known else "its name there",
        suggestion=part.document.suggest(name, known),
    )


def check_retrieval(part: Part) -> None:
    """Note every fault of the retrievers of a spec and of those who ask them."""
    for name, retriever in as_mapping(part.data.get("retrievers")).items():
        _check_retriever(part, ("retrievers", name), as_mapping(retriever))
    asked = False
    for path, names in _asking(part):
        asked = asked or bool(names)
        check_twice(part, path, names)
        if isinstance(names, str):
            check_known(part, path, names, "retriever", "retrievers")
        for index, name in enumerate(as_sequence(names)):
            if isinstance(name, str):
                check_known(part, (*path, index), name, "retriever", "retrievers")
    if not asked and as_mapping(part.data.get("aggregator")).get("citations") in ("checked", "required"):
        message = "there is nothing to cite: nobody retrieves passages"
        expected = "`retrieve` with the name of a retriever, for all or for the aggregator"
        part.fault(("aggregator", "citations"), message, expected=expected)


def _asking(part: Part) -> Iterator[tuple[Path, Any]]:
    yield ("retrieve",), part.data.get("retrieve")
    for path, proposer in part.proposers():
        yield (*path, "retrieve"), proposer.get("retrieve")
    yield ("aggregator", "retrieve"), as_mapping(part.data.get("aggregator")).get("retrieve")


def _check_retriever(part: Part, path: Path, retriever: dict[str, Any]) -> None:
    kind = retriever.get("retriever")
    if kind == "bm25":
        if retriever.get("files") in (None, []) and not part.has_fault((*path, "files")):
            part.fault(
                (*path, "files"), "`bm25` needs `files`", expected="paths or patterns, such as [docs/*.md]"
            )
    elif isinstance(kind, str) and kind.startswith("host:"):
        for key, default in (("files", []), ("chunk_chars", _CHUNK_CHARS)):
            here = (*path, key)
            if retriever.get(key) not in (None, default):
                part.fault(here, f"`{key}` goes with `bm25` alone", at=part.key(here))
