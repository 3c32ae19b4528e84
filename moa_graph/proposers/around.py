"""How deep a run is: a mixture may be a proposer, a model or a tool inside another one."""

from __future__ import annotations

from contextvars import ContextVar

from moa_graph.errors import MoAError
from moa_graph.spec.nesting import MAX_NESTED

__all__ = ["around", "check_depth", "go_inside"]

_AROUND: ContextVar[tuple[str, ...]] = ContextVar("moa_around", default=())
# Not in the config: what stands between two mixtures may be code of the host that passes none on.


def around() -> tuple[str, ...]:
    """Return the calls that surround this place, the outermost first: "spec: layer/proposer"."""
    return _AROUND.get()


def go_inside(call: str) -> None:
    """Note that what this task does from here on belongs to a call."""
    _AROUND.set((*around(), call))


def check_depth(name: str) -> None:
    """Raise MoAError if the mixture `name` stands too deep inside others."""
    if len(around()) >= MAX_NESTED:
        raise MoAError(
            f"{name} would run inside {len(around())} other mixtures ({' > '.join(around())}); "
            f"at most {MAX_NESTED} may stand inside each other",
            hint="One that asks itself would never end: register something else, or nest less.",
        )
