"""Run the server: listen, and end in good order."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from moa_graph.server.app import make_app
from moa_graph.server.asking import Served
from moa_graph.server.connections import Connection
from moa_graph.server.opening import open_served
from moa_graph.server.settings import Settings
from moa_graph.spec.schema import MoASpec

__all__ = ["serve"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LAST_WORDS = 1.5
"""Seconds that cancelled requests have to note down how their runs stand."""


async def serve(
    settings: Settings,
    specs: Sequence[MoASpec],
    *,
    write: Callable[[str], None],
    ready: Callable[[int], None] = lambda _: None,
) -> None:
    """Serve until SIGINT or SIGTERM; then take no more, wait for what is under way, and end.

    `ready` is called with the port once requests are taken. Raises OSError when the port cannot be had, and
    what opening the store raises.
    """
    with _listener(settings) as listener:
        async with open_served(settings, specs) as served:
            app = make_app(served, write)
            config = uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=int(settings.drain),
            )
            await _Server(config, app, ready).serve([listener])


def _listener(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    address = (settings.host.strip("[]"), settings.port)
    if settings.reuse_port:
        # Bound, not listening: the kernel deals connections to all that listen, and nothing is ready yet.
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        return listener
    return socket.create_server(address, family=family, backlog=2048)


class _Server(uvicorn.Server):
    """Tell when it listens, and drain at the end."""

    def __init__(self, config: uvicorn.Config, app: Any, ready: Callable[[int], None]) -> None:
        super().__init__(config)
        self._app = app
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What has been imported stays: with hundreds of runs the collector takes most of the CPU
        # (docs/benchmarks.md).
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        for listener in sockets or []:
            self._ready(listener.getsockname()[1])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        served: Served = self._app.state.served
        self._app.state.draining = True
        served.limiter.drain()
        background = asyncio.create_task(served.background.drain())
        await super().shutdown(sockets)
        # Those that were cancelled note down how their runs stand before the store is closed.
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_LAST_WORDS)
        await background

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Catch signals as uvicorn does, but do not raise them again: the store is still to be closed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's
        """End in good order at the first signal, at once at the second: what is kept is kept by then."""
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True
