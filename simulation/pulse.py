"""Who waits for the stand-ins to change is woken when they do, and never looks in vain meanwhile.

Both clouds count their changes and say when they will next change by themselves. `beat` is called after whatever may
have changed them; `run` lets happen what is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from emulators.github import GitHub
from emulators.google import Google
from simulation.clock import VirtualClock

LEAST_SECONDS: Final = 0.001
"""A sum of times since 1970 is exact to a quarter of a microsecond; nothing due is missed by this."""


class Pulse:
    """Watches both clouds."""

    def __init__(self, clock: VirtualClock, github: GitHub, google: Google) -> None:
        self._clock = clock
        self._github = github
        self._google = google
        self._seen = -1
        self._watches: dict[asyncio.Future[bool], Callable[[], bool]] = {}
        self._due: asyncio.Future[None] | None = None
        self._due_at = float("inf")
        self.observers: list[Callable[[], None]] = []
        """Called at every beat that found a change, before those who wait are woken."""

    async def until(self, true: Callable[[], bool], at: float = float("inf")) -> bool:
        """Wait until something is true, looking at every change; False when it is not by `at`, seconds since 1970."""
        if true():
            return True
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[bool] = loop.create_future()
        self._watches[waiting] = true
        timer = None
        if at < float("inf"):
            timer = loop.call_later(max(at - self._clock.now(), LEAST_SECONDS), self._late, waiting)
        try:
            return await waiting or true()
        finally:
            if timer is not None:
                timer.cancel()
            self._watches.pop(waiting, None)

    def beat(self, *, anyway: bool = False) -> None:
        """Wake whom a change concerns; cheap where there was none. `anyway`: there was one that nobody counts."""
        seen = self._github.changed + self._google.compute.changed
        if seen == self._seen and not anyway:
            return
        self._seen = seen
        for observe in self.observers:
            observe()
        for waiting, true in list(self._watches.items()):
            if not waiting.done() and true():
                waiting.set_result(True)
        if self._due is not None and not self._due.done() and self._next() < self._due_at:
            self._due.set_result(None)

    async def run(self) -> None:
        """Let the clouds change by themselves when it is time; for ever."""
        loop = asyncio.get_running_loop()
        while True:
            now = self._clock.now()
            self._github.tick(now)
            self._google.compute.tick()
            self.beat()
            self._due_at = self._next()
            self._due = loop.create_future()
            timer = None
            if self._due_at < float("inf"):
                timer = loop.call_later(max(self._due_at - now, LEAST_SECONDS), self._elapsed, self._due)
            await self._due
            if timer is not None:
                timer.cancel()

    def _next(self) -> float:
        given = (self._github.next_due(), self._google.compute.next_due())
        return min((at for at in given if at is not None), default=float("inf"))

    @staticmethod
    def _late(waiting: asyncio.Future[bool]) -> None:
        if not waiting.done():
            waiting.set_result(False)

    @staticmethod
    def _elapsed(due: asyncio.Future[None]) -> None:
        if not due.done():
            due.set_result(None)
