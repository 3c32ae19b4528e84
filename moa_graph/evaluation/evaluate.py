"""An evaluation from its order to its files: the one way in which commands and programs run one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel

from moa_graph.evaluation.ceiling import Ceiling, most_of
from moa_graph.evaluation.datasets import Dataset, Item
from moa_graph.evaluation.folder import Folder, earlier_extract
from moa_graph.evaluation.formats import Format, check_items, file_of, write_outputs
from moa_graph.evaluation.reports import Summary, check_ready, summarize
from moa_graph.evaluation.running import Evaluation, Happened, Plan
from moa_graph.evaluation.scoring import Record, check_gold
from moa_graph.evaluation.statistics import Interval
from moa_graph.models.pool import ModelPool
from moa_graph.runs.threads import Runs
from moa_graph.spec.extracting import ExtractSpec
from moa_graph.spec.schema import MoASpec

__all__ = ["Order", "evaluate", "summary_json", "summary_of"]


@dataclass(frozen=True)
class Order:
    """Say what is evaluated on which items, where it is kept, and what bounds it.

    `db` is the URL of another store than the one in the folder `out`; `how` says how answers are read, None
    as the folder was told before, else as the spec's own vote reads them; `max_cost` is USD for all that was
    ever asked in the folder; `form` is a judge's format. `models` are the host's, as for `build_graph`.
    """

    spec: MoASpec
    dataset: Dataset
    items: Sequence[Item]
    out: Path
    how: ExtractSpec | None = None
    db: str | None = None
    key_env: str | None = None
    concurrency: int = 8
    max_cost: float | None = None
    form: Format | None = None
    models: Mapping[str, BaseChatModel] | None = None

    def extract(self) -> ExtractSpec | None:
        """Return how answers are read: as was said, now or earlier, or as the spec's vote reads them."""
        return self.how or earlier_extract(self.out) or self.spec.aggregator.extract

    @property
    def others(self) -> list[Item]:
        """Return the items of the dataset that are not evaluated now."""
        chosen = {item.id for item in self.items}
        return [item for item in self.dataset.items if item.id not in chosen]


async def evaluate(
    order: Order,
    *,
    restored: Callable[[Evaluation], None] = lambda _: None,
    watch: Callable[[Happened], None] = lambda _: None,
) -> Evaluation:
    """Run an evaluation to its end, and write records, summary and outputs into its folder.

    What is done already is restored first, and `restored` is told; then `watch` is told of every item.
    However it ends, the records of what is done are written, and the same order goes on from there. Raises
    MoAError before anything is paid for a folder of another evaluation, a store that lacks what its records
    hold, an unknown price under `max_cost`, items that do not suit the format, gold answers that cannot be
    read, a missing package; and what `Evaluation.run` raises.
    """
    check_ready()
    how = order.extract()
    check_gold(order.items, how)
    if order.form is not None:
        check_items(order.items, order.form)
    ceiling = _ceiling(order)
    with Folder.open(order.out, order.spec, order.dataset, order.how) as folder:
        plan = Plan(folder.name, order.items, how, order.concurrency, ceiling, order.others)

        def noted(happened: Happened) -> None:
            if happened.type == "ended" and happened.record is not None:
                folder.append(happened.record)
            watch(happened)

        async with Runs.open(
            order.db or folder.db, order.spec, models=order.models, key_env=order.key_env
        ) as runs:
            evaluation = Evaluation(runs, plan, noted)
            await evaluation.restore(folder.answered())
            # Failed items are tried again now: they are added when they have ended anew.
            done = [record for record in evaluation.in_order() if record["status"] == "answered"]
            folder.write_records(_sorted(order, [*evaluation.other_records, *done]))
            restored(evaluation)
            try:
                await evaluation.run()
            finally:
                records = [*evaluation.other_records, *evaluation.in_order()]
                folder.write_records(_sorted(order, records))
        _write(folder, order, evaluation)
    return evaluation


def summary_of(evaluation: Evaluation) -> Summary:
    """Return the summary of what has ended."""
    plan = evaluation.plan
    return summarize(
        evaluation.in_order(),
        items=len(plan.items),
        cost=evaluation.cost,
        extracting=plan.how is not None,
    )


def summary_json(summary: Summary) -> dict[str, Any]:
    """Return a summary as plain JSON; an interval is `value`, `low`, `high` and `level`."""

    def plain(value: Any) -> Any:
        if isinstance(value, Interval):
            return asdict(value)
        if isinstance(value, list):
            return [plain(part) for part in value]
        return {name: plain(part) for name, part in value.items()} if isinstance(value, dict) else value

    return {name: plain(value) for name, value in summary.items()}


def _ceiling(order: Order) -> Ceiling | None:
    if order.max_cost is None:
        return None
    price = ModelPool(order.spec, order.models).price
    items = enumerate([*order.items, *order.others])  # as `Evaluation` counts them
    return Ceiling(order.max_cost, {place: most_of(item, order.spec, price) for place, item in items})


def _sorted(order: Order, records: Iterable[Record]) -> list[Record]:
    """Return records in the order of the dataset."""
    places = {item.id: place for place, item in enumerate(order.dataset.items)}
    return sorted(records, key=lambda record: places.get(record["id"], len(places)))


def _write(folder: Folder, order: Order, evaluation: Evaluation) -> None:
    summary = summary_json(summary_of(evaluation))
    folder.write("summary.json", json.dumps(summary, indent=2) + "\n")
    if order.form is not None:
        text = write_outputs(
            order.items,
            evaluation.records,
            order.form,
            generator=order.spec.name,
            dataset=order.dataset.name,
        )
        folder.write(file_of(order.form, order.spec.name), text)
