"""The way to a PostgreSQL server: its URL, a connection, and which of its troubles may pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from psycopg import AsyncConnection, Error, OperationalError
from psycopg.abc import RV, PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row

from moa_graph.errors import MoAError, StoreError
from moa_graph.runs import guard

__all__ = ["Connection", "Server", "ServerGuard"]

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

    async def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:  # noqa: ASYNC109 -- psycopg's own signature
        """Do a piece of work on the connection."""
        if timeout is None:
            timeout = guard.PATIENCE if self.limit is None else self.limit
        try:
            return await super().wait(gen, interval, timeout)
        except OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                # Whoever cleans up behind the call would wait once more.
                self.pgconn.finish()
            raise


class Server:
    """Connect to the server that a URL names.

    `url` is for messages: user, host and database; no password, no settings.
    """

    def __init__(self, url: str) -> None:
        self._settings = _DEFAULTS | _read(url)
        self.url = _shown(self._settings)

    async def connect(self, **settings: Any) -> Connection:
        """Return a new connection; raises psycopg's errors."""
        return await Connection.connect(
            **{**self._settings, **settings}, autocommit=True, prepare_threshold=0, row_factory=dict_row
        )

    def without_secrets(self, text: str) -> str:
        """Return a text without the passwords of the URL."""
        for name in _SECRETS:
            if secret := self._settings.get(name):
                text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
        return text


class ServerGuard(guard.Guard):
    """Guard a server's work; no message holds a password."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.url, _passing)
        self._server = server

    def broken(self, error: Exception) -> StoreError:
        """Return the error that says so, without a password."""
        broken = super().broken(error)
        return StoreError(self._server.without_secrets(broken.message), hint=broken.hint)


def _passing(error: Exception) -> bool | None:
    """See moa_graph.runs.guard.Trouble."""
    if not isinstance(error, Error):
        return None
    if error.sqlstate:
        return error.sqlstate in _PASSING or error.sqlstate.startswith("08")
    text = str(error)
    return isinstance(error, OperationalError) and (
        _REFUSED not in text or any(words in text for words in _REFUSED_FOR_NOW)
    )


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
