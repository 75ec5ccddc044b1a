"""What a promotion goes by: the evidence for a version, and where a version is in use. It only looks."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from fleet.settings import Settings
from rollout.cloud.google import Google
from rollout.cloud.logs import Entry
from rollout.view import end_records
from rollout.view.end_records import EndRecord
from rollout.view.evidence import Evidence, Living, Thresholds, judge
from rollout.view.gather import NOT_ASKED, gather, opened, seen, utc_now
from rollout.view.seen import Known, Seen, Unknown
from rollout.view.snapshot import Snapshot
from rollout.view.standing import states
from rollout.view.vm_state import VmState

MOST_RECORDS: Final = 20_000
"""Of one version: about a week of a hundred jobs an hour. Of more the oldest are left out."""


async def evidence(
    settings: Settings,
    version: str,
    *,
    thresholds: Thresholds | None = None,
    now: Callable[[], datetime.datetime] = utc_now,
) -> Evidence:
    """What a version's VMs have shown. Raises nothing that a service did: the verdict is then "unknown"."""
    limits = thresholds or Thresholds()
    async with AsyncExitStack() as stack:
        google = await opened(stack, Google(settings.google.project))
        if isinstance(google, Unknown):
            return judged(settings, version, google, None, thresholds=limits, now=now())
        snapshot = await gather(settings, google, NOT_ASKED, vms_only=True, now=now)
        return await evidence_of(settings, version, google, snapshot, thresholds=limits)


async def evidence_of(
    settings: Settings, version: str, google: Google, snapshot: Snapshot, *, thresholds: Thresholds
) -> Evidence:
    """The same, with a client and a snapshot that are there already."""
    found = await records(settings, version, google, snapshot)
    return judged(settings, version, found, snapshot, thresholds=thresholds, now=snapshot.at)


async def in_use(settings: Settings, version: str) -> Seen[tuple[str, ...]]:
    """The VMs of the stack's groups that run a version, and the groups set to it; unknown unless all could be read."""
    async with AsyncExitStack() as stack:
        google = await opened(stack, Google(settings.google.project))
        snapshot = await gather(settings, google, NOT_ASKED, vms_only=True)
    found: list[str] = []
    for name, look in snapshot.groups.items():
        if isinstance(look, Unknown):
            return look
        if look.value is not None:
            found += [name] if version in look.value.versions else []
            found += [vm.name for vm in look.value.vms if vm.version == version]
    return Known(tuple(found))


async def records(settings: Settings, version: str, google: Google, snapshot: Snapshot) -> Seen[tuple[EndRecord, ...]]:
    """The version's, as far back as logs are kept; stable's since its first VM began: older ones are not compared."""
    kept = snapshot.at - datetime.timedelta(days=end_records.KEPT_DAYS)
    own = await _of_version(settings, version, google, kept)
    if isinstance(own, Unknown):
        return own
    starts = [*(record.began for record in own.value), *filter(None, [_living(settings, version, snapshot).since])]
    if not starts:
        return own
    others = await _of_version(settings, settings.rollout.stable, google, min(starts))
    return others if isinstance(others, Unknown) else Known((*own.value, *others.value))


async def _of_version(
    settings: Settings, version: str, google: Google, since: datetime.datetime
) -> Seen[tuple[EndRecord, ...]]:
    entries = await seen(google.logs.entries(end_records.query(settings, version, since), most=MOST_RECORDS))
    if isinstance(entries, Unknown):
        return entries
    found = (_record(settings, entry) for entry in entries.value)
    return Known(tuple(record for record in found if record is not None))


def _record(settings: Settings, entry: Entry) -> EndRecord | None:
    at = datetime.datetime.fromtimestamp(entry.timestamp, datetime.UTC)
    instance_id = entry.resource_labels.get("instance_id", "")
    record = end_records.parse(entry.payload, instance_id=instance_id, at=at, environment=settings.environment)
    return record if instance_id else None


def judged(
    settings: Settings,
    version: str,
    found: Seen[tuple[EndRecord, ...]],
    snapshot: Snapshot | None,
    *,
    thresholds: Thresholds,
    now: datetime.datetime,
) -> Evidence:
    """The evidence from records that were read, or were not.

    A pool that demand cannot grow (every region's maximum is 0) counts neither as tried nor as untried.
    """
    usable = {key for key in settings.pools if any(group.most for group in settings.groups(key))}
    tried = {key for key in usable if any(group.canary == version for group in settings.groups(key))}
    return judge(
        version,
        settings.rollout.stable,
        found,
        pools=tried,
        untried=usable - tried,
        living=_living(settings, version, snapshot) if snapshot else None,
        now=now,
        thresholds=thresholds,
    )


def _living(settings: Settings, version: str, snapshot: Snapshot) -> Living:
    looks = [look.value for look in snapshot.groups.values() if isinstance(look, Known) and look.value]
    own = [pair for look in looks for pair in states(settings, snapshot, look.vms) if pair[0].version == version]
    return Living(
        since=min((vm.started for vm, _ in own if vm.started), default=None),
        silent=tuple(vm.name for vm, state in own if state is VmState.UNREGISTERED),
    )
