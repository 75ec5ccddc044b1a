"""What the steps of a drain do: see to it that a VM has its mark, at a pace, and look until it has left.

All looks share one snapshot of the fleet. The mark is written at most once a VM, and only while the VM of that name is
still the one that was chosen: a fixed pool makes another of the same name.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from aiolimiter import AsyncLimiter

from fleet.metadata import DRAIN, HOLD_UNTIL
from fleet.settings import Settings
from rollout.backends.fleet import FleetLooks
from rollout.cloud.github import GitHub
from rollout.cloud.google import Google
from rollout.cloud.instances import Instance
from rollout.engine.backend import Failed, Passed
from rollout.engine.polling import Waiting
from rollout.plans.marks import moment, written
from rollout.view.gather import gather
from rollout.view.seen import Unknown
from rollout.view.snapshot import Snapshot, VmSeen
from rollout.view.standing import states
from rollout.view.vm_state import VmState

Found = Waiting | Passed | Failed

FIRST_LOOK: Final = 1 / 6
LAST_LOOK: Final = 2.0
"""The shortest and the longest pause of a step, in intervals of the snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a drain goes, and when it gives up."""

    marks: int = 5
    per_seconds: float = 60.0
    """So many VMs are marked in so many seconds at most."""
    patience_seconds: float = 3600.0
    """How long a marked VM may take. It asks within ten minutes, and again as often, until there is room for it."""
    most_failures: int = 2
    """After more than so many that did not leave in time no more are marked."""
    interval_seconds: float = 30.0
    """How old a snapshot may be; a look at 40 groups is some 50 requests."""


class Leaving:
    """The looks of one drain."""

    def __init__(self, settings: Settings, pace: Pace, *, now: Callable[[], float] = time.time) -> None:
        """`now` is the wall clock, by which holds go."""
        self._settings = settings
        self._pace = pace
        self._now = now
        self._turns = AsyncLimiter(pace.marks, pace.per_seconds)
        self._clients = AsyncExitStack()
        self._lock = asyncio.Lock()
        self._google: Google | None = None
        self._github: GitHub | None = None
        self._seen: Snapshot | None = None
        self._seen_at = float("-inf")
        self._since: dict[str, float] = {}
        self._failures = 0

    def backend(self) -> FleetLooks:
        """The backend of a run."""
        seconds = self._pace.interval_seconds
        return FleetLooks(
            {"leave": self.leave},
            first_seconds=seconds * FIRST_LOOK,
            most_seconds=seconds * LAST_LOOK,
            close=self._clients.aclose,
        )

    async def leave(self, params: Mapping[str, Any]) -> Found:
        """One look at a VM; its mark, where it has none. Raises CloudError."""
        seen = await self._look()
        look = seen.groups[params["group"]]
        if isinstance(look, Unknown):
            return Waiting(progress=f"cannot be told now: {look.why}")
        vms = [vm for vm in (look.value.vms if look.value else ()) if vm.id == params["id"]]
        if not vms:
            return Passed(output={"end": "left"}, message="it has left")
        (vm, state), *_ = states(self._settings, seen, tuple(vms))
        if state is VmState.LEAVING:
            return Waiting(progress="is being deleted")
        return await self._marked(vm, state)

    async def _marked(self, vm: VmSeen, state: VmState) -> Found:
        """How it stands with a VM that its group keeps."""
        google, _ = await self._opened()
        instance = await google.instances.get(vm.zone, vm.name)
        if instance is None or instance.id != vm.id:
            return Passed(output={"end": "left"}, message="it has left")
        until = moment(instance.metadata.get(HOLD_UNTIL))
        if until is not None and self._now() < until:
            return Passed(output={"end": "held"}, message=f"an operator holds it until {written(until)}")
        if not instance.metadata.get(DRAIN) and (not_now := await self._mark(google, instance)):
            return not_now
        if state is VmState.BUSY:
            return Passed(output={"end": "busy"}, message="it has a job, and leaves when that is done")
        return self._patiently(vm)

    async def _mark(self, google: Google, instance: Instance) -> Waiting | Failed | None:
        """Write the mark; what speaks against it now, or None."""
        if self._failures > self._pace.most_failures:
            return Failed(code="failure-budget", message=f"not drained: {self._failures} others did not leave in time")
        if not self._turns.has_capacity():
            return Waiting(
                progress="waits for its turn", retry_after_seconds=self._turns.time_period / self._pace.marks
            )
        await self._turns.acquire()
        changes = {DRAIN: written(self._now())}
        operation = await google.instances.change_metadata(instance.zone, instance.name, changes)
        if operation is not None:
            await google.operations.wait(operation)
        return None

    def _patiently(self, vm: VmSeen) -> Waiting | Failed:
        """That a marked VM is still here, as long as it may be."""
        now = asyncio.get_running_loop().time()
        since = self._since.setdefault(vm.id, now)
        if now - since < self._pace.patience_seconds:
            return Waiting(progress="is marked, and leaves when the deleter lets it")
        self._failures += 1
        minutes = self._pace.patience_seconds / 60
        return Failed(
            code="stays",
            message=f"marked {minutes:.0f} min ago and still here, without a job as far as GitHub says; "
            "the deleter's log says why it may not leave",
        )

    async def _opened(self) -> tuple[Google, GitHub]:
        """The clients. Raises CloudError where there is nothing to sign in with."""
        if self._google is None:
            self._google = await self._clients.enter_async_context(Google(self._settings.google.project))
        if self._github is None:
            self._github = await self._clients.enter_async_context(GitHub(self._settings.github.organization))
        return self._google, self._github

    async def _look(self) -> Snapshot:
        """The newest snapshot, or another one where it is too old."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            if self._seen is None or loop.time() - self._seen_at >= self._pace.interval_seconds:
                google, github = await self._opened()
                self._seen = await gather(self._settings, google, github)
                self._seen_at = loop.time()
            return self._seen
