"""What surrounds a run: a mixture may be a proposer, a model or a tool inside a call of another one."""

from __future__ import annotations

from contextvars import ContextVar
from typing import NamedTuple
from uuid import UUID

from moa_graph.errors import MoAError
from moa_graph.proposers.spending import Spending
from moa_graph.spec.nesting import MAX_NESTED

__all__ = ["Paying", "adopt", "around", "check_depth", "go_inside", "paying"]


class Paying(NamedTuple):
    """Say who pays for what is done inside a call, and until when.

    `deadline` is a `time.monotonic()` time.
    """

    account: Spending
    deadline: float


_AROUND: ContextVar[tuple[str, ...]] = ContextVar("moa_around", default=())
_PAYING: ContextVar[Paying | None] = ContextVar("moa_paying", default=None)
# Not in the config: what stands between two mixtures may be code of the host that passes none on.


def around() -> tuple[str, ...]:
    """Return the calls that surround this place, the outermost first: "spec: layer/proposer"."""
    return _AROUND.get()


def paying() -> Paying | None:
    """Return who pays for what is done here; None outside of all calls."""
    return _PAYING.get()


def go_inside(call: str, payer: Paying) -> None:
    """Note that what this task does from here on belongs to a call, which pays for it."""
    _AROUND.set((*around(), call))
    _PAYING.set(payer)


def adopt(run_id: UUID | None) -> None:
    """Say that the model that runs here is a mixture: the call around it pays for its requests one by one."""
    if (payer := paying()) is not None:
        payer.account.adopt(run_id)


def check_depth(name: str) -> None:
    """Raise MoAError if the mixture `name` stands too deep inside others."""
    if len(around()) >= MAX_NESTED:
        raise MoAError(
            f"{name} would run inside {len(around())} other mixtures ({' > '.join(around())}); "
            f"at most {MAX_NESTED} may stand inside each other",
            hint="One that asks itself would never end: register something else, or nest less.",
        )
