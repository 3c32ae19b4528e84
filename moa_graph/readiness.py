"""What has to be there before a run's first call, checked once and told all together."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor

from moa_graph.errors import ModelNotReady

__all__ = ["Readiness"]


class Readiness(ABC):
    """Be made ready before the first call; thread-safe. Subclasses say what is missing."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._loaded = False

    @property
    def loaded(self) -> bool:
        """Tell whether all is there."""
        return self._loaded

    @abstractmethod
    def problems(self) -> list[str]:
        """Return what is missing before a run can start, each as a sentence that says how to mend it."""

    def load(self) -> None:
        """Make all ready; raise ModelNotReady naming all that is missing at once."""
        with self._lock:
            if self._loaded:
                return
            if problems := self.problems():
                raise ModelNotReady("\n".join(problems), hint="Nothing was called.")
            self._loaded = True

    async def ready(self) -> None:
        """Make all ready without holding up the event loop; raises as `load` does."""
        if self._loaded:
            return
        # Not the loop's own threads: what waits in those may be waiting for this.
        with ThreadPoolExecutor(1, thread_name_prefix="moa_graph") as threads:
            await asyncio.get_running_loop().run_in_executor(threads, self.load)
