"""Taking, keeping and passing on the lease: `lease` with a bucket and a clock."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import Callable
from typing import Final

from . import lease
from .clients.storage import Storage
from .clients.upstream import UpstreamError
from .lease import Hold, Record, Watch

SHORTEST_SECONDS: Final = 0.25
"""An action that has less time than this is not begun."""
RELEASE_SECONDS: Final = 2.0
TRY_SECONDS: Final = 5.0
LAST_TRY_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 1.0


class NotLeadingError(Exception):
    """Nothing may be done now: the lease is not certain."""


class Standby:
    """Waits for the lease."""

    def __init__(self, storage: Storage, holder: str, now: Callable[[], float]) -> None:
        self._storage = storage
        self._holder = holder
        self._now = now
        self._watch: Watch | None = None

    @property
    def seen(self) -> Record | None:
        """What the lease said when it was last read."""
        return None if self._watch is None else self._watch.record

    async def step(self) -> Leadership | None:
        """Look once, and take the lease if it is to be had. Raises UpstreamError where the store does not answer.

        After a failed look nothing is taken. A taking whose answer was lost is found at the next look.
        """
        stored = await self._storage.read(lease.NAME)
        at = asyncio.get_running_loop().time()
        self._watch = lease.watch(self._watch, stored.generation, stored.data, at)
        if not lease.claimable(self._watch, self._holder, at):
            return None
        record = lease.claim(self._watch, self._holder)
        hold = await write(self._storage, record, self._watch.generation, self._now)
        return None if hold is None else Leadership(self._storage, record, hold, self._now)


class Leadership:
    """The right to act, for as long as it lasts. Everything that acts asks it how long it may take."""

    def __init__(self, storage: Storage, record: Record, hold: Hold, now: Callable[[], float]) -> None:
        self._storage = storage
        self._record = record
        self._hold = hold
        self._now = now
        self._lost = False

    @property
    def fence(self) -> int:
        """The number of this term, in every record of a decision."""
        return self._record.fence

    @property
    def holder(self) -> str:
        """Who leads."""
        return self._record.holder

    def seconds(self) -> float:
        """For how long this may still act, 0 where it may not."""
        left = self._hold.seconds(asyncio.get_running_loop().time(), self._now())
        return 0.0 if self._lost else max(0.0, left)

    def limit(self, seconds: float) -> float:
        """The time that an action may take that wants so much. Raises NotLeadingError where it may not begin."""
        left = self.seconds()
        if left < SHORTEST_SECONDS:
            raise NotLeadingError
        return min(seconds, left)

    async def keep(self) -> None:
        """Renew it until it is lost, or can no longer be certain; then nothing may be done any more."""
        loop = asyncio.get_running_loop()
        due = loop.time() + lease.HEARTBEAT_SECONDS
        while True:
            await asyncio.sleep(max(0.0, min(due - loop.time(), self.seconds())))
            if self.seconds() <= 0:
                # Only the wall clock may have jumped: one more try decides.
                await self._renew()
                if self.seconds() <= 0:
                    break
            pause = lease.HEARTBEAT_SECONDS if await self._renew() else _RETRY_SECONDS
            if self._lost:
                break
            due = loop.time() + pause
        self._lost = True

    async def release(self) -> None:
        """Pass it on. Only when all that acts has ended. Where that fails the lease lapses by itself."""
        if self.seconds() <= 0:
            return
        self._lost = True
        record = Record(holder=self.holder, fence=self.fence, state="released")
        with contextlib.suppress(UpstreamError):
            generation = self._hold.generation
            if await self._write_release(record, generation):
                return
            # A heartbeat that was broken off may have been carried out.
            stored = await self._storage.read(lease.NAME, timeout_seconds=RELEASE_SECONDS)
            if lease.read(stored.generation, stored.data) == self._record:
                await self._write_release(record, stored.generation)

    async def _write_release(self, record: Record, generation: str) -> bool:
        return await write(self._storage, record, generation, self._now, timeout_seconds=RELEASE_SECONDS) is not None

    async def _renew(self) -> bool:
        """One heartbeat, no longer than the lease. False: ask again soon. Sets `_lost` where somebody else has it."""
        limit = max(LAST_TRY_SECONDS, min(TRY_SECONDS, self.seconds()))
        try:
            hold = await self._write(self._hold.generation, limit)
            if hold is None:
                stored = await self._storage.read(lease.NAME, timeout_seconds=limit)
                if lease.read(stored.generation, stored.data) != self._record:
                    self._lost = True
                    return False
                # Our own write, whose answer was lost: it proves nothing about when it was begun, so write again.
                hold = await self._write(stored.generation, limit)
        except UpstreamError:
            return False
        if hold is None:
            return False
        self._hold = hold
        return True

    async def _write(self, generation: str, timeout_seconds: float) -> Hold | None:
        return await write(self._storage, self._record, generation, self._now, timeout_seconds=timeout_seconds)


async def write(
    storage: Storage, record: Record, generation: str, now: Callable[[], float], *, timeout_seconds: float = TRY_SECONDS
) -> Hold | None:
    """Write the lease on a generation's condition; None where it had another. Raises UpstreamError."""
    began, wall = asyncio.get_running_loop().time(), now()
    renewed = datetime.datetime.fromtimestamp(wall, datetime.UTC).isoformat(timespec="seconds")
    made = await storage.write(lease.NAME, record.text(renewed), generation, timeout_seconds=timeout_seconds)
    return None if made is None else Hold(generation=made, began=began, began_wall=wall)
