"""Folders as `moa eval` writes them, for tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["written_run"]


def written_run(
    folder: Path,
    layers: Mapping[str, Mapping[str, str]],
    answers: Sequence[bool | None],
    *,
    models: Mapping[str, str] | None = None,
    costs: Sequence[float | None] | None = None,
    digest: str = "same",
) -> Path:
    """Write a run: each proposer of `layers` is, by question, + right, - wrong, ? unjudged, . absent.

    Those without a text are f, failed, and c, cut.
    """
    folder.mkdir(parents=True)
    lines = []
    for number, right in enumerate(answers):
        proposals: list[dict[str, Any]] = []
        for layer, proposers in layers.items():
            for name, signs in proposers.items():
                if signs[number] == ".":
                    continue
                correct = {"+": True, "-": False, "f": False}.get(signs[number])
                model = (models or {}).get(name, f"provider:{name}")
                extracted = {True: "right", False: f"wrong {name}", None: None}[correct]
                proposal = {
                    "id": f"{layer}/{name}",
                    "model": model,
                    "status": {"f": "failed", "c": "cut"}.get(signs[number], "ok"),
                    "text": f"I say {extracted}",
                }
                proposals.append({**proposal, "extracted": extracted, "correct": correct})
        cost = 0.01 if costs is None else costs[number]
        lines.append({"id": number, "correct": right, "cost": cost, "proposals": proposals})
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pin = {
        "format": 1,
        "name": folder.name,
        "dataset": {"file": "questions.jsonl", "digest": digest, "items": len(lines)},
    }
    (folder / "evaluation.json").write_text(json.dumps(pin))
    return folder
