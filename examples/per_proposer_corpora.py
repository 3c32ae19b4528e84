"""Retrieval with a corpus for each proposer: one reads the policy, one the tickets, one knows of both.

Use it when documents are partitioned (by department, by rights, by kind) and one answer shall weigh them all.
Needs the extra: pip install 'moa-graph[retrieval]'. Run it: python examples/per_proposer_corpora.py
"""

from pathlib import Path

from moa_graph import ModelNotReady, build_graph, load_spec

DOCUMENTS = Path(__file__).parent / "documents"
QUESTION = "How is a battery returned?"

SPEC = {
    "moa": 1,
    "name": "two-corpora",
    "models": {
        "reader": {"model": "embedded:extractive", "params": {"sentences": 2}},
        "editor": {"model": "embedded:extractive", "params": {"sentences": 2}},
    },
    "retrievers": {
        "policy": {"retriever": "bm25", "files": [str(DOCUMENTS / "shop-policy.md")], "k": 2},
        # Tickets are good to know, but not needed: without them the run goes on, with a warning.
        "tickets": {
            "retriever": "bm25",
            "files": [str(DOCUMENTS / "shop-tickets.md")],
            "k": 2,
            "on_error": "continue",
        },
    },
    "layers": [
        {
            "name": "read",
            "proposers": [
                {"model": "reader", "id": "lawyer", "retrieve": "policy"},
                {"model": "reader", "id": "support", "retrieve": "tickets"},
                {"model": "reader", "id": "generalist", "retrieve": ["policy", "tickets"]},
            ],
        }
    ],
    # An LLM would cite [policy-…] after each claim; the ids would be checked. The editor here cannot.
    "aggregator": {"model": "editor", "citations": "checked"},
}


def main() -> None:
    graph = build_graph(load_spec(SPEC)).compile()
    try:
        state = graph.invoke({"messages": [("user", QUESTION)]})
    except ModelNotReady as missing:
        raise SystemExit(str(missing)) from None

    for proposal in state["proposals"].values():
        retrievers = {passage["retriever"] for passage in proposal["passages"]}
        print(f"{proposal['id']} was shown {len(proposal['passages'])} of {', '.join(sorted(retrievers))}:")
        print(f"  {proposal['text']}")
    answer = state["messages"][-1]
    print(f"answer:\n  {answer.text}")
    for source in answer.response_metadata["moa"]["sources"]:
        print(f"{source['id']}: {Path(source['source']).name}")


if __name__ == "__main__":
    main()
