"""A real PostgreSQL on a loopback port, in a temporary folder: for tests that stop and start it."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

import psycopg

__all__ = ["PASSWORD", "PostgresServer", "find_binaries", "postgres_server"]

PASSWORD = "canary+/pass@word"
_ESCAPED = "canary%2B%2Fpass%40word"
_PATIENCE = 30.0
_INSTALL = (
    ["apt-get", "update", "-qq"],
    ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "postgresql"],
)
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


def find_binaries() -> Path | None:
    """Return the folder with initdb and postgres, the newest version first, or None."""
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0,
        reverse=True,
    )
    on_path = shutil.which("initdb")
    candidates = [*([Path(on_path).resolve().parent] if on_path else []), *installed]
    return next((c for c in candidates if (c / "initdb").exists() and (c / "postgres").exists()), None)


class PostgresServer:
    """Run a server whose data are in `folder`; its user is "moa", its password PASSWORD."""

    def __init__(self, binaries: Path, folder: Path, options: tuple[str, ...] = ()) -> None:
        self._binaries = binaries
        self._folder = folder
        self._options = options
        self._user = _ordinary_user()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._lock = threading.RLock()
        self._databases = count(1)
        self.port = _free_port()
        self._initialise()

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database."""
        return f"postgresql://moa:{_ESCAPED}@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int:
        """Return the process that takes new connections."""
        assert self._process is not None
        return self._process.pid

    def new_database(self, options: str = "") -> str:
        """Make an empty database and return its URL; `options` are those of CREATE DATABASE."""
        self.start()  # the test before may have stopped it
        name = f"test_{next(self._databases)}"
        self.execute(f"CREATE DATABASE {name} {options}")
        return self.url(name)

    def execute(self, query: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Do one statement and return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start the server unless it runs or is closed, and return when it answers."""
        with self._lock:
            if self._process is None and not self._closed:
                self._start()

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: "smart", "fast" or "immediate" (no word to the clients, as after a crash)."""
        with self._lock:
            if self._process is not None:
                self._process.send_signal(_SIGNALS[mode])
                self._process.wait(_PATIENCE)
                self._process = None

    def restart(self, mode: str = "fast") -> None:
        """Stop the server and start it again."""
        with self._lock:
            self.stop(mode)
            self.start()

    def close(self) -> None:
        """Stop the server for good: a test's thread may still be about to start it."""
        with self._lock:
            self._closed = True
            self.stop("immediate")

    @contextlib.contextmanager
    def frozen(self, *pids: int) -> Iterator[None]:
        """Hold some of the server's processes: they keep their connections and answer nothing."""
        try:
            _signal(pids, signal.SIGSTOP)
            yield
        finally:
            _signal(pids, signal.SIGCONT)

    def _start(self) -> None:
        command = [
            str(self._binaries / "postgres"),
            *("-D", str(self._folder / "data")),
            *("-k", str(self._folder)),
            *("-p", str(self.port)),
            *("-h", "127.0.0.1"),
            # A slow disk is not what tests are about; what is committed survives the server all the same.
            *("-c", "fsync=off"),
            *self._options,
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, stdout=log, stderr=log, **self._as_ordinary_user()
            )
        ends = time.monotonic() + _PATIENCE
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > ends:
                    raise RuntimeError(f"PostgreSQL did not start:\n{self._log()}") from None
                time.sleep(0.02)
            else:
                return

    def _initialise(self) -> None:
        if self._user:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        secret = self._folder / "password"
        secret.write_text(PASSWORD, encoding="utf-8")
        secret.chmod(0o644)
        done = subprocess.run(
            [
                str(self._binaries / "initdb"),
                *("-D", str(self._folder / "data")),
                *("-U", "moa", f"--pwfile={secret}", "--auth=scram-sha-256"),
                *("--encoding=UTF8", "--locale=C", "--no-sync"),
            ],
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            **self._as_ordinary_user(),
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout.decode()}")

    def _as_ordinary_user(self) -> dict[str, object]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _log(self) -> str:
        return (self._folder / "log").read_text(encoding="utf-8", errors="replace")[-2000:]


@contextlib.contextmanager
def postgres_server(binaries: Path, *options: str) -> Iterator[PostgresServer]:
    """Start a server, and stop it and take its data away at the end; `options` are those of `postgres`."""
    # Not pytest's folder: an ordinary user may not look into root's, and a socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="moa-postgres-") as folder:
        server = PostgresServer(binaries, Path(folder), options)
        try:
            server.start()
            yield server
        finally:
            server.close()


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _ordinary_user() -> pwd.struct_passwd | None:
    """Return whom root has to become for PostgreSQL, or None for everybody else."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _free_port() -> int:
    """Return a port that stays free while the server is stopped: none of those that the system gives away."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            # Not `random`: pytest gives all its workers the same seed.
            port = 15_000 + secrets.randbelow(17_000)
            probe.bind(("127.0.0.1", port))
            return port


def main() -> None:
    """Make sure that PostgreSQL is installed; root installs it where it is not."""
    if find_binaries() is None and os.geteuid() == 0 and shutil.which("apt-get"):
        print("Installing PostgreSQL …")  # noqa: T201 -- a command of the Makefile
        for command in _INSTALL:
            subprocess.run(command, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    if find_binaries() is None:
        sys.exit("PostgreSQL is missing; as root: apt-get install postgresql")


if __name__ == "__main__":
    main()
