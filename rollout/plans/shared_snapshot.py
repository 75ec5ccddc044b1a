"""One look at a fleet for all steps of a run: however many wait, Google and GitHub are asked once an interval."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from fleet.settings import Settings
from rollout.cloud.github import GitHub
from rollout.cloud.google import Google
from rollout.view.gather import gather, utc_now
from rollout.view.snapshot import Snapshot

INTERVAL_SECONDS: Final = 30.0
"""How old a snapshot may be that a look goes by; a look at 40 groups is some 50 requests."""


class SharedSnapshot:
    """The newest snapshot of a stack's fleet, and the clients that it was made with."""

    def __init__(
        self,
        settings: Settings,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        now: Callable[[], datetime.datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._interval_seconds = interval_seconds
        self._now = now
        self._clients = AsyncExitStack()
        self._lock = asyncio.Lock()
        self._google: Google | None = None
        self._github: GitHub | None = None
        self._newest: Snapshot | None = None
        self._newest_at = float("-inf")

    async def look(self) -> tuple[Snapshot, Google]:
        """The snapshot, a new one where it is too old. Raises CloudError where no client can be had."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            if self._google is None:
                self._google = await self._clients.enter_async_context(Google(self._settings.google.project))
            if self._github is None:
                self._github = await self._clients.enter_async_context(GitHub(self._settings.github.organization))
            if self._newest is None or loop.time() - self._newest_at >= self._interval_seconds:
                self._newest = await gather(self._settings, self._google, self._github, vms_only=True, now=self._now)
                self._newest_at = loop.time()
            return self._newest, self._google

    async def close(self) -> None:
        """Close the clients."""
        await self._clients.aclose()
