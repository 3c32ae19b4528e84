"""What whoever runs the server decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from moa_graph.server.keys import KeyLimits

__all__ = ["LOOPBACK", "Settings"]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
"""Names under which a server is reached from its own machine alone."""


@dataclass(frozen=True)
class Settings:
    """Hold a server's settings; times in seconds, money in USD.

    With `reuse_port` several processes listen on one port. `hosts` are the names that a request's Host may
    have, `origins` those of browsers' pages that may ask.
    `at_once` runs are under way at most in this process, `queue` more wait, each for `patience`. After
    `silence` without a token a stream sends a comment. `drain` bounds the end: what is under way by then is
    interrupted, and kept where it is kept. `background` turns are under way at most of those that nobody
    waits for; with 0, on PostgreSQL, they are left to workers.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    reuse_port: bool = False
    db: str = "sqlite:///moa.db"
    db_key_env: str | None = None
    keys: Path | None = None
    hosts: Sequence[str] = ()
    origins: Sequence[str] = ()
    limits: KeyLimits = field(default_factory=KeyLimits)
    at_once: int = 256
    queue: int = 256
    patience: float = 30.0
    body_limit: int = 1_000_000
    silence: float = 10.0
    drain: float = 8.0
    background: int = 8

    @property
    def shared(self) -> bool:
        """Tell whether other processes may work on the same database."""
        return self.db.partition(":")[0] in ("postgresql", "postgres")

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """Return the names that a request's Host may have; by default those of the interface."""
        if self.hosts:
            return tuple(self.hosts)
        return LOOPBACK if self.host in LOOPBACK else (*LOOPBACK, self.host)
