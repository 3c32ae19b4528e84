"""Read an exported thread; whatever is wrong with it is said with its line, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.messages import BaseMessage
from pydantic import ValidationError

from moa_graph.advising import Carried
from moa_graph.errors import MoAError
from moa_graph.runs.parsing import Refused, parse_line
from moa_graph.runs.portable import (
    KINDS,
    LINE,
    Answer,
    Asked,
    Edit,
    End,
    Failed,
    Finished,
    Fork,
    Header,
    Layer,
    Line,
    Portable,
    PortableTurn,
    Question,
    Retrieve,
    Standing,
    Step,
)
from moa_graph.runs.records import FORMAT
from moa_graph.runs.thread import AGGREGATOR, RETRIEVE, steps_of
from moa_graph.spec.loading import is_hash_of, parse_spec
from moa_graph.spec.schema import MoASpec
from moa_graph.state import Proposal
from moa_graph.terms import going_on_at

__all__ = ["MAX_BYTES", "read_export"]

MAX_BYTES = 32_000_000
"""Bytes of a file."""
_MAX_LINES = 20_000
_MAX_PARTS = 2_000_000
"""Values in a file, about: a list of lists takes fifty times its bytes of memory."""


def read_export(content: bytes, file: str) -> Portable:
    """Read the lines of an exported thread and check that they tell a thread's story.

    `file` is the name that errors show. Raises MoAError, which names the file and the line, for the first
    thing that is wrong, also for hostile content.
    """
    if len(content) > MAX_BYTES or sum(map(content.count, (b",", b"[", b"{"))) > _MAX_PARTS:
        raise MoAError(f"{file}: too large: an exported thread has up to {MAX_BYTES:,} bytes", hint=_HINT)
    lines = content.split(b"\n", _MAX_LINES + 1)
    if len(lines) > _MAX_LINES + 1:
        raise MoAError(f"{file}: too large: an exported thread has up to {_MAX_LINES:,} lines", hint=_HINT)
    if not lines[-1]:
        lines.pop()
    reader, number = _Reader(), 0
    try:
        for number, line in enumerate(lines, 1):
            data = parse_line(line)
            reader.take(number, data)
        return reader.close()
    except Refused as error:
        raise MoAError(f"{file}:{max(number, 1)}: {error}", hint=_HINT) from error


_HINT = "Nothing was imported. Export the thread anew, or correct the file."


class _Reader:
    """Follow the story line by line: what was asked, which steps ended, how each turn stands."""

    def __init__(self) -> None:
        self.found: Portable | None = None
        self.ended = False
        self.message_ids: set[str] = set()
        self.open: PortableTurn | None = None
        self.steps: list[str] = []
        self.place = 0
        """The number of steps of the turn that have ended."""
        self.said: list[BaseMessage] = []
        """The conversation before the turn."""
        self.carried: Carried | None = None
        """What the aggregator goes on with, alone, after tools that it called."""
        self.known: dict[str, set[str]] = {}
        """The ids of a turn's proposals by layer."""
        self.ids: set[str] = set()
        """The ids of all calls that the spec makes."""

    def take(self, number: int, data: dict[str, Any]) -> None:
        """Take in a line; raise Refused if it cannot stand here."""
        if self.ended:
            raise Refused("nothing may follow the line of type end")
        if self.found is None and data["type"] != "thread":
            raise Refused("an exported thread begins with a line of type thread")
        if data["type"] == "thread" and self.found is None and data.get("format") != FORMAT:
            raise Refused(f"this is no format that can be read here; expected format {FORMAT}")
        if data["type"] == "thread" and data.get("texts", True) is not True:
            raise Refused("this was exported without its texts, and cannot be imported")
        if data["type"] not in KINDS:
            return
        try:
            line = LINE.validate_python(data)
        except ValidationError as error:
            fault = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(part) for part in fault["loc"])
            raise Refused(f"{place}: {fault['msg']}") from None
        self._take(number, line)

    def close(self) -> Portable:
        """Return what was read."""
        if self.found is None or not self.ended:
            raise Refused("the file ends too early")
        return self.found

    def _take(self, number: int, line: Line) -> None:
        match line:
            case Header():
                self._begin(line)
            case Asked():
                self._ask(line)
            case Standing():
                self._stand(line)
            case End():
                self._end(number, line)
            case Finished():
                self._finish(line)
            case Failed():
                self._check_call(line.proposal)
                self._turn().failures.append(line.proposal)
            case _:
                self._step(line)

    def _begin(self, header: Header) -> None:
        if self.found is not None:
            raise Refused("there is a second line of type thread")
        try:
            spec = parse_spec(header.spec, file="spec", files=False)
        except MoAError as error:
            raise Refused(f"the spec cannot be read: {error.message.partition(chr(10))[0]}") from None
        if not is_hash_of(header.spec_hash, spec):
            raise Refused("the spec does not have the hash that stands beside it")
        self.found = Portable(header, spec)
        self.steps = steps_of(spec)
        self.ids = _ids(spec)

    def _ask(self, line: Asked) -> None:
        turns = self._story().turns
        if self.open is not None:
            raise Refused("the turn before has no line of type status")
        if any(turn.asked.turn == line.turn for turn in turns):
            raise Refused("there is a turn of that id already")
        self._add_messages(f"{line.turn}-{place}" for place in range(len(line.messages)))
        self.open, self.place, self.known = PortableTurn(line), 0, {}
        turns.append(self.open)
        self._set_out(line)

    def _set_out(self, asked: Asked) -> None:
        """Find out which steps a turn has."""
        spec, cadence = self._story().spec, asked.terms.get("fan_out", "every_call")
        self.carried = going_on_at(cadence, spec, [*self.said, *asked.messages])
        self.steps = [AGGREGATOR] if self.carried else steps_of(spec)

    def _stand(self, line: Standing) -> None:
        turn = self._turn()
        answered = self.place == len(self.steps)
        if line.status == "answered" and not answered:
            raise Refused("a turn without an answer is not answered")
        if len(self._story().turns) == 1 and self._story().header.origin and not turn.steps:
            raise Refused("a fork begins with a line of type fork")
        if line.status == "answered":  # else the question is given up when there is another one
            self.said += turn.asked.messages
        if turn.answer is not None:
            self.said.append(turn.answer)
        turn.standing, self.open = line, None

    def _end(self, number: int, line: End) -> None:
        if self.open is not None or not self._story().turns:
            raise Refused("the file ends within a turn")
        if line.lines != number - 1:
            raise Refused(f"{line.lines} lines were written, {number - 1} are there")
        self.ended = True

    def _finish(self, line: Finished) -> None:
        turn, proposal = self._turn(), line.proposal
        if not turn.steps or proposal["layer"] != self._next():
            raise Refused("a finished proposal belongs to the layer that comes next")
        finished = turn.steps[-1].finished
        if any(other["id"] == proposal["id"] for other in finished):
            raise Refused(f"proposal {proposal['id'][:80]!r} stands there twice")
        self._check_call(proposal)
        self.known.setdefault(proposal["layer"], set()).add(proposal["id"])
        finished.append(proposal)

    def _step(  # noqa: C901 - one case for each kind of line
        self, line: Question | Fork | Retrieve | Layer | Edit | Answer
    ) -> None:
        turn = self._turn()
        if isinstance(line, Question | Fork) != (not turn.steps):
            raise Refused("a turn begins with one line of type question or fork")
        match line:
            case Question() | Fork():
                if isinstance(line, Fork) != (self._is_first() and self._story().header.origin is not None):
                    raise Refused("a fork has an origin, and begins with one line of type fork")
                if isinstance(line, Fork):
                    self._take_over(line)
            case Retrieve():
                self._pass(RETRIEVE)
            case Layer():
                if line.layer == RETRIEVE:
                    raise Refused(f"{RETRIEVE} is no layer")
                self._pass(line.layer)
                self._join(line.layer, line.proposals)
                if line.stopped is not None:
                    self._cut_short(line.layer)
            case Edit():
                if not 0 < self.place < len(self.steps) or self.steps[self.place - 1] == RETRIEVE:
                    raise Refused("there is no layer whose proposals could be edited")
                for proposal in line.proposals:
                    self._check_layer(self.steps[self.place - 1], proposal)
                    self.known[proposal["layer"]].add(proposal["id"])
            case Answer():
                self._pass(AGGREGATOR)
                self._join(AGGREGATOR, line.proposals)
                self._check_answer(line.message)
        turn.steps.append(Step(line))

    def _take_over(self, line: Fork) -> None:
        self._add_messages(message.id for message in line.conversation)
        self.said += line.conversation
        self._set_out(self._turn().asked)
        if line.stopped is not None:
            self._cut_short(line.stopped.layer)
        if line.after is not None and line.after not in self.steps:
            raise Refused("the spec has no step of the name in `after`")
        self.place = self.steps.index(line.after) + 1 if line.after is not None else 0
        if (line.answer is not None) != (self.place == len(self.steps)):
            raise Refused("a fork holds an answer if, and only if, it was taken after the aggregator")
        for name in self.steps[: self.place]:
            if name != RETRIEVE:
                self._join(name, [record for record in line.proposals if record["layer"] == name])
        if len(line.proposals) != sum(map(len, self.known.values())):
            raise Refused("a fork holds proposals of layers that had not ended")
        if line.answer is not None:
            self._check_answer(line.answer)

    def _cut_short(self, layer: str) -> None:
        """Take the layers after this one out of the turn's steps."""
        spec = self._story().spec
        if spec.stop is None or self.carried or layer not in self.steps:
            raise Refused("the spec does not stop there")
        self.steps = steps_of(spec, {"message": "", "layer": layer, "reason": ""})

    def _pass(self, step: str) -> None:
        if step != self._next():
            raise Refused(f"the step that comes next is {self._next() or 'none'}")
        self.place += 1

    def _join(self, layer: str, proposals: Sequence[Proposal]) -> None:
        ids = {proposal["id"] for proposal in proposals}
        if len(ids) < len(proposals):
            raise Refused("a proposal stands there twice")
        self.known[layer] = ids
        for proposal in proposals:
            self._check_layer(layer, proposal)

    def _check_layer(self, layer: str, proposal: Proposal) -> None:
        if proposal["layer"] != layer:
            raise Refused(f"proposal {proposal['id'][:80]!r} is none of layer {layer}")
        self._check_call(proposal)

    def _check_call(self, call: Any) -> None:
        """Refuse a record that is not of this spec, or saw what is not there."""
        id_ = call["id"]
        if id_ != f"{call['layer']}/{call['proposer']}" or call["layer"] not in {*self.steps} - {RETRIEVE}:
            raise Refused(f"{id_[:80]!r} is the id of no call")
        aide = "role" in call and call["proposer"].startswith("@")
        if id_ not in self.ids and call["attempts"] and not aide:
            raise Refused(f"the spec asks for no {id_[:80]!r}")
        # Of the layers before; of its own, too: who ranks sees those, and a summary stands in for a proposal.
        upto = self.steps[: self.steps.index(call["layer"]) + 1]
        seen = {known for step in upto for known in self.known.get(step, set())}
        seen.update(each["id"] for each in (self.carried["references"] if self.carried else []))
        if not seen.issuperset(call["references"]):
            raise Refused(f"{id_[:80]!r} refers to a proposal that is not there")

    def _check_answer(self, message: Any) -> None:
        self._add_messages([message.id])
        summary = message.response_metadata["moa"]
        for call in [summary["aggregator"], *summary["failed_aggregators"]]:
            self._check_call(call)

    def _add_messages(self, ids: Iterable[str | None]) -> None:
        for id_ in ids:
            if id_ is None or id_ in self.message_ids:
                raise Refused("a message has no id, or another message's")
            self.message_ids.add(id_)

    def _story(self) -> Portable:
        assert self.found is not None  # noqa: S101 - the first line is the header
        return self.found

    def _turn(self) -> PortableTurn:
        if self.open is None:
            raise Refused("this line belongs to a turn, and there is none open")
        return self.open

    def _is_first(self) -> bool:
        return len(self._story().turns) == 1

    def _next(self) -> str | None:
        return self.steps[self.place] if self.place < len(self.steps) else None


def _ids(spec: MoASpec) -> set[str]:
    layers = {f"{layer.name}/{id_}" for layer in spec.layers for id_, _ in layer.ids()}
    return layers | {f"{AGGREGATOR}/{member.id}" for member in spec.aggregators()}
