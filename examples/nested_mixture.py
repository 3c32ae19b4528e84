"""A Mixture-of-Agents inside another one: a whole mixture as a single proposer.

Use it when a mixture that you have is one opinion among others, or when departments report to a board.
Run it: python examples/nested_mixture.py (no key, no network)
"""

from pathlib import Path

from moa_graph import build_graph, load_spec

ROOT = Path(__file__).parents[1]

# The same as in a YAML file, where `spec:` is a path from the folder of that file, or a spec inline. At most
# 3 specs inside each other; a circle is refused when they are read.
SPEC = {
    "moa": 1,
    "name": "board",
    "models": {
        "sceptic": {"model": "embedded:extractive", "params": {"ranker": "textrank", "sentences": 2}},
        "chair": {"model": "embedded:extractive", "params": {"sentences": 2}},
    },
    "limits": {"deadline": "60s", "max_calls": 20},  # for everything together, what happens inside included
    "layers": [
        {
            "name": "opinions",
            "proposers": [
                {"spec": str(ROOT / "graphs" / "quickstart.yaml"), "id": "department"},
                "sceptic",
            ],
        }
    ],
    "aggregator": {"model": "chair"},
}


def main() -> None:
    document = (ROOT / "examples" / "documents" / "mixture-of-agents.md").read_text(encoding="utf-8")
    question = "When does mixing different models pay?"
    graph = build_graph(load_spec(SPEC)).compile()
    state = graph.invoke({"messages": [("user", f"{document}\n\n{question}")]})

    # A department is one proposal; its calls, tokens and cost are counted in the whole.
    for proposal in state["proposals"].values():
        print(f"{proposal['id']}: {proposal['attempts']} call(s), {proposal['requested_model']}")
        print(f"  {proposal['text']}")
    answer = state["messages"][-1]
    print(f"answer, {answer.response_metadata['moa']['calls']} calls together:\n  {answer.text}")


if __name__ == "__main__":
    main()
