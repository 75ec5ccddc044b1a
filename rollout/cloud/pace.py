"""How fast one host is asked: a leaky bucket for all that goes there, and a pause that the host itself asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from aiolimiter import AsyncLimiter

MOST_HELD_SECONDS: Final = 60.0
"""A longer pause than this is not sat out here: who asks is told, and the engine lets the step wait without room."""


class HeldError(Exception):
    """The host wants to be left alone for longer than we wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"not before {seconds:.0f} s")
        self.seconds = seconds


class Pace:
    """The pace of one host, for one event loop.

    In no minute more than `points_per_minute` leave: half of them may leave at once, and half of them are refilled in a
    minute, so that a full bucket and a minute's refill together are what the host allows.
    """

    def __init__(
        self,
        points_per_minute: float,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limiter = AsyncLimiter(points_per_minute / 2, 60)
        self.sleep = sleep
        self._clock = clock
        self._not_before = clock()

    async def turn(self, points: float = 1) -> None:
        """Wait until a request of so many points may leave. Raises HeldError instead of a long pause."""
        await self._limiter.acquire(points)
        while (left := self._not_before - self._clock()) > 0:
            if left > MOST_HELD_SECONDS:
                raise HeldError(left)
            await self.sleep(left)

    def hold(self, seconds: float) -> None:
        """Let nothing leave for that long; a pause that is longer already stays."""
        self._not_before = max(self._not_before, self._clock() + seconds)
