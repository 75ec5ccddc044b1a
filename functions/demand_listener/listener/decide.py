"""What the listener decides, pure: how many VMs a pool should have, which group gets them, who must not be sent away.

Three rules that everything keeps. A group is only ever grown: no target lies below what it has, and VMs leave by
themselves. No target lies above the group's maximum, so no pool exceeds its own. A VM that is asked for and cannot be
made does not count as coming, so another region is asked at once.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from scaleset import Statistics

from .shortage import EVERYWHERE, Kind, Shortage, Shortages

LEAVING: Final = frozenset({"DELETING", "ABANDONING", "STOPPING", "SUSPENDING"})
"""Actions after which a group's target counts the VM no more: it goes, or into the group's reserve."""
MAKING: Final = frozenset({"CREATING", "CREATING_WITHOUT_RETRIES", "RECREATING", "STARTING", "RESUMING"})
RESERVE: Final = frozenset({"STOPPED", "TERMINATED", "SUSPENDING", "SUSPENDED"})
"""States of a VM to which its group does nothing that the target does not count, or that the group will make anew."""
ENDING: Final = "STOPPING"
"""The state of a VM that takes no job any more and still is in its place."""

_CAPACITY: Final = "ZONE_RESOURCE_POOL_EXHAUSTED"
"""And what begins with it: ..._WITH_DETAILS. Compute Engine's "Resource availability errors", read 2026-11-25."""
_QUOTA: Final = "QUOTA_EXCEEDED"


def desired(statistics: Statistics, maximum: int, idle: int) -> int:
    """How many VMs a pool should have: one for every assigned job, waiting or running, and some that wait for jobs.

    GitHub's own rule (actions/scaleset v0.4.0): min(maximum, minimum idle + totalAssignedJobs).
    """
    return max(0, min(maximum, statistics.total_assigned_jobs + idle))


def waiting(statistics: Statistics) -> int:
    """How many assigned jobs have no runner yet."""
    return max(0, statistics.total_assigned_jobs - statistics.total_running_jobs)


def code_kind(code: str) -> Kind:
    """What an error code of Compute Engine's says is short."""
    if code.startswith(_CAPACITY):
        return Kind.CAPACITY
    return Kind.QUOTA if code == _QUOTA else Kind.CREATION


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A group of the pool as it was just seen; with nothing in it where it could not be."""

    name: str
    region: str
    zones: tuple[str, ...]
    rank: int
    max: int
    target: int = 0
    members: int = 0
    """All that it lists and keeps, places of VMs that cannot be made included."""
    existing: int = 0
    """VMs that are there and can take a job, or have one."""
    stuck: int = 0
    """Places of VMs whose making fails. The group itself tries again, for as long as its target asks for them."""
    ended: int = 0
    """VMs that are there and will take no job any more."""

    @property
    def size(self) -> int:
        """What it has, or is to have: nothing below it may be asked for."""
        return max(self.target, self.members)

    @property
    def useful(self) -> int:
        """VMs that are there or on their way."""
        return max(0, self.size - self.stuck - self.ended)

    @property
    def free(self) -> int:
        """By how many VMs it may grow."""
        return max(0, self.max - self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What each group should be, and why not all that is wanted can be had."""

    targets: Mapping[str, int]
    """By group; never below what it is."""
    missing: int = 0
    """VMs that are wanted and neither there nor on their way when these targets are met."""
    reasons: tuple[str, ...] = ()


@dataclass(slots=True)
class _Shares:
    """Target sizes in the making."""

    targets: dict[str, int]
    left: int

    def give(self, place: Place) -> int:
        """As much of what is left as the group has room for."""
        most = min(self.left, max(0, place.max - self.targets[place.name]))
        self.targets[place.name] += most
        self.left -= most
        return most


def allocate(
    desired: int, groups: Sequence[Place], running: Mapping[str, int], stockouts: Shortages, now: datetime.datetime
) -> Allocation:
    """Where a pool's missing VMs are to be made.

    What is there stays where it is, above all the busy ones (`running`, by group): no target lies below any of it.
    What is missing goes to the groups in their order, as far as each has room; groups with a zone that has no capacity
    come after those without, and a group that cannot have VMs at all is passed over until that expires. When nobody
    can, the first group that only lacks capacity keeps asking: groups repeat the attempt themselves.
    """
    now_short = stockouts.current(now)
    ordered = sorted(groups, key=lambda place: (place.rank, place.name))
    targets = {place.name: max(place.size, running.get(place.name, 0)) for place in ordered}
    there = sum(max(place.useful, running.get(place.name, 0)) for place in ordered)
    shares = _Shares(targets, max(0, desired - there))
    open_places = [place for place in ordered if not _closed(place, now_short)]
    for place in sorted(open_places, key=lambda place: _short_zones(place, now_short) > 0):
        shares.give(place)
    missing = shares.left
    # Places whose making fails are asked for already.
    shares.left = max(0, missing - sum(place.stuck for place in ordered))
    for place in ordered:
        if place not in open_places and not _closed(place, now_short, but=Kind.CAPACITY):
            shares.give(place)
    return Allocation(
        targets=targets,
        missing=missing,
        reasons=reasons(groups, now_short) if missing else (),
    )


def wanted(
    desired: int, groups: Sequence[Place], running: Mapping[str, int], *, waiting: int, targets: Mapping[str, int]
) -> dict[str, int]:
    """How many VMs each group should keep: what the deleter judges an idle VM's wish to leave by.

    All together `desired`, or what is known to be busy where that is more. Each group first keeps its busy VMs, then
    what it has, in the groups' order, and then what it is to get. While jobs wait, nobody is sent away at all: each
    group then keeps whatever it has.
    """
    ordered = sorted(groups, key=lambda place: (place.rank, place.name))
    counts = {place.name: running.get(place.name, 0) for place in ordered}
    left = max(0, desired - sum(counts.values()))
    for most in (
        {place.name: place.useful for place in ordered},
        targets,
        {place.name: place.max for place in ordered},
    ):
        for place in ordered:
            more = min(left, max(0, most.get(place.name, 0) - counts[place.name]))
            counts[place.name] += more
            left -= more
    if waiting:
        counts = {place.name: max(counts[place.name], place.size) for place in ordered}
    return counts


def _closed(place: Place, short: Collection[Shortage], *, but: Kind | None = None) -> bool:
    """Whether a group is not worth asking: all of it, or all of its zones, lack something (other than `but`)."""
    own = [each for each in short if each.group == place.name and each.kind is not but]
    zones = {each.zone for each in own}
    return EVERYWHERE in zones or zones >= set(place.zones)


def _short_zones(place: Place, short: Collection[Shortage]) -> int:
    return len({each.zone for each in short if each.group == place.name} & set(place.zones))


# Sentences for people who wait.


@dataclass(slots=True)
class _Where:
    """What one sentence is made of."""

    since: datetime.datetime
    zones: set[str] = field(default_factory=set[str])
    vms: int = 0


def reasons(groups: Sequence[Place], short: Collection[Shortage]) -> tuple[str, ...]:
    """Why VMs cannot be had, region by region in the groups' order. Times are UTC."""
    found: dict[tuple[int, str, Kind], _Where] = {}
    ranks = {place.name: place.rank for place in groups}
    for each in short:
        key = (ranks.get(each.group, len(ranks)), each.region, each.kind)
        where = found.setdefault(key, _Where(since=each.since))
        where.since = min(where.since, each.since)
        where.vms = max(where.vms, each.vms)
        if each.zone:
            where.zones.add(each.zone)
    return tuple(
        _sentence(kind, region, where) for (_, region, kind), where in sorted(found.items(), key=lambda x: x[0])
    )


def maximum_reached(statistics: Statistics, maximum: int) -> tuple[str, ...]:
    """What to say when the pool has as many jobs as it may have VMs: GitHub then keeps all further ones to itself."""
    return (f"the pool's maximum of {maximum} is reached",) if statistics.total_assigned_jobs >= maximum else ()


def _sentence(kind: Kind, region: str, where: _Where) -> str:
    since = f"since {where.since.astimezone(datetime.UTC):%H:%M}"
    place = _zones(region, where.zones)
    match kind:
        case Kind.CAPACITY:
            return f"no capacity in {place} {since}"
        case Kind.QUOTA if where.vms:
            return f"quota: {region} refused {where.vms} more {'VM' if where.vms == 1 else 'VMs'} {since}"
        case Kind.QUOTA:
            return f"quota: {place} refuses more VMs {since}"
        case Kind.GROUP:
            return f"the group of {region} does not exist {since}"
        case Kind.LEAVE:
            return f"the group of {region} may not be resized {since}"
        case Kind.CREATION:
            return f"VMs cannot be created in {place} {since}"


def _zones(region: str, zones: set[str]) -> str:
    """us-west1-a/b/c; the region alone where no zone is known."""
    letters = sorted(zone.removeprefix(f"{region}-") for zone in zones)
    return f"{region}-{'/'.join(letters)}" if letters else region
