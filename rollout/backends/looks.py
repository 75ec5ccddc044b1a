"""Looks that many waiting steps share: whoever needs news takes what another one saw a moment ago.

A step that waits says what it knows already: only a look that began later is news to it. Of one thing there is one look
at a time, so whoever comes while one is under way that is too old shares the next. A hundred steps that wait for one
group list it once per pause, and none passes by a look that began before the step itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

T = TypeVar("T")


class SharedLooks:
    """Looks by what they look at, for one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._seen: dict[str, tuple[float, Any]] = {}
        self._running: dict[str, tuple[float, asyncio.Task[Any]]] = {}

    async def see(self, key: str, look: Callable[[], Awaitable[T]], *, after: float) -> tuple[float, T]:
        """What was seen by a look that began after that time, and when it began; looks itself if there is none.

        What a look raises, all who wait for it get; it is not kept. One who is cancelled takes the look from nobody.
        """
        while True:
            began, value = self._seen.get(key, (after, None))
            if began > after:
                return began, cast("T", value)
            began, task = self._running.get(key, (after, None))
            if task is None:
                began = self.clock()
                task = asyncio.ensure_future(self._look(key, began, look))
                self._running[key] = began, task
            await asyncio.wait({task})
            if began > after:
                return began, task.result()

    async def close(self) -> None:
        """End looks that nobody waits for any more."""
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, key: str, began: float, look: Callable[[], Awaitable[T]]) -> T:
        try:
            value = await look()
            self._seen[key] = began, value
            return value
        finally:
            del self._running[key]
