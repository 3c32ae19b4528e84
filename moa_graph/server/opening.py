"""Open what a server or a worker holds: store, shelf, keys, models, background."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from moa_graph.errors import MoAError
from moa_graph.extras import needing
from moa_graph.runs.serializer import make_serializer
from moa_graph.runs.stores import open_store
from moa_graph.server.asking import Served
from moa_graph.server.background import open_background
from moa_graph.server.guards import read_hosts, read_origins
from moa_graph.server.keys import KeyRing
from moa_graph.server.limiting import Limiter
from moa_graph.server.metrics import Metrics
from moa_graph.server.performing import Performer
from moa_graph.server.remembering import Turns
from moa_graph.server.settings import LOOPBACK, Settings
from moa_graph.server.shelf import open_shelf
from moa_graph.spec.schema import MoASpec

__all__ = ["check", "open_served"]

_LOG = logging.getLogger(__name__)


def check(settings: Settings, specs: Sequence[MoASpec]) -> None:
    """Raise MoAError for settings and specs that cannot be served together, or not safely."""
    names = [spec.name for spec in specs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise MoAError(f"two specs are named {twice!r}", hint="Each spec is a model id: rename one of them.")
    if settings.shared:
        with needing("worker"):
            import procrastinate  # noqa: F401, PLC0415 -- an extra
    read_hosts(settings.allowed_hosts)
    read_origins(settings.origins)
    if settings.reuse_port and not settings.shared:
        raise MoAError(
            "processes that share a port share their threads, too, and SQLite is for one process",
            hint="Give all of them one --db postgresql://…, or leave out --reuse-port.",
        )
    if not (settings.background or settings.shared):
        raise MoAError(
            "without background runs here nobody would run them: only PostgreSQL has workers",
            hint="Give --background 1 or more, or --db postgresql://….",
        )
    if settings.host not in LOOPBACK and settings.keys is None:
        raise MoAError(
            f"{settings.host} is reached from other machines, and nobody would have to show a key",
            hint="Make keys with `moa keys add` and give them with --keys, or listen on 127.0.0.1.",
        )


@asynccontextmanager
async def open_served(settings: Settings, specs: Sequence[MoASpec], **options: Any) -> AsyncIterator[Served]:
    """Open what the routes share; `options` are those of Performer (`models` of the host)."""
    check(settings, specs)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(settings.db, key_env=settings.db_key_env))
        shelf = await stack.enter_async_context(open_shelf(settings.db))
        performer = Performer(specs, store, **options)
        for name, lacking in (await performer.warm_up()).items():
            _LOG.warning("%s cannot run yet: %s", name, lacking)
        keys = KeyRing(settings.keys, settings.limits)
        metrics = Metrics(performer.models)
        limiter = Limiter(shelf, at_once=settings.at_once, queue=settings.queue, patience=settings.patience)
        stack.push_async_callback(limiter.close)
        metrics.watch_queue(lambda: limiter.waiting)
        sealing = make_serializer(settings.db_key_env) if settings.db_key_env else None
        turns = Turns(shelf, sealing)
        background = await stack.enter_async_context(open_background(settings.db))
        served = Served(performer, keys, limiter, metrics, turns, background, settings, shelf)
        await background.begin(served)
        yield served
