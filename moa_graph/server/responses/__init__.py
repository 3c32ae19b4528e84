"""OpenAI's Responses API: POST /v1/responses, and the responses that are kept."""

from moa_graph.server.responses.route import router

__all__ = ["router"]
