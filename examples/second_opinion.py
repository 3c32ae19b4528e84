"""A Mixture-of-Agents as a tool: an agent asks a panel when it wants a second opinion.

Use it when one model is enough most of the time: the agent decides which question is worth many calls.
Run it: python examples/second_opinion.py
"""

from pathlib import Path

from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from stand_in import model_that_calls_tools

from moa_graph import as_tool, load_spec

ROOT = Path(__file__).parents[1]

REPORT = """The shop was down from 3:10 to 3:25. The cause of the outage was the database: it had run out of
connections. At 2:50 a release had doubled the number of workers, and each worker keeps ten connections open.
Traffic was normal, and the disks were half empty. The shop came back when the release was taken back."""


def main() -> None:
    # The panel sees the tool's `question` and nothing else of the agent's conversation.
    panel = as_tool(load_spec(ROOT / "graphs" / "quickstart.yaml"))
    agent = create_agent(
        model_that_calls_tools(),
        [panel],
        system_prompt="Get a second opinion before you answer. Put the whole report into the question.",
    )
    question = f"{REPORT}\n\nWhat was the cause of the outage?"
    messages = agent.invoke({"messages": [("user", question)]})["messages"]

    # The answer's text goes to the agent; the artifact stays in your program, with everything behind it.
    for message in messages:
        if isinstance(message, ToolMessage):
            summary = message.artifact["summary"]
            print(f"the panel, {summary['calls']} calls, {len(message.artifact['proposals'])} proposals:")
            print(f"  {message.text}")
    print(f"the agent:\n  {messages[-1].text}")


if __name__ == "__main__":
    main()
