"""Holding one VM for inspection, and letting it go: finds it, writes its mark, looks whether that came in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleet.metadata import DRAIN, HOLD_UNTIL
from fleet.settings import Settings
from rollout.cloud.google import Google
from rollout.cloud.groups import Member
from rollout.cloud.instances import Instance
from rollout.plans.marks import moment, written
from rollout.view.gather import seen
from rollout.view.seen import Known, Seen, Unknown

_GOING = frozenset({"DELETING", "RECREATING", "ABANDONING"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A VM of the stack, and the group that has it."""

    region: str
    group: str
    member: Member
    instance: Instance

    @property
    def going(self) -> bool:
        """Whether its group is taking it away, or it stops."""
        return self.member.action in _GOING or self.instance.status in {"STOPPING", "TERMINATED"}

    @property
    def held_until(self) -> float | None:
        """The end of its hold, which may be over."""
        return moment(self.instance.metadata.get(HOLD_UNTIL))

    @property
    def drained(self) -> bool:
        """Whether it is to leave."""
        return bool(self.instance.metadata.get(DRAIN))

    @property
    def ends_at(self) -> float | None:
        """When Compute Engine deletes it, whoever holds it; None where it does not say how long it may run."""
        if self.instance.max_run_seconds is None:
            return None
        return (self.instance.last_started or self.instance.created) + self.instance.max_run_seconds


async def find(settings: Settings, google: Google, name: str) -> Seen[Place | None]:
    """The VM of that name in the stack's groups; Known(None) only where all groups that could have it were asked.

    A group's VMs are named after its pool and region, so others are not asked.
    """
    unknown: Unknown | None = None
    for pool in settings.pools:
        for group in settings.groups(pool):
            if not name.startswith(f"{settings.names.vm_base(pool, group.region)}-"):
                continue
            members = await seen(google.groups.members(group.region, group.name))
            if isinstance(members, Unknown):
                unknown = members
                continue
            for member in members.value or ():
                if member.name == name and member.id:
                    return await _place(google, group.region, group.name, member)
    return unknown or Known(None)


async def _place(google: Google, region: str, group: str, member: Member) -> Seen[Place | None]:
    instance = await seen(google.instances.get(member.zone, member.name))
    if isinstance(instance, Unknown):
        return instance
    if instance.value is None or instance.value.id != member.id:
        return Known(None)
    return Known(Place(region=region, group=group, member=member, instance=instance.value))


async def mark(google: Google, place: Place, changes: Mapping[str, str | None]) -> bool:
    """Write or remove marks; False where they were so already. Raises CloudError."""
    operation = await google.instances.change_metadata(place.member.zone, place.member.name, changes)
    if operation is not None:
        await google.operations.wait(operation)
    return operation is not None


def hold_changes(until: float) -> dict[str, str | None]:
    """What holds a VM until a moment, in seconds since 1970."""
    return {HOLD_UNTIL: written(until)}


def release_changes(*, drained: bool) -> dict[str, str | None]:
    """What ends a hold; with `drained` also the wish that the VM leaves."""
    changes: dict[str, str | None] = {HOLD_UNTIL: None}
    return {**changes, DRAIN: None} if drained else changes
