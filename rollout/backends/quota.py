"""A regional quota of Google's as a resource of a run, which grows and shrinks by what others use.

    async with RegionalQuota(google, "us-west1", "CPUS", held=held) as cpus:
        limits = Limits(resources={"cpus/us-west1": cpus})

What Google says is used includes what the run itself has made; `held` says how much of it that is at a look.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, Self

from rollout.cloud.errors import CloudError
from rollout.cloud.google import Google

LOOK_SECONDS: Final = 60.0
"""Between two looks. Chosen: a job runs for minutes."""


class RegionalQuota:
    """A resource's provider; it looks by itself within `async with`, and tells of what changed."""

    def __init__(
        self,
        google: Google,
        region: str,
        metric: str,
        *,
        held: Callable[[], int] = lambda: 0,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._google = google
        self._region = region
        self._metric = metric
        self._held = held
        self._look_seconds = look_seconds
        self._units: int | None = None
        self._listeners: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """The first look. Raises CloudError, also for a quota that the region does not have: class not-found."""
        await self.refresh()
        self._task = asyncio.create_task(self._watch(), name=f"quota {self._metric} in {self._region}")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def units(self) -> int | None:
        """What others leave, by the last look."""
        return self._units

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call it after every look that found another figure."""
        self._listeners.append(changed)
        return lambda: self._listeners.remove(changed)

    async def refresh(self) -> None:
        """Look now, as after a step that failed for the quota. Raises CloudError; the last figure then stays."""
        quotas = await self._google.quotas.of(self._region)
        if self._metric not in quotas:
            raise CloudError("compute", 404, f"quota {self._metric} of {self._region}", text="has no such quota")
        found = quotas[self._metric]
        units = max(found.limit - max(found.usage - self._held(), 0), 0)
        if units != self._units:
            self._units = units
            for changed in tuple(self._listeners):
                changed()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            with contextlib.suppress(CloudError):  # the next look tells
                await self.refresh()
