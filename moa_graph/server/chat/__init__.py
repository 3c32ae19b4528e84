"""`POST /v1/chat/completions`: the chat of OpenAI's API, answered by a mixture."""

from moa_graph.server.chat.route import router

__all__ = ["router"]
