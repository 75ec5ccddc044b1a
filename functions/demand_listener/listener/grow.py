"""Growing the groups of one pool to what is wanted: looking, resizing, following what becomes of it.

One task a pool. It always works on the newest wish; wishes that come while it works are one wish. Nothing here waits
for, or holds up, GitHub's messages.

Resizing is absolute, so it is done within a moment of the look that it is based on, and never to less than was seen. A
resize whose answer did not come may still be carried out; the next one is based on a new look, some seconds later.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from . import decide, look
from .clients.compute import Operation
from .clients.upstream import UpstreamError
from .decide import Allocation
from .fleet_table import Group
from .jobs import Jobs
from .leadership import NotLeadingError
from .means import Means, pace
from .shortage import EVERYWHERE, Kind, Shortages

RECHECK_SECONDS: Final = 15.0
"""Between looks while jobs wait, or VMs are missing."""
CALM_SECONDS: Final = 60.0
"""Between looks otherwise."""
SOON_SECONDS: Final = 5.0
"""After a job ended: its VM takes itself out of its group."""
SPACING_SECONDS: Final = 1.0
"""Between two growths at the least, though wishes come faster: the first is served at once, the others together."""
FRESH_SECONDS: Final = 2.0
"""How old a look may be that a resize is based on; then the size is looked at again."""
RESIZE_SECONDS: Final = 10.0
BACKOFF_SECONDS: Final = 2.0
"""After a call that failed and may not fail again; doubles up to RECHECK_SECONDS."""
BLIND_LOOKS: Final = 3
"""So often a group that was never seen is waited for, before the pool grows without knowing what it has."""
FOLLOW_SECONDS: Final = 600.0
"""How long an operation is followed."""

_MENDED: Final = frozenset({Kind.CAPACITY, Kind.QUOTA, Kind.CREATION})
_UNCLEAR: Final = frozenset({0, 200, 408, 409, 412, 425, 500, 502, 503, 504})
_QUOTA_REASONS: Final = frozenset({"quotaExceeded", "QUOTA_EXCEEDED"})


class Grower:
    """The groups of one pool. `want` says what is wanted; `run` does it."""

    def __init__(
        self,
        pool: str,
        groups: Sequence[Group],
        *,
        jobs: Jobs,
        means: Means,
        seen: Callable[[], None],
    ) -> None:
        """`seen` is called after every look."""
        self._pool = pool
        self._calm_seconds = CALM_SECONDS * pace(pool)
        self._groups = tuple(groups)
        self._jobs = jobs
        self._means = means
        self._compute = means.compute
        self._records = means.records
        self._seen = seen
        self._looks = {group.name: look.nothing(group) for group in groups}
        self._unseen = {group.name: 1 for group in groups}
        """By group: how many looks at it failed since the last one that did not, or were not made yet."""
        self._desired = 0
        self._waiting = 0
        self._wake = asyncio.Event()
        self._due = 0.0
        self._grew = float("-inf")
        """When it began the last growth."""
        self._rose = False
        """Whether more is wanted than at the last look: then a brief one will do."""
        self._stopped = False
        self._busy = asyncio.Lock()
        """Held while it looks and resizes."""
        self._failures = 0
        self._following: set[asyncio.Task[None]] = set()
        self.shortages = Shortages()
        self.allocation = Allocation(targets={})

    # What others ask.

    def want(self, desired: int, waiting: int, *, ended: bool) -> None:
        """The newest wish. `ended`: a job ended, so that a VM will go."""
        rose = desired > self._desired
        self._desired, self._waiting = desired, waiting
        if rose:
            self._rose = True
            self._look_in(self._grew + SPACING_SECONDS - _time())
        elif ended:
            self._look_in(SOON_SECONDS)

    @property
    def places(self) -> list[decide.Place]:
        """The groups as they were last seen, those that were seen."""
        return [each.place for each in self._looks.values() if each.at > float("-inf")]

    @property
    def complete(self) -> bool:
        """Whether every group was seen since this leader began."""
        return len(self.places) == len(self._groups)

    def running(self) -> dict[str, int]:
        """VMs that are known to be busy, by group."""
        return {name: self._jobs.busy(each.ids) for name, each in self._looks.items()}

    def unreadable(self) -> list[str]:
        """Regions whose group could not be looked at the last time."""
        return [
            group.region
            for group in self._groups
            if self._unseen[group.name] > (1 if self._looks[group.name].at == float("-inf") else 0)
        ]

    # The work.

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopped = True

    async def idle(self) -> None:
        """Return when nothing is being looked at or resized."""
        async with self._busy:
            return

    async def run(self) -> None:
        """For ever, until cancelled."""
        try:
            while True:
                self._wake.clear()
                if _time() >= self._due and not self._stopped:
                    async with self._busy:
                        await self._turn()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if self._stopped else max(0.0, self._due - _time())):
                        await self._wake.wait()
        finally:
            for task in self._following:
                task.cancel()

    async def _turn(self) -> None:
        """One look at everything, and what follows from it."""
        began = _time()
        self._due = began + self._calm_seconds
        brief, self._rose = self._rose, False
        await asyncio.gather(*(self._look(group, brief=brief) for group in self._groups))
        now = self._means.moment()
        self.shortages = self.shortages.swept(now)
        if not brief and not any(self._unseen.values()):
            self._jobs.forget_all_but(frozenset[str]().union(*(each.ids for each in self._looks.values())))
        self.allocation = decide.allocate(self._desired, self.places, self.running(), self.shortages, now)
        self._seen()
        blind = any(
            self._looks[name].at == float("-inf") and count <= BLIND_LOOKS for name, count in self._unseen.items()
        )
        failed = any(self._unseen.values())
        if not blind:
            grown = [
                (group, self.allocation.targets[group.name])
                for group in self._groups
                if self.allocation.targets.get(group.name, 0) > self._looks[group.name].place.size
            ]
            self._grew = began if grown else self._grew
            outcomes = await asyncio.gather(*(self._resize(group, size) for group, size in grown))
            failed = failed or not all(outcomes)
        self._failures = self._failures + 1 if failed else 0
        backoff = BACKOFF_SECONDS * 2 ** min(self._failures - 1, 10) if failed else float("inf")
        calm = not (self._waiting or self.allocation.missing)
        self._look_in(min(backoff, self._calm_seconds if calm and not failed else RECHECK_SECONDS))

    def _look_in(self, seconds: float) -> None:
        """Look at the latest then."""
        self._due = min(self._due, _time() + max(0.0, seconds))
        self._wake.set()

    async def _look(self, group: Group, *, brief: bool) -> None:
        """Members first, then the size: a VM that leaves in between is then counted too often, never too seldom.

        A brief look is at the size alone, where the last one at the members found nothing wrong: what a group is to
        have says enough then, and more is wanted now.
        """
        known = self._looks[group.name]
        try:
            if brief and known.sound:
                at = _time()
                self._looks[group.name] = known.resized(await self._compute.target(group), at)
                self._unseen[group.name] = 0
                return
            members = await self._compute.members(group)
            at = _time()
            target = await self._compute.target(group)
        except UpstreamError as error:
            if error.status != 404:
                self._unseen[group.name] += 1
                return
            self._unseen[group.name] = 0
            self._looks[group.name] = look.nothing(group, _time())
            self._note(group, EVERYWHERE, Kind.GROUP, status=404)
            return
        before, after = self._looks[group.name], look.look(group, target, members, at)
        self._looks[group.name], self._unseen[group.name] = after, 0
        self.shortages = self.shortages.cleared(group.name, EVERYWHERE, frozenset({Kind.GROUP}))
        if before.at > float("-inf"):
            for zone in look.fresh_zones(before, after):
                self.shortages = self.shortages.cleared(group.name, zone, _MENDED)
        for zone, kind in sorted(after.short):
            self._note(group, zone, kind)

    async def _resize(self, group: Group, size: int) -> bool:
        """Whether it is known what became of it."""
        seen = self._looks[group.name]
        try:
            if _time() - seen.at > FRESH_SECONDS and await self._compute.target(group) > seen.place.target:
                return False
            if self._stopped or self._means.limiter.held_seconds(group.region):
                return False
            seconds = self._means.leadership.limit(RESIZE_SECONDS)
            operation = await self._compute.resize(group, size, timeout_seconds=seconds)
        except NotLeadingError:
            return False
        except UpstreamError as error:
            return self._refused(group, size - seen.place.size, error)
        self._records.say("grown", pool=self._pool, group=group.name, from_=seen.place.size, to=size)
        self._looks[group.name] = replace(seen, place=replace(seen.place, target=size))
        task = asyncio.ensure_future(self._follow(group, operation))
        self._following.add(task)
        task.add_done_callback(self._following.discard)
        return True

    def _refused(self, group: Group, vms: int, error: UpstreamError) -> bool:
        """Remember why, and look at once what the other groups can do. True where it is known why."""
        if error.status == 429 or error.reason == "rateLimitExceeded":
            return False
        if error.status in _UNCLEAR:
            self._records.say("resize unanswered", severity="WARNING", pool=self._pool, group=group.name,
                              status=error.status)  # fmt: skip
            return False
        kind = Kind.QUOTA if error.reason in _QUOTA_REASONS else Kind.GROUP if error.status == 404 else Kind.LEAVE
        self._note(group, EVERYWHERE, kind, status=error.status, vms=vms)
        self._look_in(0.0)
        return True

    async def _follow(self, group: Group, operation: Operation) -> None:
        """See how a resize that was accepted ends."""
        end, pause = _time() + FOLLOW_SECONDS, 1.0
        while not operation.done and not operation.codes and _time() < end:
            await asyncio.sleep(pause)
            pause = min(2 * pause, RECHECK_SECONDS)
            with contextlib.suppress(UpstreamError):
                operation = await self._compute.operation(group, operation.name)
        for code in operation.codes:
            self._note(group, EVERYWHERE, decide.code_kind(code), status=operation.status)
        if operation.codes:
            self._look_in(0.0)

    def _note(self, group: Group, zone: str, kind: Kind, *, status: int = 0, vms: int = 0) -> None:
        """Remember a shortage; say so when it is new, or returns after it expired."""
        now = self._means.moment()
        noted = self.shortages.noted(group=group.name, region=group.region, zone=zone, kind=kind, now=now, vms=vms)
        if noted is self.shortages:
            return
        self.shortages = noted
        told = {"severity": "WARNING", "pool": self._pool, "group": group.name}
        if kind is Kind.CAPACITY:
            self._records.say("stock-out", zone=zone, **told)
        elif zone:
            self._records.say("creation fails", zone=zone, kind=kind.value, **told)
        else:
            self._records.say("resize refused", status=status, kind=kind.value, **told)


def _time() -> float:
    return asyncio.get_running_loop().time()
