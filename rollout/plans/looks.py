"""What the steps of a canary look at, through one snapshot that all of them share."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Mapping
from typing import Any, Final

from fleet.settings import Settings
from rollout.backends.fleet import PASSING, FleetLooks
from rollout.engine.backend import Failed, Passed
from rollout.engine.polling import Waiting
from rollout.plans.promotion import judged, records
from rollout.plans.shared_snapshot import INTERVAL_SECONDS, SharedSnapshot
from rollout.view.end_records import EndRecord
from rollout.view.evidence import Evidence, Thresholds
from rollout.view.gather import NOT_ASKED, utc_now
from rollout.view.pool_causes import follows_jobs
from rollout.view.seen import Known, Seen, Unknown
from rollout.view.snapshot import Snapshot
from rollout.view.standing import Deployed, deployed, states
from rollout.view.vm_state import VmState

RECORDS_EVERY: Final = 4
"""Intervals between two looks at the records."""

_WORKING: Final = frozenset({VmState.IDLE, VmState.BUSY})

Found = Waiting | Passed | Failed


class CanaryLooks:
    """The looks of one canary."""

    def __init__(
        self,
        settings: Settings,
        version: str,
        thresholds: Thresholds,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        now: Callable[[], datetime.datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._version = version
        self._thresholds = thresholds
        self._interval_seconds = interval_seconds
        self._shared = SharedSnapshot(settings, interval_seconds=interval_seconds, now=now)
        self._groups = {group.name: (key, group) for key in settings.pools for group in settings.groups(key)}
        self._lock = asyncio.Lock()
        self._records: Seen[tuple[EndRecord, ...]] = NOT_ASKED
        self._records_at = float("-inf")
        self._seen: tuple[Snapshot, Evidence] | None = None
        self._seen_at = float("-inf")

    def backend(self, *, first_seconds: float = 5.0, most_seconds: float = 60.0) -> FleetLooks:
        """The backend `fleet` of a run."""
        looks = {
            "deployed": self.deployed,
            "online": self.online,
            "jobs": self.jobs,
            "rate": self.rate,
            "baked": self.baked,
            "verdict": self.verdict,
        }
        return FleetLooks(looks, first_seconds=first_seconds, most_seconds=most_seconds, close=self.close)

    async def close(self) -> None:
        """Close the clients."""
        await self._shared.close()

    async def deployed(self, params: Mapping[str, Any]) -> Found:
        """Whether a group is set to the versions that the stack says."""
        snapshot, evidence = await self._look()
        _, group = self._groups[params["group"]]
        look = snapshot.groups[group.name]
        if isinstance(look, Unknown):
            return unknown(look)
        match deployed(group, snapshot):
            case Deployed.YES:
                return Passed(message=f"set to {self._version}")
            case _ if evidence.against:
                return Failed(code="bad-evidence", message="what runs elsewhere speaks against it already")
            case Deployed.MISSING:
                return Waiting(progress="there is no such group yet: deploy")
            case _:
                return Waiting(progress="set to other versions yet: deploy")

    async def online(self, params: Mapping[str, Any]) -> Found:
        """Whether a canary VM of a group is online, or was: one that had its job is gone again."""
        snapshot, evidence = await self._look()
        key, group = self._groups[params["group"]]
        if isinstance(snapshot.runners, Unknown):
            return unknown(snapshot.runners)
        look = snapshot.groups[group.name]
        if isinstance(look, Unknown):
            return unknown(look)
        vms = look.value.vms if look.value else ()
        mine = [(vm, state) for vm, state in states(self._settings, snapshot, vms) if vm.version == self._version]
        working = [vm.name for vm, state in mine if state in _WORKING]
        if working:
            return Passed(output={"seen": True}, message=f"{working[0]} is online")
        tally = evidence.by_pool.get(key)
        if tally is not None and tally.jobs:
            return Passed(output={"seen": True}, message=f"{tally.jobs} jobs of {key} have run on it")
        if evidence.verdict in {"enough", "against"}:
            return Passed(output={"seen": False}, message="no VM of it was online before the verdict")
        if mine:
            return Waiting(progress=", ".join(sorted({f"{vm.name} {state}" for vm, state in mine})[:3]))
        waits = "no job has asked for a VM of it" if follows_jobs(self._settings, key) else "its group has no VM of it"
        return Waiting(progress=f"{waits} yet")

    async def jobs(self, _params: Mapping[str, Any]) -> Found:
        """Whether enough jobs have run on the canary, and in each of its pools."""
        _, evidence = await self._look()
        limits, tally = self._thresholds, evidence.canary
        if bad := _bad(evidence):
            return bad
        short = [pool for pool, one in evidence.by_pool.items() if one.jobs < limits.jobs_each]
        if tally.streak < limits.jobs or short:
            more = f" and {len(short) - 3} more" if len(short) > 3 else ""
            waits = f"; too few in {', '.join(short[:3])}{more}" if short else ""
            return Waiting(progress=f"{tally.streak} of {limits.jobs} jobs without a failed boot{waits}")
        return Passed(output={"jobs": tally.jobs, "streak": tally.streak}, message=f"{tally.jobs} jobs")

    async def rate(self, _params: Mapping[str, Any]) -> Found:
        """Whether the canary's boots fail no more often than stable's."""
        _, evidence = await self._look()
        if bad := _bad(evidence):
            return bad
        return Passed(
            output={"canary": evidence.canary.rate, "stable": evidence.compared.rate, "chance": evidence.chance},
            message=f"failed boots: canary {evidence.canary.text}, stable {evidence.compared.text}",
        )

    async def baked(self, _params: Mapping[str, Any]) -> Found:
        """Whether the first canary VM is old enough."""
        _, evidence = await self._look()
        if bad := _bad(evidence):
            return bad
        hours, wanted = evidence.hours or 0.0, self._thresholds.bake_hours
        if hours < wanted:
            return Waiting(progress=f"{hours:.1f} of {wanted:g} h")
        return Passed(output={"hours": round(hours, 2)}, message=f"{hours:.1f} h")

    async def verdict(self, _params: Mapping[str, Any]) -> Found:
        """All of it once more, with every canary group still set to it."""
        snapshot, evidence = await self._look()
        if bad := _bad(evidence):
            return bad
        gone = [
            name
            for name, (_, group) in self._groups.items()
            if group.canary == self._version and deployed(group, snapshot) in {Deployed.NO, Deployed.MISSING}
        ]
        if gone:
            text = f"{', '.join(gone[:3])}: not set to {self._version} any more"
            return Failed(code="not-deployed", message=text)
        if evidence.missing:
            return Waiting(progress=evidence.missing[0])
        return Passed(output={"evidence": evidence.to_json()}, message=evidence.lines[0])

    async def _look(self) -> tuple[Snapshot, Evidence]:
        """The shared snapshot, and what speaks for the version by it. Raises CloudError where no client can be had.

        Records, which may be many pages, are asked for less often; the evidence is judged anew with each snapshot.
        """
        loop = asyncio.get_running_loop()
        async with self._lock:
            if self._seen is None or loop.time() - self._seen_at >= self._interval_seconds:
                snapshot, google = await self._shared.look()
                if loop.time() - self._records_at >= RECORDS_EVERY * self._interval_seconds:
                    self._records = await records(self._settings, self._version, google, snapshot)
                    known = isinstance(self._records, Known)
                    self._records_at = loop.time() if known else float("-inf")
                evidence = judged(
                    self._settings,
                    self._version,
                    self._records,
                    snapshot,
                    thresholds=self._thresholds,
                    now=snapshot.at,
                )
                self._seen, self._seen_at = (snapshot, evidence), loop.time()
            return self._seen


def _bad(evidence: Evidence) -> Waiting | Failed | None:
    """What ends the trial, or leaves it open; None where the numbers may be read."""
    if evidence.against:
        return Failed(code="bad-evidence", message="; ".join(evidence.against))
    if evidence.verdict == "unknown":
        return Waiting(progress=f"cannot be told now: {'; '.join(evidence.unknown)}")
    return None


def unknown(source: Unknown) -> Waiting | Failed:
    """A source that refuses will go on refusing; any other may answer the next time."""
    if source.error_class and source.error_class not in PASSING:
        return Failed(code="unreachable", message=source.why, error_class=source.error_class)
    return Waiting(progress=f"cannot be told now: {source.why}")
