"""A Mixture-of-Agents in a LangChain chain: prompt | model | parser.

Use it where a chat model stands in your program: MoAChatModel takes its place, and nothing else changes.
Run it: python examples/in_a_chain.py (no key, no network; for real models name another spec).
"""

from pathlib import Path

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from moa_graph import MoAChatModel

ROOT = Path(__file__).parents[1]


def main() -> None:
    model = MoAChatModel(spec=ROOT / "graphs" / "quickstart.yaml")
    prompt = ChatPromptTemplate([("user", "{document}\n\n{question}")])
    chain = prompt | model | StrOutputParser()

    asked = {
        "document": (ROOT / "examples" / "documents" / "mixture-of-agents.md").read_text(encoding="utf-8"),
        "question": "What is the largest drawback of a mixture?",
    }
    answer = chain.invoke(asked)
    print(answer)

    # Only the aggregator's tokens are streamed: they are the answer.
    pieces = list(chain.stream(asked))
    print(f"streamed: {len(pieces) > 1}, the same text: {''.join(pieces) == answer}")

    # Without the parser it is an AIMessage; usage_metadata and the summary are those of the whole run.
    message = (prompt | model).invoke(asked)
    summary = message.response_metadata["moa"]
    print(f"{summary['calls']} calls, {summary['proposals']['ok']} proposals, by {summary['answered_by']}")


if __name__ == "__main__":
    main()
