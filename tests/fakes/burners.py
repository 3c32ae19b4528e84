"""A machine under load: `python -m tests.fakes.burners COMMAND …` runs a command beside busy processes."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time

__all__ = ["burn"]

LONGEST = 900.0
"""Seconds after which a burner ends by itself, whatever became of who started it."""


def burn(seconds: float = LONGEST) -> None:
    """Keep a core busy."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        sum(range(10_000))


def main() -> None:
    """Start one burner a core, run the command, and end them again."""
    burners = [multiprocessing.Process(target=burn, daemon=True) for _ in range(os.cpu_count() or 1)]
    for burner in burners:
        burner.start()
    try:
        code = subprocess.run(sys.argv[1:], check=False).returncode
    finally:
        for burner in burners:
            burner.kill()
    sys.exit(code)


if __name__ == "__main__":
    main()
