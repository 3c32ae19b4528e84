"""A web endpoint that streams the answer token by token (server-sent events), made with FastAPI.

Use it when a web application has a chat. A reader who leaves ends the calls that are under way.
Needs: pip install fastapi uvicorn. Run it: python examples/streaming_endpoint.py, and ask as is shown below.
"""

# In another terminal:
#     curl --no-buffer localhost:8000/ask --header "content-type: application/json" \
#         --data '{"question": "MoA waits for its slowest model. What does MoA wait for?"}'

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

from moa_graph import MoAChatModel, MoAError

try:
    import uvicorn
    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse
    from pydantic import BaseModel
except ImportError as missing:
    raise SystemExit(f"{missing}. Install what this example needs: pip install fastapi uvicorn") from None


class Question(BaseModel):
    """What a client sends."""

    question: str


def create_app(model: MoAChatModel) -> FastAPI:
    app = FastAPI()

    @app.post("/ask")
    async def ask(body: Question) -> StreamingResponse:
        return StreamingResponse(events(model, body.question), media_type="text/event-stream")

    return app


async def events(model: MoAChatModel, question: str) -> AsyncIterator[str]:
    """Yield the answer as server-sent events: tokens, and `done` or `error` at the end."""
    # When the client goes, this generator is cancelled at the place where it waits, and the model with it.
    try:
        async with aclosing(model.astream(question)) as chunks:
            async for chunk in chunks:
                if chunk.text:
                    yield event("token", chunk.text)
                if summary := chunk.response_metadata.get("moa"):
                    yield event("done", {"calls": summary["calls"], "by": summary["answered_by"]})
    except MoAError as error:
        yield event("error", type(error).__name__)  # the message may hold what a provider said: log it


def event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def main() -> None:
    quickstart = Path(__file__).parents[1] / "graphs" / "quickstart.yaml"
    parser = argparse.ArgumentParser(description="Serve a spec on loopback.")
    parser.add_argument("spec", nargs="?", default=quickstart, help="the spec's file")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    options = parser.parse_args()
    uvicorn.run(create_app(MoAChatModel(spec=options.spec)), host="127.0.0.1", port=options.port)


if __name__ == "__main__":
    main()
