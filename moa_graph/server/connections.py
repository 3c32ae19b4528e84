"""Connections that send at once, and do not wait for ever for the headers of a request."""

from __future__ import annotations

import asyncio
import socket

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["Connection"]

_PATIENCE = 30.0
"""Seconds in which a request's headers have to come; uvicorn bounds only what comes before their first byte,
and only on a connection that has served a request."""


class Connection(H11Protocol):
    """Serve one connection; close it when the headers of a request take too long."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Begin to wait."""
        super().connection_made(transport)
        # asyncio does this for sockets that say they are TCP, and those of a listener of ours do not. Without
        # it a body that follows its headers waits for the client's next acknowledgement, which takes 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take data; what is neither a request's body nor the next one's whole headers must not last."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait()
        else:
            self._rest()

    def connection_lost(self, exc: Exception | None) -> None:
        """End with the connection."""
        self._rest()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().call_later(_PATIENCE, self.transport.close)

    def _rest(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
