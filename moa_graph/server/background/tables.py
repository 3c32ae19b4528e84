"""Where procrastinate keeps its jobs: a schema of their own in the database with the threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from procrastinate import PsycopgConnector
from procrastinate.schema import SchemaManager
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict

from moa_graph.runs.postgres.server import Connection, Server

__all__ = ["SCHEMA", "connector_of", "set_up"]

SCHEMA = "moa_jobs"
_LOCK = 0x6D6F615F6A6F6273
"""The number of the advisory lock of whoever makes the tables: "moa_jobs" as eight bytes."""
_NOTED = (
    "SELECT description AS noted FROM pg_description WHERE classoid = 'pg_namespace'::regclass"
    " AND objoid = (SELECT oid FROM pg_namespace WHERE nspname = %s)"
)
_SETTINGS: dict[str, Any] = {
    "application_name": "moa_graph jobs",
    "connect_timeout": 5,
    # A network that swallows packets is noticed after about ten seconds, not after hours.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def connector_of(url: str, size: int) -> PsycopgConnector:
    """Return a connector of at most `size` connections that finds the tables in their schema."""

    async def find_tables(connection: AsyncConnection) -> None:
        await connection.execute(f"SET search_path TO {SCHEMA}")
        await connection.commit()

    settings = _SETTINGS | conninfo_to_dict(url)
    return PsycopgConnector(
        kwargs=settings,
        min_size=1,
        max_size=size,
        timeout=_SETTINGS["connect_timeout"],
        configure=find_tables,
    )


async def set_up(server: Server) -> None:
    """Make the tables that are missing, and change those that an older procrastinate made.

    Processes that start at once wait for each other. The schema's comment says how far it has come. Raises
    psycopg's errors.
    """
    async with await server.connect() as connection:
        noted = await _noted(connection)
        if noted is not None and noted >= _migrations()[-1].name:
            return  # whoever only uses the tables need not be allowed to make any
        async with connection.transaction():
            await _execute(connection, f"SELECT pg_advisory_xact_lock({_LOCK})")
            noted = await _noted(connection)
            await _execute(connection, f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            await _execute(connection, f"SET LOCAL search_path TO {SCHEMA}")
            if noted is None:
                await _execute(connection, SchemaManager.get_schema())
                noted = _migrations()[-1].name
            for migration in _migrations():
                if migration.name > noted:
                    await _execute(connection, migration.read_text(encoding="utf-8"))
                    noted = migration.name
            await _execute(connection, f"COMMENT ON SCHEMA {SCHEMA} IS '{noted}'")


async def _noted(connection: Connection) -> str | None:
    """Return the name of the last migration that the tables have; None where there are no tables."""
    # Not by to_regnamespace: that may still know nothing of what was made while this one waited for the lock.
    row = await (await connection.execute(_NOTED, [SCHEMA])).fetchone()
    return row["noted"] if row else None


async def _execute(connection: Connection, statements: str) -> None:
    # Several statements at once cannot be prepared.
    await connection.execute(cast("Any", statements), prepare=False)


def _migrations() -> list[Path]:
    return sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
