"""One pool: takes its scale set's messages, and says what is wanted of it.

The counters alone decide. `handle` returns once the new wish is stored, so a message is acknowledged only then; growing
the groups is the grower's, which hears of the wish before it is stored and never holds a message up.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence
from typing import Any, Final

from scaleset import Event, JobCompleted, JobMessage, NotNowError, ScaleSetError, ScaleSetSpec, Statistics, What

from . import decide
from .clients.monitoring import Gauge
from .clients.upstream import UpstreamError
from .document import REFRESH_SECONDS, SPACING_SECONDS, Document
from .fleet_table import Group
from .grow import Grower
from .jobs import Jobs
from .leadership import NotLeadingError
from .means import Means, pace
from .records import place
from .status import Status

RECORD_SECONDS: Final = 60.0
"""How often the demand is recorded, and looked whether anything is to be renewed, though all is the same."""
STEP_BACK_SECONDS: Final = 0.1
"""Growing goes first: where a burst comes to many pools at once, no group waits until the wishes of all are stored."""
FAILED_SECONDS: Final = 5.0
"""After the store refused."""

HEARD_SECONDS: Final = 240.0
"""After so long without a word of GitHub's nothing is said any more: what was said goes stale, and nobody leaves on it.

A poll is held for 50 to 88 s (measured by others)."""

_QUIET: Final = frozenset({What.SESSION_OPENED, What.SESSION_CLOSED, What.SESSION_REFRESHED, What.SCALE_SET_MADE})
"""What is no reason to worry."""


class Pool:
    """A pool, as `scaleset.listen` handles it; `run` is the rest of its work."""

    def __init__(
        self,
        name: str,
        groups: Sequence[Group],
        means: Means,
    ) -> None:
        self.name = name
        self._groups = tuple(groups)
        self._means = means
        self._records = means.records
        self._record_seconds = RECORD_SECONDS * pace(name)
        self._maximum = sum(group.max for group in groups)
        self._idle = max(group.idle for group in groups)
        self._scale_set_id = 0
        self._statistics: Statistics | None = None
        """None until this leader has heard of any: until then it asks for nothing and says nothing."""
        self._desired = 0
        self._stored: int | None = None
        """The wish that is known to be stored."""
        self._said: dict[str, int] = {}
        self._said_at = _time()
        self._heard_at = float("-inf")
        self._conflict_told_at = float("-inf")
        self._dirty = asyncio.Event()
        self._jobs = Jobs(name, means.records)
        self.grower = Grower(name, groups, jobs=self._jobs, means=means, seen=self._dirty.set)
        self._status = self._document(f"pools/{name}.json", signed=True)
        self._demand = {group.name: self._document(f"demand/{group.name}.json") for group in groups}

    @property
    def spec(self) -> ScaleSetSpec:
        """Its scale set. All groups of a pool say the same."""
        first = self._groups[0]
        return ScaleSetSpec(name=first.scale_set, runner_group=first.runner_group, labels=first.labels)

    # What scaleset.listen asks for.

    def capacity(self) -> int:
        """The pool's maximum, always: it is never lowered to what is free, and never 0."""
        return max(1, self._maximum)

    async def handle(self, statistics: Statistics, jobs: Sequence[JobMessage], /) -> None:
        """Raises NotNowError where the lease or the store is in the way: then the message stays, however long."""
        try:
            await self._take(statistics, jobs)
        except (NotLeadingError, UpstreamError) as error:
            raise NotNowError(str(error)) from error

    async def _take(self, statistics: Statistics, jobs: Sequence[JobMessage]) -> None:
        self._means.leadership.limit(SPACING_SECONDS)
        for job in jobs:
            self._jobs.note(job)
        desired = decide.desired(statistics, self._maximum, self._idle)
        self._statistics, self._desired, self._heard_at = statistics, desired, _time()
        ended = any(isinstance(job, JobCompleted) for job in jobs)
        self.grower.want(desired, decide.waiting(statistics), ended=ended)
        if desired != self._stored:
            await asyncio.sleep(STEP_BACK_SECONDS)
        self._record()
        self._dirty.set()
        if desired != self._stored:
            await self._status.write(self.status().document())
            self._stored = desired

    async def unreadable(self, message_id: int, body: str, deliveries: int, /) -> None:
        """Keep it as it came, once; what has no id is known by its content. Raises UpstreamError."""
        known_as = str(message_id) if message_id else hashlib.sha256(body.encode()).hexdigest()[:16]
        seconds = self._means.leadership.limit(FAILED_SECONDS)
        name = f"poisoned/{self.name}/{known_as}.json"
        await self._means.storage.write(name, body.encode(), "0", timeout_seconds=seconds)
        if deliveries == 1:
            self._records.say("poisoned", severity="ERROR", pool=self.name, message_id=message_id)

    def told(self, event: Event, /) -> None:
        """Record what happened at GitHub."""
        if event.scale_set_id:
            self._scale_set_id = event.scale_set_id
        if event.what is What.SESSION_CONFLICT:
            # Told every few seconds: what is usual after a crash shall not flood the log.
            if _time() - self._conflict_told_at < RECORD_SECONDS:
                return
            self._conflict_told_at = _time()
        details: dict[str, Any] = {"pool": self.name, "scale_set": event.scale_set, "event": event.what.value}
        details |= {
            name: value
            for name, value in (
                ("message_id", event.message_id),
                ("deliveries", event.deliveries),
                ("labels", list(event.labels)),
                ("waited_seconds", round(event.waited_seconds)),
                ("pause_seconds", round(event.pause_seconds)),
            )
            if value
        }
        if isinstance(event.error, ScaleSetError):
            details["cause"] = str(event.error)
        elif event.error is not None:
            details["cause"] = place(event.error)
        severity = "INFO" if event.what in _QUIET else "WARNING"
        self._records.say("scale set", severity=severity, **details)

    # What is said of it.

    def status(self) -> Status:
        """How it stands."""
        return Status(
            pool=self.name,
            scale_set=self._groups[0].scale_set,
            scale_set_id=self._scale_set_id,
            statistics=self._statistics or Statistics(),
            desired=self._desired,
            maximum=self._maximum,
            places=self.grower.places,
            missing=self.grower.allocation.reasons,
            unreadable=self.grower.unreadable(),
            short=self.grower.shortages.current(self._means.moment()),
        )

    def gauges(self) -> list[Gauge]:
        """Its numbers; none before this leader has any."""
        if self._statistics is None or not self.grower.complete:
            return []
        return [Gauge(name=name, pool=self.name, value=value) for name, value in self.status().gauges().items()]

    async def publish(self) -> None:
        """Store what is said, whenever it changes and before it expires; for ever, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._said_at + self._record_seconds - _time())):
                    await self._dirty.wait()
            await asyncio.sleep(STEP_BACK_SECONDS)
            self._dirty.clear()
            self._record()
            pause = SPACING_SECONDS
            try:
                await self._publish()
            except (UpstreamError, NotLeadingError):
                self._dirty.set()
                pause = FAILED_SECONDS
            await asyncio.sleep(pause)

    async def _publish(self) -> None:
        """A group that was never seen is not spoken of: what is said of it goes stale, and nobody leaves it."""
        if self._statistics is None or _time() - self._heard_at > HEARD_SECONDS:
            return
        await self._status.write(self.status().document())
        if not self.grower.complete:
            return
        counts = decide.wanted(
            self._desired,
            self.grower.places,
            self.grower.running(),
            waiting=decide.waiting(self._statistics),
            targets=self.grower.allocation.targets,
        )
        await asyncio.gather(*(self._demand[name].write({"desired": count}) for name, count in counts.items()))

    def _record(self) -> None:
        """The demand: when it changes, and each minute."""
        if self._statistics is None:
            return
        numbers = self.status().numbers()
        if numbers == self._said and _time() - self._said_at < self._record_seconds:
            return
        self._said, self._said_at = numbers, _time()
        fields: dict[str, Any] = {**numbers}
        self._records.say("demand", pool=self.name, **fields)

    def _document(self, name: str, *, signed: bool = False) -> Document:
        means = self._means
        return Document(
            name,
            storage=means.storage,
            leadership=means.leadership,
            now=means.now,
            refresh_seconds=REFRESH_SECONDS * pace(self.name),
            signed=signed,
        )


def _time() -> float:
    return asyncio.get_running_loop().time()
