"""The application: routes, guards and errors put together."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from moa_graph.errors import MoAError
from moa_graph.server import chat, responses
from moa_graph.server.access import GONE, AccessLog
from moa_graph.server.asking import Served
from moa_graph.server.documented import WRONG
from moa_graph.server.encoding import JsonReply
from moa_graph.server.faults import Refused, fault_of, log_failure, refusal
from moa_graph.server.guards import Guards
from moa_graph.server.streaming import ClientGone

__all__ = ["make_app"]


def make_app(served: Served, write: Callable[[str], None]) -> Any:
    """Return the ASGI application; `write` gets a line of JSON for each request."""
    app = FastAPI(
        title="moa_graph",
        summary="Mixtures of agents as models",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.served = served
    app.state.began = int(time.time())
    app.state.draining = False
    app.include_router(chat.router)
    app.include_router(responses.router)
    app.add_api_route("/v1/models", _models, methods=["GET"], responses=WRONG)
    app.add_api_route("/v1/models/{model:path}", _model, methods=["GET"], responses=WRONG)
    app.add_api_route("/healthz", _healthz, methods=["GET"], responses=WRONG)
    app.add_api_route("/metrics", _metrics, methods=["GET"], response_class=Response, responses=WRONG)
    for kind in (Refused, MoAError, Exception):
        app.add_exception_handler(kind, _failed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientGone, _gone)
    settings = served.settings
    app.add_middleware(
        Guards, hosts=settings.allowed_hosts, origins=settings.origins, body_limit=settings.body_limit
    )
    app.add_middleware(AccessLog, write=write, count=served.metrics.requested)
    return app


async def _models(request: Request) -> dict[str, Any]:
    served: Served = request.app.state.served
    served.keys.find(request.headers.get("authorization"))
    began = request.app.state.began
    return {"object": "list", "data": [_described(name, began) for name in served.performer.models]}


async def _model(request: Request, model: str) -> dict[str, Any]:
    served: Served = request.app.state.served
    served.keys.find(request.headers.get("authorization"))
    served.spec(model)
    return _described(model, request.app.state.began)


def _described(name: str, began: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": began, "owned_by": "moa_graph"}


async def _healthz(request: Request) -> JsonReply:
    """Tell whether requests are taken: 503 while the server drains."""
    draining = request.app.state.draining
    return JsonReply({"status": "draining" if draining else "ok"}, 503 if draining else 200)


async def _metrics(request: Request) -> Response:
    served: Served = request.app.state.served
    served.keys.find(request.headers.get("authorization"))
    return Response(served.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _failed(request: Request, error: Exception) -> JsonReply:
    log_failure(f"{request.method} {request.url.path}", error)
    return refusal(request.scope, fault_of(error))


async def _invalid(request: Request, error: Exception) -> JsonReply:
    """Say of the first field that cannot be read where it is and what is wrong with it."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - FastAPI hands over what was asked for
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body") or None
    refused = Refused(400, f"{place or 'the body'}: {first['msg']}", param=place, code="invalid_value")
    return refusal(request.scope, refused)


async def _http(request: Request, error: Exception) -> JsonReply:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code)
    told = str(error.detail)
    if code is not None:
        told = f"{request.method} {request.url.path[:200]} is not served; GET /openapi.json lists what is"
    return refusal(request.scope, Refused(error.status_code, told, code=code, headers=error.headers))


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=GONE)
