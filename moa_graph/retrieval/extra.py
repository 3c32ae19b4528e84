"""The packages of the extra `retrieval`: imported when a spec needs them, and what to say without them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from moa_graph.extras import needing

__all__ = ["extra"]

_SUNSET = "`langchain-community` is being sunset"


@contextmanager
def extra() -> Iterator[None]:
    """Import packages of the extra inside; raise ModelNotReady, which says how to install what is missing."""
    with needing("retrieval"), warnings.catch_warnings():
        # What we use of it works, and whoever runs a spec cannot mend it.
        warnings.filterwarnings("ignore", message=_SUNSET, category=DeprecationWarning)
        yield
