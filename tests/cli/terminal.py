"""Run the command line as a person does: in a process of its own, on a terminal or with pipes."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

CTRL_C = "\x03"
MOA = [sys.executable, "-m", "moa_graph"]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment with a known terminal."""
    return {**os.environ, "TERM": "xterm-256color", "COLUMNS": "", "LINES": "", **(extra or {})}


def piped(
    *arguments: str, cwd: Path, stdin: bytes = b"", extra: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command with pipes."""
    return subprocess.run(
        [*MOA, *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
        env=environment(extra),
    )


def on_terminal(
    *arguments: str,
    cwd: Path,
    answers: Sequence[str] = (),
    rows: int = 40,
    columns: int = 120,
    extra: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Run a command on a terminal and return its code and output.

    Each answer is typed once a prompt ends with `: `; CTRL_C stands for the signal.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    env = {name: value for name, value in environment(extra).items() if value}
    process = subprocess.Popen(
        [*MOA, *arguments], cwd=cwd, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
    )
    os.close(slave)
    output, typed = b"", list(answers)
    try:
        while piece := _read(master):
            output += piece
            if typed and output.endswith(b": "):
                answer = typed.pop(0)
                if answer == CTRL_C:
                    _interrupt(process, master)
                else:
                    os.write(master, f"{answer}\n".encode())
        return process.wait(timeout=30), output.decode().replace("\r\n", "\n")
    finally:
        process.kill()
        process.wait()
        os.close(master)


def _interrupt(process: subprocess.Popen[bytes], master: int) -> None:
    # A signal between the prompt and the blocking read does not wake the read: press again, as one does.
    for _ in range(20):
        process.send_signal(signal.SIGINT)
        if select.select([master], [], [], 1.0)[0]:
            return


def _read(master: int) -> bytes:
    ready, _, _ = select.select([master], [], [], 30)
    assert ready, "the program neither writes nor ends"
    try:
        return os.read(master, 65536)
    except OSError:  # Linux says EIO once the last writer has closed the terminal
        return b""
