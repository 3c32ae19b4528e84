"""Run one scenario in this process: `python -m bench.scenario latency PORT` prints its rows as JSON."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys

from tests.fakes.process import ServerProcess


def main() -> None:
    """Measure, and print the rows."""
    name, port = sys.argv[1:]
    module, _, function = name.partition(":")
    measure = getattr(importlib.import_module(f"bench.{module}"), function or "measure")
    rows = asyncio.run(measure(ServerProcess(int(port), pid=0)))
    print(json.dumps([row.as_json() for row in rows]))


if __name__ == "__main__":
    main()
