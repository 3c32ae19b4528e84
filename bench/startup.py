"""What it costs to import the package and to start the command line."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from bench.figures import Figure, no_more_than, plain
from tests.fakes.process import ServerProcess

ROUNDS = 9
IMPORT_GOAL = 1.1
HELP_GOAL_S = 0.35
COMMANDS = {
    "python": ["-c", "pass"],
    "langgraph": ["-c", "import langgraph.graph"],
    "face": ["-c", "import moa_graph"],
    "names": ["-c", "from moa_graph import build_graph, load_spec"],
    "help": ["-m", "moa_graph", "--help"],
}


async def measure(server: ServerProcess) -> list[Figure]:  # noqa: ARG001 - all scenarios are called alike
    """Measure fresh processes, in turn; the first round warms the disk's cache and does not count."""
    samples: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(ROUNDS + 1):
        for name, arguments in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)  # noqa: ASYNC221 - alone here
            if number:
                samples[name].append(time.perf_counter() - began)
    seconds = {name: median(sample) for name, sample in samples.items()}
    base = seconds["python"]
    graph = seconds["langgraph"] - base
    face, names = seconds["face"] - base, seconds["names"] - base
    return [
        no_more_than(
            "`import moa_graph` over `import langgraph.graph`",
            face / graph,
            IMPORT_GOAL,
            f"{face / graph:.2f} × ({face * 1000:.0f} ms against {graph * 1000:.0f} ms)",
            " ×",
        ),
        no_more_than(
            "`from moa_graph import build_graph, load_spec` over `import langgraph.graph`",
            names / graph,
            IMPORT_GOAL,
            f"{names / graph:.2f} × ({names * 1000:.0f} ms)",
            " ×",
        ),
        no_more_than(
            "`moa --help`",
            seconds["help"],
            HELP_GOAL_S,
            f"{seconds['help']:.2f} s ({base * 1000:.0f} ms of it Python's own)",
            " s",
        ),
        plain("`import langgraph.graph`", f"{graph * 1000:.0f} ms"),
    ]
