"""A Mixture-of-Agents as the model of an agent: many advise, one calls the tools.

Use it when an agent's steps deserve several opinions. The panel is asked once for each question of a user;
tool results go to the aggregator alone: many steps stay cheap. Run it: python examples/agent_with_tools.py
"""

from pathlib import Path

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from stand_in import model_that_calls_tools

from moa_graph import MoAChatModel, parse_spec

SPEC = """
moa: 1
name: careful-agent
models:
  bm25: {model: "embedded:extractive", params: {ranker: bm25}}
  textrank: {model: "embedded:extractive", params: {ranker: textrank}}
  actor: {model: "host:actor"}    # an object of this program, registered below
layers:
  - proposers: [bm25, textrank]
aggregator:
  model: actor
  references: {placement: user}   # the system prompt stays as it is: providers' prompt caches hold
"""


def count_calls(layers: int, proposers: int) -> str:
    """Count the calls that a Mixture-of-Agents makes for one question."""
    return f"{layers} layers of {proposers} proposers make {layers * proposers + 1} calls."


def waiting_time(layers: int, seconds: int) -> str:
    """Tell how long an answer takes when each call takes some seconds."""
    return f"The whole answer takes {(layers + 1) * seconds} seconds."


def main() -> None:
    document = Path(__file__).parent / "documents" / "mixture-of-agents.md"
    question = "What do 2 layers of 6 proposers cost in calls and in time, at 4 seconds a call?"

    # bind_tools, which the agent calls, reaches the aggregator alone: proposers see no tool schemas.
    model = MoAChatModel(spec=parse_spec(SPEC), models={"actor": model_that_calls_tools()})
    agent = create_agent(model, [count_calls, waiting_time])
    text = f"{document.read_text(encoding='utf-8')}\n\n{question}"
    messages = agent.invoke({"messages": [("user", text)]})["messages"]

    for message in messages:
        if isinstance(message, ToolMessage):
            print(f"{message.name}: {message.text}")
    print(f"answer: {messages[-1].text}")

    # Each step of the agent is one call of the chat model. Only the first one asked the two proposers.
    steps = [message for message in messages if isinstance(message, AIMessage)]
    calls = [step.response_metadata["moa"]["calls"] for step in steps]
    print(f"calls of each step: {calls}, together {sum(calls)}")


if __name__ == "__main__":
    main()
