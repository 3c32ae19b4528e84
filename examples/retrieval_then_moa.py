"""A Mixture-of-Agents after a retrieval of your own: one node finds passages, the next one is the mixture.

Use it when your application retrieves already, with its own store, filters, rights and ranking.
Run it: python examples/retrieval_then_moa.py (no key, no network)
"""

import re
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langchain_core.retrievers import BaseRetriever
from langgraph.graph import END, START, MessagesState, StateGraph

from moa_graph import build_graph, load_spec

ROOT = Path(__file__).parents[1]


class Library(BaseRetriever):
    """Find paragraphs that share words with the question; your vector store would stand here."""

    paragraphs: list[str]
    k: int = 3

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        asked = _words(query)
        best = sorted(self.paragraphs, key=lambda text: len(asked & _words(text)), reverse=True)
        return [Document(text) for text in best[: self.k]]


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w{4,}", text.lower()))


def build(library: BaseRetriever) -> Any:
    """Return the whole application: retrieve, then ask the mixture."""

    def retrieve(state: MessagesState) -> dict[str, Any]:
        question = state["messages"][-1]
        found = library.invoke(str(question.text))
        passages = "\n\n".join(document.page_content for document in found)
        # Under the question's own id: the message is replaced, and every model sees passages and question.
        return {"messages": [HumanMessage(f"{passages}\n\n{question.text}", id=question.id)]}

    parent = StateGraph(MessagesState)
    parent.add_node("retrieve", retrieve)
    parent.add_node("moa", build_graph(load_spec(ROOT / "graphs" / "quickstart.yaml")).compile())
    parent.add_edge(START, "retrieve")
    parent.add_edge("retrieve", "moa")
    parent.add_edge("moa", END)
    return parent.compile()


def main() -> None:
    document = (ROOT / "examples" / "documents" / "mixture-of-agents.md").read_text(encoding="utf-8")
    library = Library(paragraphs=[" ".join(part.split()) for part in document.split("\n\n")])
    question = "Why does a weak proposal help?"

    for update in build(library).stream({"messages": [("user", question)]}, stream_mode="updates"):
        for name, change in update.items():
            last = change["messages"][-1]
            print(f"{name}: {len(str(last.text).split())} words in a message of type {last.type}")
    print(f"answer, {last.response_metadata['moa']['calls']} calls:\n  {last.text}")


if __name__ == "__main__":
    main()
