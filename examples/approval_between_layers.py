"""A person between the layers: look at the proposals, drop or rewrite one, go on.

Use it when nothing may reach the next layer that no person has seen. The run waits in a checkpoint, a minute
or a month, and no call is paid twice. Run it: python examples/approval_between_layers.py
"""

import sys
from pathlib import Path

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from moa_graph import Proposal, build_graph, load_spec

ROOT = Path(__file__).parents[1]
DEFAULT = "drop 3"  # off the question: it speaks of costs


def decide(proposals: list[Proposal]) -> dict[str, dict[str, object]]:
    """Return what a person changes: the fields to write, by the proposal's id; nothing, to approve all."""
    ids = {str(number): proposal["id"] for number, proposal in enumerate(proposals, 1)}
    while True:
        # `edited` says in the record, for ever, that a person had a hand in it.
        match ask().split(maxsplit=2):
            case []:
                return {}
            case ["drop", number] if number in ids:
                return {ids[number]: {"status": "dropped", "edited": True}}
            case ["edit", number, text] if number in ids:
                return {ids[number]: {"status": "ok", "text": text, "failure": None, "edited": True}}
        print("That is none of these.")


def ask() -> str:
    if sys.stdin.isatty():
        return input("drop NUMBER, edit NUMBER TEXT, or Enter to approve all: ")
    print(f"No terminal to ask at, so: {DEFAULT}")
    return DEFAULT


def main() -> None:
    # In production a saver that survives the process: SqliteSaver, PostgresSaver; or the class Runs.
    graph = build_graph(load_spec(ROOT / "graphs" / "quickstart.yaml")).compile(
        checkpointer=InMemorySaver(), interrupt_before=["refine"]
    )
    thread: RunnableConfig = {"configurable": {"thread_id": "1"}}

    document = (ROOT / "examples" / "documents" / "mixture-of-agents.md").read_text(encoding="utf-8")
    question = "When does mixing different models pay, and when is one model sampled several times better?"
    state = graph.invoke({"messages": [("user", f"{document}\n\n{question}")]}, thread)
    print(f"stopped before: {', '.join(graph.get_state(thread).next)}")

    proposals = list(state["proposals"].values())
    for number, proposal in enumerate(proposals, 1):
        print(f"{number}. {proposal['id']}: {proposal['text']}")
    if change := decide(proposals):
        graph.update_state(thread, {"proposals": change})

    state = graph.invoke(None, thread)  # None: go on where it stopped
    print(f"the next layer saw: {', '.join(state['proposals']['refine/bm25']['references'])}")
    print(f"answer: {state['messages'][-1].text}")


if __name__ == "__main__":
    main()
