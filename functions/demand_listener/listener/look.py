"""What one look at a group shows: its place in the pool, its VMs, and what it could not have. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from . import decide
from .clients.compute import Member
from .decide import Place
from .fleet_table import Group
from .shortage import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A group as it was seen, whole."""

    place: Place
    at: float
    """When the look at its size was begun, by the loop's clock: what it is judged fresh by."""
    ids: frozenset[str] = frozenset()
    """Its VMs."""
    short: frozenset[tuple[str, Kind]] = frozenset()
    """Zones where making a VM failed, and what is short there."""
    made: frozenset[tuple[str, str]] = frozenset()
    """Zone and id of the VMs that were made."""

    @property
    def sound(self) -> bool:
        """Whether it was seen, and all that it is to have is there or comes."""
        return self.at > float("-inf") and not self.place.stuck and not self.place.ended

    def resized(self, target: int, at: float) -> Look:
        """With a target size that was looked at alone: no more members are counted than that."""
        members, existing = min(self.place.members, target), min(self.place.existing, target)
        return replace(self, place=replace(self.place, target=target, members=members, existing=existing), at=at)


def nothing(group: Group, at: float = float("-inf")) -> Look:
    """A group that is not there, or was not seen yet."""
    return Look(place=_place(group), at=at)


def look(group: Group, target: int, members: Sequence[Member], at: float) -> Look:
    """A group of that target size, with those members."""
    staying = [member for member in members if member.action not in decide.LEAVING and not _in_reserve(member)]
    making = [member for member in staying if member.action in decide.MAKING]
    stuck = [member for member in making if member.codes]
    there = [member for member in staying if member.id and member not in making]
    ended = [member for member in there if member.status == decide.ENDING]
    place = _place(
        group,
        target=target,
        members=len(staying),
        existing=len(there) - len(ended),
        stuck=len(stuck),
        ended=len(ended),
    )
    return Look(
        place=place,
        at=at,
        ids=frozenset(member.id for member in members if member.id),
        short=frozenset((member.zone, decide.code_kind(code)) for member in stuck for code in member.codes),
        made=frozenset((member.zone, member.id) for member in there),
    )


def fresh_zones(before: Look, after: Look) -> Collection[str]:
    """Zones that have a VM which they had not before, and nowhere fail to make one."""
    failing = {zone for zone, _ in after.short}
    return {zone for zone, _ in after.made - before.made} - failing


def _in_reserve(member: Member) -> bool:
    """Whether the group's target does not count it. One that boots for the reserve looks like any other else."""
    return not member.meant_to_run or (member.action == "NONE" and member.status in decide.RESERVE)


def _place(
    group: Group, *, target: int = 0, members: int = 0, existing: int = 0, stuck: int = 0, ended: int = 0
) -> Place:
    return Place(
        name=group.name,
        region=group.region,
        zones=group.zones,
        rank=group.rank,
        max=group.max,
        target=target,
        members=members,
        existing=existing,
        stuck=stuck,
        ended=ended,
    )
