"""Clients that go before their answer is there: what was asked for them ends within a second."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any

import pytest
from openai import OpenAI

from tests.server.clients.house import House, said, until

SOON = 1.0
"""Seconds after which no provider works any more for a client that is gone."""

BODIES: dict[str, Any] = {
    "/v1/chat/completions": {"messages": said()},
    "/v1/responses": {"input": "Why?"},
}


def gone_within(house: House, model: str, since: float) -> float:
    """Return how long after `since` the fake server was hung up on."""
    assert house.upstream.wait_for(lambda: house.upstream.of(model)[0].outcome == "disconnected", 10)
    finished = house.upstream.of(model)[0].finished
    assert finished is not None
    return finished - since


def line_of(house: House, response: str) -> dict[str, Any]:
    """Return the line of the access log that names a response, once it is written."""
    return until(lambda: next((line for line in house.server.log if line.get("request") == response), None))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", BODIES)
def test_proposers_are_not_paid_for_a_client_that_is_gone(house: House, path: str, stream: bool) -> None:
    name = f"gone-{path.rpartition('/')[2]}-{stream}"
    headers = {
        "content-type": "application/json",
        "authorization": f"Bearer {house.secret}",
        "x-request-id": name,
    }
    connection = http.client.HTTPConnection("127.0.0.1", house.server.port, timeout=60)
    connection.request("POST", path, json.dumps({"model": "slow", "stream": stream, **BODIES[path]}), headers)
    assert house.upstream.wait_for(lambda: house.count("hang@p") == 1, 30)
    if stream:
        response = connection.getresponse()
        assert response.readline()
        response.close()
    since = time.monotonic()
    connection.close()

    assert gone_within(house, "hang@p", since) < SOON
    assert house.count("ok@x") == 0
    line = line_of(house, name)
    assert (line["status"], line["client_gone"], line["run"]) == (499, True, "cancelled")


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_an_answer_is_not_written_on_for_a_client_that_is_gone(
    house: House, client: OpenAI, api: str
) -> None:
    if api == "chat":
        stream: Any = client.chat.completions.create(model="endless", messages=said(), stream=True)
        wanted = [chunk for chunk, _ in zip(stream, range(5), strict=False)]
    else:
        stream = client.responses.create(model="endless", input="Why?", stream=True)
        wanted = [event for event, _ in zip(stream, range(8), strict=False)]
    assert "drip " in repr(wanted)
    since = time.monotonic()
    stream.close()

    assert gone_within(house, "drip@w", since) < SOON


def asked(house: House, secret: str) -> tuple[int, Any]:
    """Return what a key is told that asks."""
    body = {"model": "team", "messages": said()}
    return house.ask("/chat/completions", body, authorization=f"Bearer {secret}")


def test_the_place_of_a_client_that_is_gone_is_free_for_the_next(house: House) -> None:
    secret = house.key(concurrent_runs=1)
    with house.client(secret) as guest:
        stream = guest.chat.completions.create(model="slow", messages=said(), stream=True)
        assert house.upstream.wait_for(lambda: house.count("hang@p") == 1, 30)
        refused, error = asked(house, secret)
        assert (refused, error["error"]["code"]) == (429, "concurrent_runs_exceeded")
        stream.close()
        gone_within(house, "hang@p", time.monotonic())
        until(lambda: asked(house, secret)[0] == 200)


def test_what_was_finished_is_kept_for_a_client_that_comes_back(house: House) -> None:
    headers = {
        "content-type": "application/json",
        "authorization": f"Bearer {house.secret}",
        "idempotency-key": "lost-connection",
    }
    body = {"model": "endless", "messages": said(), "stream": True}
    connection = http.client.HTTPConnection("127.0.0.1", house.server.port, timeout=60)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    assert house.upstream.wait_for(lambda: house.count("drip@w") == 1, 30)
    connection.close()
    gone_within(house, "drip@w", time.monotonic())

    connection = http.client.HTTPConnection("127.0.0.1", house.server.port, timeout=60)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    assert house.upstream.wait_for(lambda: house.count("drip@w") == 2, 30)
    connection.close()
    assert house.count("ok@f") == 1
