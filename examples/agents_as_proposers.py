"""Agents and your own Runnables as proposers: one calculates, one searches, one reads.

Use it when proposers should bring facts that no model knows: what a tool computes, what your own chain finds.
Run it: python examples/agents_as_proposers.py
"""

from pathlib import Path

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from stand_in import model_that_calls_tools

from moa_graph import build_graph, parse_spec

DOCUMENT = Path(__file__).parent / "documents" / "mixture-of-agents.md"

SPEC = """
moa: 1
name: agents-as-proposers
models:
  caller: {model: "host:caller"}
  reader: {model: "embedded:extractive", params: {sentences: 2}}
  editor: {model: "embedded:extractive", params: {sentences: 3}}
layers:
  - name: research
    proposers:
      - {model: caller, id: calculator, tools: count_calls, max_steps: 4}   # an agent: at most 4 requests
      - {runnable: archive, timeout: 10s}       # a chain, an agent or a compiled graph of this program
      - reader                                  # and a plain model
aggregator: {model: editor}
"""


@tool
def count_calls(layers: int, proposers: int) -> str:
    """Count the calls that a Mixture-of-Agents makes for one question."""
    return f"A mixture with {layers} layers of {proposers} proposers makes {layers * proposers + 1} calls."


def search(messages: list[BaseMessage]) -> str:
    """Return the paragraph with the most words of the question. Your own search, agent or graph goes here."""
    asked = set(messages[-1].text.lower().split())  # it gets the conversation, as a model would
    paragraphs = DOCUMENT.read_text(encoding="utf-8").split("\n\n")
    best = max(paragraphs, key=lambda paragraph: len(asked & set(paragraph.lower().split())))
    return " ".join(best.split())


def main() -> None:
    # A spec names what it needs; only your program can register it. A name in a file never imports code.
    graph = build_graph(
        parse_spec(SPEC),
        models={"caller": model_that_calls_tools()},
        tools={"count_calls": count_calls},
        runnables={"archive": RunnableLambda(search)},
    ).compile()
    question = "Each proposer is a call. How many calls do 2 layers of 6 proposers and an aggregator make?"
    state = graph.invoke({"messages": [("user", question)]})

    # All have the same record: requests, tokens, cost, failure. One that fails does not end the run.
    for proposal in state["proposals"].values():
        print(f"{proposal['id']}, {proposal['requested_model']}, {proposal['attempts']} request(s):")
        print(f"  {proposal['text']}")
    print(f"answer: {state['messages'][-1].text}")


if __name__ == "__main__":
    main()
