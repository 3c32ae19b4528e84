"""What of a thread is still valid under another spec; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from moa_graph.runs.thread import used_first
from moa_graph.runs.ways import answering, asking, asking_aide, selecting, stopping
from moa_graph.selecting.stopping import asks_judge, enough
from moa_graph.spec.schema import LayerSpec, MoASpec
from moa_graph.state import Proposal, Stopped, is_needless, is_proposal, is_shown

__all__ = ["Reuse", "reusable"]

_Records = dict[str, Proposal]


@dataclass(frozen=True)
class Reuse:
    """Say what a fork takes over: whole layers, records of the step after them, and the answer.

    `ended` is the number of layers that need not run, `proposals` are theirs; `kept` are records of the step
    after them, which then asks only for the rest. `stopped` says why the layers after the `ended` ones are
    not needed, None if they are.
    """

    ended: int
    proposals: _Records
    kept: _Records
    answered: bool
    stopped: str | None = None


@dataclass(frozen=True)
class _Past:
    """Hold what a turn of `spec` gave: all records of its first `ended` steps, and some of the next one."""

    spec: MoASpec
    records: _Records
    ended: int
    stopped: Stopped | None

    @property
    def ran(self) -> int:
        """Return the number of layers that the turn had, or has."""
        names = [layer.name for layer in self.spec.layers]
        return names.index(self.stopped["layer"]) + 1 if self.stopped else len(names)


def reusable(
    old: MoASpec,
    new: MoASpec,
    proposals: Mapping[str, Proposal],
    finished: Mapping[str, Proposal],
    ended: int,
    stopped: Stopped | None = None,
) -> Reuse:
    """Return what stays valid of a turn of `old` when it goes on under `new`.

    `proposals` are those of its first `ended` steps, `finished` those of the step after them, with the
    records of calls that failed: that layer has ended if all have spoken, and are enough now. A proposal
    is valid if the same proposer, asked in the same way, saw the same references and passages; how long a
    layer waits, how often it tries and how many proposals it asks for change no proposal. What somebody said
    about proposals is valid if they were asked the same about the same. A layer whose selection has changed
    is settled anew, and what follows it is asked anew; whether it is enough is decided by what is there.
    `stopped` says after which layer the others were not needed.
    """
    past = _Past(old, {**proposals, **finished}, ended, stopped)
    taken: _Records = {}
    for index in range(len(new.layers)):
        part = _Part(past, new, index)
        settled = part.settled(taken)
        if settled is None:
            return Reuse(index, taken, part.kept(taken), answered=False)
        taken |= settled
        reason = part.enough(taken)
        if reason is not None or not part.selects_alike:
            return _upto(past, new, index + 1, taken, reason, changed=not part.selects_alike)
    return _upto(past, new, len(new.layers), taken, None)


def _upto(
    past: _Past, new: MoASpec, count: int, taken: _Records, reason: str | None, *, changed: bool = False
) -> Reuse:
    """Return what is taken over; what follows saw something else where the last layer was `changed`."""
    last = reason is not None or count == len(new.layers)
    same_end = last and not changed and past.ran == count and (past.stopped is None) == (reason is None)
    if same_end and past.ended > past.ran and answering(past.spec) == answering(new):
        why = past.stopped["reason"] if past.stopped else None
        return Reuse(count, past.records, {}, answered=True, stopped=why)  # with all that it had cost
    kept = _about(past, new, "aggregator" if last else new.layers[count].name, taken)
    if not same_end:  # each summary is of a proposal that is what it was
        kept = {id_: record for id_, record in kept.items() if record.get("role") == "summarizer"}
    return Reuse(count, taken, kept, answered=False, stopped=reason)


@dataclass(frozen=True)
class _Part:
    """Compare one layer of a turn with that of the new spec in its place; those before it are the same."""

    past: _Past
    new: MoASpec
    index: int

    @property
    def layer(self) -> LayerSpec:
        return self.new.layers[self.index]

    @cached_property
    def was(self) -> LayerSpec | None:
        layers = self.past.spec.layers
        same = self.index < len(layers) and layers[self.index].name == self.layer.name
        return layers[self.index] if same else None

    @property
    def ended(self) -> bool:
        return self.was is not None and self.index < min(self.past.ended, self.past.ran)

    @cached_property
    def before(self) -> dict[str, Any]:
        return asking(self.past.spec, self.was) if self.was else {}

    @cached_property
    def now(self) -> dict[str, Any]:
        return asking(self.new, self.layer)

    @cached_property
    def records(self) -> _Records:
        """Return all that the turn has of this layer."""
        if self.was is None:
            return {}
        return {id_: each for id_, each in self.past.records.items() if each["layer"] == self.layer.name}

    @cached_property
    def selects_alike(self) -> bool:
        return self.was is not None and selecting(self.past.spec, self.was) == selecting(self.new, self.layer)

    @property
    def unchanged(self) -> bool:
        """Tell whether all that followed the proposals of a layer that has ended would follow them now."""
        stops_alike = stopping(self.past.spec, self.index) == stopping(self.new, self.index)
        return self.ended and self.selects_alike and stops_alike

    def settled(self, taken: _Records) -> _Records | None:
        """Return all records of a layer that need not run, None if it has to; `taken` are those before it."""
        ids = [f"{self.layer.name}/{id_}" for id_ in self.now]
        if list(self.before.items()) != list(self.now.items()) or not self._has_spoken(ids):
            return None
        if self.unchanged:
            found = self.records
        elif self.ended and self.selects_alike:
            found = {id_: each for id_, each in self.records.items() if each.get("role") != "judge"}
        elif not any(selecting(self.new, self.layer)):
            # As if nothing had been selected.
            found = {id_: _shown_again(each) for id_, each in self.records.items() if is_proposal(each)}
        else:
            return None
        if found is not self.records:
            found = _about(self.past, self.new, self.layer.name, taken | found) | found
        return None if self._awaits_judge(found) else {id_: found[id_] for id_ in ids} | found

    def enough(self, taken: _Records) -> str | None:
        """Return why the layers after this one are not needed; `taken` are all until here."""
        stop, stopped = self.new.stop, self.past.stopped
        if stop is None or self._is_last:
            return None
        if self.unchanged:
            return stopped["reason"] if stopped and stopped["layer"] == self.layer.name else None
        return enough(stop, [layer.name for layer in self.new.layers[: self.index + 1]], taken)

    def kept(self, taken: _Records) -> _Records:
        """Return the records that a layer which has to run need not ask for again."""
        kept = {
            id_: _shown_again(record)
            for id_, record in self.records.items()
            if is_proposal(record) and record["status"] == "ok" and self._is_valid(record["proposer"])
        }
        return kept | _about(self.past, self.new, self.layer.name, taken | kept)

    @property
    def _is_last(self) -> bool:
        return self.index + 1 == len(self.new.layers)

    def _is_valid(self, proposer: str) -> bool:
        if proposer not in self.before:  # added by hand
            return True
        return proposer in self.now and self.before[proposer] == self.now[proposer]

    def _has_spoken(self, ids: Sequence[str]) -> bool:
        """Tell whether there is a record of everybody, and enough of them are ok."""
        if self.was is None or not self.records.keys() >= set(ids):
            return False
        proposals = [record for record in self.records.values() if is_proposal(record)]
        if self.past.spec.stop != self.new.stop and any(map(is_needless, proposals)):
            return False  # those who agreed then may not be enough now
        ok = sum(record["status"] == "ok" for record in proposals)
        # A layer that ended had enough: where proposals agree, fewer than the quorum are.
        return ok >= self.layer.quorum or (self.ended and self.layer.quorum == self.was.quorum)

    def _awaits_judge(self, records: _Records) -> bool:
        """Tell whether somebody has yet to say whether this layer is enough."""
        if self._is_last or self.unchanged:
            return False
        judged = records.get(f"{self.layer.name}/@judge")
        shown = [id_ for id_, record in records.items() if is_shown(record)]
        about_these = judged is not None and sorted(judged["references"]) == sorted(shown)
        return asks_judge(self.new.stop, self.index + 1) and not about_these


def _about(past: _Past, new: MoASpec, step: str, there: _Records) -> _Records:
    """Return what was said in a step about proposals and still holds; `there` are those that remain."""
    found: _Records = {}
    for id_, record in used_first(past.records).items():
        if is_proposal(record) or record["layer"] != step or record["status"] != "ok":
            continue
        known = {**there, **found}
        same = all(
            # What was edited in this very step was edited after it had been read.
            other in known and not (known[other]["edited"] and known[other]["layer"] == step)
            for other in record["references"]
        )
        asked = asking_aide(past.spec, record)
        if (
            same
            and asked is not None
            and asked == asking_aide(new, record)
            and _says_enough(past, new, record)
        ):
            found[id_] = record
    return found


def _says_enough(past: _Past, new: MoASpec, record: Proposal) -> bool:
    """Tell whether a ranking has as many places as the new selection asks for."""
    if record["proposer"] != "@ranker":
        return True
    least = [
        layer.select.keep or 1
        for spec in (past.spec, new)
        for layer in spec.layers
        if layer.name == record["layer"] and layer.select is not None
    ]
    return least[-1] <= least[0]


def _shown_again(record: Proposal) -> Proposal:
    """Return a proposal that a new selection may show again."""
    copy = record.copy()
    copy.pop("left_out", None)
    return copy
