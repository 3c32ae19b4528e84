"""What `langgraph dev` opens: the graph of every spec in this folder, under the name of its file."""  # noqa: INP001 -- a script

from pathlib import Path

from langgraph.graph.state import CompiledStateGraph

from moa_graph import MoAState, build_graph, load_spec


def open_spec(file: Path) -> CompiledStateGraph[MoAState]:
    """Return the graph of a spec; its models, and their keys, are asked for when a run starts."""
    return build_graph(load_spec(file)).compile()


# langgraph.json asks for each by its name. They are read here, once, because the server forbids file access
# while it serves.
globals().update({file.stem: open_spec(file) for file in sorted(Path(__file__).parent.glob("*.yaml"))})
