"""`moa eval`: measure a spec on a dataset."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from moa_graph.cli.options import Json, KeyEnv, Quiet

__all__ = ["eval_"]


class _Form(StrEnum):
    ALPACA_EVAL = "alpaca_eval"
    MT_BENCH = "mt_bench"
    FLASK = "flask"


def eval_(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="The spec file.")],
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="The questions: .jsonl, .json, .csv or .parquet.")
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where it is kept; default: eval-SPEC-DATASET, by their names."),
    ] = None,
    db: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Another store for the threads: sqlite:///PATH or postgresql://…"),
    ] = None,
    key_env: KeyEnv = None,
    question: Annotated[
        str | None, typer.Option(metavar="FIELD", help="The field with the question; default: a usual name.")
    ] = None,
    gold: Annotated[
        str | None, typer.Option(metavar="FIELD", help="The field with the right answer, or a list of them.")
    ] = None,
    id_: Annotated[
        str | None, typer.Option("--id", metavar="FIELD", help="The field with the id; default: the row.")
    ] = None,
    extract: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="How an answer is read: number, choice, last-line, or a mapping as in a spec.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only the first N items.")] = None,
    sample: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Only N items, drawn at random.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="What the sample depends on.")] = 0,
    concurrency: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="Items at once.")] = 8,
    max_cost: Annotated[
        float | None,
        typer.Option(metavar="USD", min=0, help="Begin no item that could make the whole cost more."),
    ] = None,
    form: Annotated[
        _Form | None,
        typer.Option(
            "--format", metavar="|".join(_Form), help="Also write the outputs as this judge expects them."
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a spec on a dataset: accuracy with intervals, calls, cost and failures.

    Every item is a thread: after any end the same command goes on, and nothing is paid twice. The summary
    goes to stdout, progress to stderr, and a record of each item to records.jsonl in the folder.
    Exit codes: 0 all answered, 1 some items failed or are left.
    """
    if limit is not None and sample is not None:
        raise typer.BadParameter("use either --limit or --sample", param_hint="--sample")
    # These are imported here because `moa --help` must not wait for the graph.
    from moa_graph.cli.evaluating import conduct  # noqa: PLC0415 -- see above
    from moa_graph.cli.extracting import read_extract  # noqa: PLC0415 -- see above
    from moa_graph.evaluation.datasets import Fields, choose, read_dataset  # noqa: PLC0415 -- see above
    from moa_graph.evaluation.evaluate import Order  # noqa: PLC0415 -- see above
    from moa_graph.spec.loading import load_spec  # noqa: PLC0415 -- see above

    how = None if extract is None else read_extract(extract)
    loaded = load_spec(spec)
    data = read_dataset(dataset, Fields(question, gold, id_))
    order = Order(
        spec=loaded,
        dataset=data,
        items=choose(data.items, limit=limit, sample=sample, seed=seed),
        out=out or Path(f"eval-{loaded.name}-{data.name}"),
        how=how,
        db=db,
        key_env=key_env,
        concurrency=concurrency,
        max_cost=max_cost,
        form=None if form is None else form.value,
    )
    conduct(order, as_json=as_json, quiet=quiet)
