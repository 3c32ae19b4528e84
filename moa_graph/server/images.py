"""Images in requests: there in full, never at an address."""

from __future__ import annotations

from moa_graph.server.faults import Refused

__all__ = ["check_image"]

_HERE = "data:image/"


def check_image(url: str, place: str) -> None:
    """Raise Refused for an image that is not in the request itself.

    This server fetches nothing, but a provider does, and one's own may stand where callers cannot reach.
    """
    if url[: len(_HERE)].lower() != _HERE:
        raise Refused(
            400,
            f"{place}: give the image itself, as data:image/…;base64,…; no address is fetched",
            param=place,
            code="invalid_value",
        )
