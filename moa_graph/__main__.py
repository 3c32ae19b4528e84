"""Run the command line as `python -m moa_graph`."""

from __future__ import annotations

from moa_graph.cli.main import main

if __name__ == "__main__":
    main()
