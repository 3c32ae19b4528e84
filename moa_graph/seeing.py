"""What each reader of one step sees of the layers before; where summaries are wanted, they come first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from moa_graph.calls import ask_all
from moa_graph.execution import Execution
from moa_graph.node import Dispatch
from moa_graph.proposers.resolve import aide_caller
from moa_graph.resources import Resources
from moa_graph.selecting.aides import summarizer
from moa_graph.selecting.visibility import Reader, all_see_the_same, layers_seen, references_for
from moa_graph.spec.schema import LayerSpec, ReferencesSpec
from moa_graph.state import Proposal, Reference, is_shown

__all__ = ["Sight"]


class Sight:
    """Show a step's readers what they may see; `ran` are the layers that ran before it."""

    def __init__(
        self,
        resources: Resources,
        step: str,
        spec: ReferencesSpec,
        execution: Execution,
        ran: Sequence[LayerSpec],
    ) -> None:
        self.resources = resources
        self.step = step
        self.spec = spec
        self.execution = execution
        self.offer = execution.offer(ran)
        self._alike = all_see_the_same(spec, self.offer)
        self._shown: dict[str | None, list[Reference]] = {}

    @property
    def missing(self) -> bool:
        """Tell whether there should be something to see, and nothing is there."""
        looked_at = layers_seen(self.spec, self.offer.layers)
        return bool(looked_at) and not any(map(self.offer.of, looked_at))

    async def sum_up(
        self, readers: Sequence[str | None], dispatch: Dispatch[Proposal]
    ) -> dict[str, Proposal]:
        """Have a summary written of each proposal that somebody sees, where summaries are wanted.

        A proposal whose summary failed is shown as it is.
        """
        if self.spec.payload != "summary":
            return {}
        seen = {reference["id"] for reader in readers for reference in self.of(reader)}
        shown = [record for record in self.offer.records if record["id"] in seen and is_shown(record)]
        if not shown:
            return {}
        asked = [
            (
                aide_caller(self.resources, summarizer(self.step, self.spec, record)),
                self.execution.request([{"id": record["id"], "text": record["text"]}]),
            )
            for record in shown
        ]
        found = await ask_all(asked, dispatch, self.execution)
        made = {
            record["id"]: summary
            for record, summary in zip(shown, found, strict=True)
            if summary["status"] == "ok"
        }
        self.offer = replace(self.offer, summaries=made)
        self._shown.clear()
        return {summary["id"]: summary for summary in found}

    def of(self, reader: str | None) -> list[Reference]:
        """Return what a reader sees: a proposer by its id ("layer/proposer"), the aggregator by None."""
        if self._alike:
            reader = None
        if reader not in self._shown:
            name = reader.partition("/")[2] if reader is not None else None
            who = Reader(name, self.step, self.execution.question)
            self._shown[reader] = references_for(self.spec, self.offer, who)
        return self._shown[reader]

    def proposal(self, reference: Reference) -> Proposal:
        """Return the proposal behind a reference, in full."""
        id_ = next((id_ for id_, made in self.offer.summaries.items() if made["id"] == reference["id"]), None)
        return self.execution.proposals[id_ or reference["id"]]
