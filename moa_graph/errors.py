"""The errors of moa_graph. Each says what was paid for and what to do next.

MoAError
 ├── SpecError             a spec that cannot be used; lists every fault with file:line:column
 ├── ModelNotReady         a slot's key, package or file is missing; nothing was called
 ├── ThreadError           a thread that is not there, or cannot do what was asked; nothing was called
 │    ├── ThreadBusy       somebody else runs the thread
 │    └── SpecMismatch     the thread was made by another spec; shows the difference
 └── RunError              a run that ended without an answer; what was paid for is kept in it
      ├── QuorumNotMet     too few proposers of a layer succeeded
      ├── AggregatorFailed the aggregator and all its fallbacks failed
      ├── DeadlineExceeded the run's time was up
      ├── BudgetExceeded   the run's limit of calls or of cost was reached
      ├── RetrievalFailed  passages for everybody could not be retrieved; no model was called
      └── StoreError       the place where threads are kept failed, or holds what cannot be trusted
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "AggregatorFailed",
    "BudgetExceeded",
    "DeadlineExceeded",
    "Fault",
    "MoAError",
    "ModelNotReady",
    "QuorumNotMet",
    "RetrievalFailed",
    "RunError",
    "SpecError",
    "SpecMismatch",
    "StoreError",
    "ThreadBusy",
    "ThreadError",
]


class MoAError(Exception):
    """Be the root of every error that moa_graph raises on purpose.

    `message` is one sentence; `hint` says what to do next.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


@dataclass(frozen=True)
class Fault:
    """Describe one fault of a spec file: where it is, what was expected, and how to mend it.

    `line` and `column` count from 1; 0 means unknown (a spec that came from a dict).
    `path` is the place in the document, such as `layers[0].proposers[2].model`.
    """

    message: str
    path: str = ""
    file: str = "<spec>"
    line: int = 0
    column: int = 0
    expected: str = ""
    suggestion: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        place = f" {self.path}:" if self.path else ""
        expected = f"; expected {self.expected}" if self.expected else ""
        suggestion = f" ({self.suggestion})" if self.suggestion else ""
        return f"{where}:{place} {self.message}{expected}{suggestion}"


class SpecError(MoAError):
    """Refuse a spec; `faults` lists everything that is wrong with it, in document order."""

    def __init__(self, faults: Sequence[Fault], *, hint: str = "") -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults), hint=hint)


class ModelNotReady(MoAError):
    """Refuse to start a run because a slot lacks its key, package, file or registered object."""


class ThreadError(MoAError):
    """Refuse what was asked of a thread: it is unknown, has ended, or is not at the right place."""


class ThreadBusy(ThreadError):
    """Refuse to run a thread that somebody else runs, in this process or in another one."""


class SpecMismatch(ThreadError):
    """Refuse to go on with a thread under another spec than the one it was made by.

    `difference` is a unified diff from the thread's spec to the one that was given.
    """

    def __init__(self, message: str, *, hint: str = "", difference: str = "") -> None:
        super().__init__(f"{message}\n{difference}" if difference else message, hint=hint)
        self.difference = difference


class RunError(MoAError):
    """End a run without an answer, keeping all that was paid for.

    `proposals` are the records made so far in spec order (see `moa_graph.state.Proposal`),
    `usage` the tokens of all calls, `cost` USD or None where a price is unknown,
    `calls` the number of requests sent.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        proposals: Sequence[Mapping[str, Any]] = (),
        usage: Mapping[str, Any] | None = None,
        cost: float | None = None,
        calls: int = 0,
    ) -> None:
        super().__init__(message, hint=hint)
        self.proposals = tuple(proposals)
        self.usage = dict(usage or {})
        self.cost = cost
        self.calls = calls


class QuorumNotMet(RunError):
    """End a run because fewer proposers of a layer succeeded than its quorum asks for."""


class AggregatorFailed(RunError):
    """End a run because the aggregator and all its fallbacks failed; the proposals are kept."""


class DeadlineExceeded(RunError):
    """End a run because its deadline passed."""


class BudgetExceeded(RunError):
    """End a run because the next call would break `limits.max_calls` or `limits.max_cost`."""


class RetrievalFailed(RunError):
    """End a run before any model is called: a retriever failed that the spec cannot do without."""


class StoreError(RunError):
    """Report that threads cannot be kept: the store failed, or a row of it cannot be trusted."""
