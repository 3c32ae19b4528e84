"""Progress as plain lines, for logs and pipes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from moa_graph.cli.proposals import error_of, is_needless
from moa_graph.cli.text import count, dollars, one_line, reason, seconds, tokens

if TYPE_CHECKING:
    from moa_graph.events import Event, LayerSelected

__all__ = ["Lines", "Silence"]


class Silence:
    """Show nothing."""

    def event(self, event: Event) -> None:
        """Pass the event over."""

    def say(self, line: str) -> None:
        """Pass the line over."""

    def pause(self) -> None:
        """Do nothing: nothing is in the way."""

    def close(self) -> None:
        """Do nothing: nothing was begun."""


class Lines(Silence):
    """Write one line to stderr for each event that is worth it."""

    def __init__(self) -> None:
        self._started: set[str] = set()

    def event(self, event: Event) -> None:
        """Write the line of an event."""
        if event["type"] == "call.started":
            self._started.add(event["id"])
        if event["type"] == "call.finished" and event["id"] not in self._started:
            # An answer that is one of the proposals was no call at all.
            chosen = event["role"] == "aggregator" and not event["proposal"]["attempts"]
            line = "" if chosen else f"{event['id']}: kept from before"
        else:
            line = describe(event)
        if line:
            self.say(line)

    def say(self, line: str) -> None:
        """Write a line to stderr."""
        typer.echo(line, err=True)


def describe(event: Event) -> str:  # noqa: PLR0911 -- one return for each kind of event
    """Return an event as one line; "" where it is not worth one."""
    match event["type"]:
        case "retrieval.finished":
            found = count(event["passages"], "passage")
            return f"{event['id']}: {found} from {event['retriever']} in {seconds(event['seconds'])}"
        case "retrieval.failed":
            return f"{event['id']}: {event['retriever']} failed: {one_line(event['reason'])}"
        case "layer.started":
            references = count(event["references"], "reference")
            seen = f", each with {references}" if event["references"] else ""
            width = len(event["proposers"])
            return f"{event['layer']}: {width} proposer{'s' * (width != 1)}{seen}"
        case "call.started" if event["role"] == "aggregator":
            return f"{event['id']}: {one_line(event['model'])} writes the answer"
        case "call.retried":
            wait = f"in {seconds(event['wait'])}" if event["wait"] >= 0.001 else "at once"
            return (
                f"{event['id']}: attempt {event['attempt']} failed: {reason(event['failure'])}; again {wait}"
            )
        case "call.finished" if event["role"] != "aggregator":  # of the aggregator's the summary tells
            made = event["proposal"]
            return (
                f"{event['id']}: done in {seconds(made['seconds'])}, "
                f"{tokens(made['usage'])} tokens, cost {dollars(made['cost'])}"
            )
        case "call.failed":
            lost = event["proposal"]
            if lost["status"] == "cut" and (is_needless(lost) or not lost["attempts"]):
                return f"{event['id']}: {error_of(lost)}"
            verb = "cut" if lost["status"] == "cut" else "failed"
            return f"{event['id']}: {verb} after {seconds(lost['seconds'])}: {reason(lost['failure'])}"
        case _:
            return _settled(event)


def _settled(event: Event) -> str:
    """Return what came of a layer as one line; "" for any other event."""
    match event["type"]:
        case "layer.joined":
            width = event["ok"] + event["failed"] + event["cut"]
            return f"{event['layer']}: {event['ok']} of {width} proposals in {seconds(event['seconds'])}"
        case "layer.selected":
            return _selected(event)
        case "layers.stopped":
            return f"{event['layer']}: enough: {one_line(event['reason'])}; the aggregator comes next"
        case _:
            return ""


def _selected(event: LayerSelected) -> str:
    """Return who goes on, and who does not and why."""
    layer, lost, how = event["layer"], event["left_out"], f"(select by {event['by']})"
    if not lost:
        why = f", as there was no selection: {said}" if (said := one_line(event["undecided"])) else ""
        return f"{layer}: all {len(event['kept'])} go on {how}{why}"
    names = ", ".join(map(_name, event["kept"]))
    verb = "goes" if len(event["kept"]) == 1 else "go"
    why = "; ".join(f"{_name(id_)} ({one_line(said, 100)})" for id_, said in lost.items())
    return f"{layer}: {names} {verb} on {how}; left out: {why}"


def _name(id_: str) -> str:
    return id_.partition("/")[2]
