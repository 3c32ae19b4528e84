"""The way to a PostgreSQL server: its URL, its connections, and which of its troubles may pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from math import inf
from typing import Any, cast
from urllib.parse import quote

from psycopg import AsyncConnection, Error, OperationalError
from psycopg.abc import RV, PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from moa_graph.errors import MoAError, StoreError
from moa_graph.runs import guard

__all__ = ["CHECK_AFTER", "CHECK_PATIENCE", "Connection", "Pool", "Server", "ServerGuard"]

_DEFAULTS: dict[str, Any] = {
    "application_name": "moa_graph",
    "client_encoding": "utf8",
    "connect_timeout": 5,
    # A network that swallows packets is noticed after about ten seconds, not after hours.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
CHECK_PATIENCE = 3.0
"""Seconds to wait for a connection, and for a connection to say that it is there."""
CHECK_AFTER = 1.0
"""Seconds of silence after which a connection is checked: under load that would be an eighth of all work."""
_RECONNECT = 0.2
_SECRETS = ("password", "sslpassword")
# Connection exceptions are all of class 08.
_PASSING = {
    "25P03",  # idle_in_transaction_session_timeout
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "53300",  # too_many_connections
    "55P03",  # lock_not_available
    "57P01",  # admin_shutdown
    "57P02",  # crash_shutdown
    "57P03",  # cannot_connect_now
    "57P05",  # idle_session_timeout
}
# While connecting libpq gives the server's words only, no code. A refusal in another language than English
# counts as one that may pass: it takes longer to be told, no more.
_REFUSED = "FATAL:"
_REFUSED_FOR_NOW = (
    "starting up",
    "shutting down",
    "in recovery mode",
    "not yet accepting connections",
    "too many clients",
    "too many connections",
    "remaining connection slots",
    "terminating connection",
)


class Connection(AsyncConnection[DictRow]):
    """Be a connection that gives up a server which does not answer; psycopg would wait for ever."""

    limit: float | None = None
    """Seconds for an answer; None: guard.PATIENCE."""
    heard = -inf
    """When the server last answered, by the monotonic clock."""

    async def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:  # noqa: ASYNC109 -- psycopg's own signature
        """Do a piece of work on the connection."""
        if timeout is None:
            timeout = guard.PATIENCE if self.limit is None else self.limit
        try:
            answer = await super().wait(gen, interval, timeout)
        except OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                # Whoever cleans up behind the call would wait once more.
                self.pgconn.finish()
            raise
        self.heard = time.monotonic()
        return answer


class Pool(AsyncConnectionPool[Connection]):
    """Share connections that are known to work; a server that comes back is found at once."""

    def __init__(self, server: Server, size: int) -> None:
        super().__init__(
            # All that a pool does with the class is to call its `connect`.
            connection_class=cast("type[Connection]", server),
            min_size=1,
            max_size=size,
            timeout=CHECK_PATIENCE,
            reconnect_timeout=0,
            reconnect_failed=_try_again,
            open=False,
        )

    async def getconn(self, timeout: float | None = None) -> Connection:  # noqa: ASYNC109 -- psycopg's own signature
        """Return a connection that answers; psycopg's own check pauses for seconds after each dead one."""
        ends = time.monotonic() + CHECK_PATIENCE
        while True:
            connection = await super().getconn(timeout)
            if time.monotonic() - connection.heard < CHECK_AFTER:
                return connection
            connection.limit = CHECK_PATIENCE
            try:
                await self.check_connection(connection)
            except BaseException as error:
                connection.pgconn.finish()
                await self.putconn(connection)
                if not isinstance(error, OperationalError) or time.monotonic() >= ends:
                    raise
            else:
                connection.limit = None
                return connection


async def _try_again(pool: AsyncConnectionPool[Any]) -> None:
    """Connect anew while somebody waits; the pool's own pauses grow until they miss a server's return."""
    await asyncio.sleep(_RECONNECT)
    if pool.get_stats().get("requests_waiting"):
        await pool.check()


class Server:
    """Connect to the server that a URL names.

    `url` is for messages: user, host and database; no password, no settings. `refusal` is why the last
    connection was not made, or None.
    """

    def __init__(self, url: str) -> None:
        self._settings = _DEFAULTS | _read(url)
        self.url = _shown(self._settings)
        self.refusal: Exception | None = None

    async def connect(self, _: str = "", **settings: Any) -> Connection:
        """Return a new connection; raises psycopg's errors."""
        try:
            connection = await Connection.connect(
                **{**self._settings, **settings},
                autocommit=True,
                prepare_threshold=0,
                row_factory=dict_row,
            )
        except Exception as error:
            self.refusal = error
            raise
        self.refusal = None
        return connection

    def without_secrets(self, text: str) -> str:
        """Return a text without the passwords of the URL."""
        for name in _SECRETS:
            if secret := self._settings.get(name):
                text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
        return text


class ServerGuard(guard.Guard):
    """Guard a server's work; a pool that has no connection to give is asked for its reason."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.url, self._passing)
        self._server = server

    def broken(self, error: Exception) -> StoreError:
        """Return the error that says so, without a password."""
        broken = super().broken(self._cause(error))
        return StoreError(self._server.without_secrets(broken.message), hint=broken.hint)

    def _passing(self, error: Exception) -> bool | None:
        error = self._cause(error)
        if not isinstance(error, Error):
            return None
        if error.sqlstate:
            return error.sqlstate in _PASSING or error.sqlstate.startswith("08")
        if not isinstance(error, OperationalError) or isinstance(error, PoolClosed):
            return False
        text = str(error)
        return _REFUSED not in text or any(words in text for words in _REFUSED_FOR_NOW)

    def _cause(self, error: Exception) -> Exception:
        if isinstance(error, PoolTimeout) and self._server.refusal is not None:
            return self._server.refusal
        return error


def _read(url: str) -> dict[str, Any]:
    try:
        settings = conninfo_to_dict(url)
    except (Error, ValueError):
        # Its words quote the part of the URL that is wrong, which may be the password.
        settings = None
    # Where a password holds an @ or a / as it is, libpq takes the rest of it for the host or the database.
    if settings is None or any("@" in str(settings.get(name, ""))[1:] for name in ("host", "dbname")):
        raise MoAError(
            "The postgresql:// URL cannot be read",
            hint="Use postgresql://user:password@host:port/database; in a password write @ as %40, / as %2F, "
            "? as %3F and % as %25.",
        ) from None
    return settings


def _shown(settings: Mapping[str, Any]) -> str:
    user, database = str(settings.get("user", "")), str(settings.get("dbname", ""))
    hosts = str(settings.get("host", settings.get("hostaddr", ""))).split(",")
    ports = str(settings.get("port", "")).split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    places = [
        quote(host, safe=":[]") + (f":{port}" if port else "")
        for host, port in zip(hosts, ports, strict=False)
    ]
    owner = f"{quote(user, safe='')}@" if user else ""
    return f"postgresql://{owner}{','.join(places)}" + (f"/{quote(database, safe='')}" if database else "")
