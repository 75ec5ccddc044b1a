"""What one run saw. Plain data: `gather` fills it in, `findings` and `decide` read it.

A source that could not be read whole is None, never empty: nothing follows from what was not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .fleet_table import Fleet, Group
from .naming import Names


@dataclass(frozen=True, slots=True, kw_only=True)
class Vm:
    """One entry of a group's list."""

    id: str
    """Numeric, in text; empty where the group lists a name whose VM does not exist."""
    name: str
    zone: str
    status: str
    action: str
    """What the group does to it (`currentAction`); NONE for nothing."""
    meant_to_run: bool
    """False for one that its group means to suspend or stop (`targetStatus`)."""
    errors: tuple[str, ...]
    """Codes of the group's last attempt to make it."""
    health: str
    """What autohealing's check says; empty where it says nothing. For people: nothing is decided by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLook:
    """A group, and all that it lists."""

    base: str
    """What its VMs are called, without their suffix."""
    target: int
    keeps_reserve: bool
    """Whether it suspends or stops VMs to have them later. Such a VM may register at any age."""
    members: tuple[Vm, ...]

    @property
    def vms(self) -> tuple[Vm, ...]:
        """The members that exist."""
        return tuple(vm for vm in self.members if vm.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """A registration at GitHub."""

    id: int
    name: str
    online: bool
    busy: bool
    labelled: bool
    """Whether its labels name its instance; else its name does."""
    instance_id: str
    """Empty where neither does."""
    zone: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantEntry:
    """A grant as the bucket lists it."""

    instance_id: str
    generation: str
    updated: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRecord:
    """What a grant says. Anything may be empty."""

    state: str
    instance: str
    zone: str
    group: str
    pool: str
    runner_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """An instance as Compute Engine shows it."""

    id: str
    started: float | None
    """Seconds since 1970: when it was made or last started. None where nobody knows when it began to run: it does not
    say so, or it has been suspended."""
    most_seconds: int
    """How long it may run by its own template; 0 where it does not say."""
    held_until: float | None = None
    """Until when an operator holds it, in seconds since 1970, which may be over."""

    def held(self, now: float) -> bool:
        """Whether an operator holds it at `now`."""
        return self.held_until is not None and now < self.held_until


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRecord:
    """What the listener last said of a pool."""

    pool: str
    expires: float | None
    """Seconds since 1970; None where the record cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The listeners' lease; `renewed` is None where it says no time."""

    held: bool
    renewed: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Everything, as one run saw it. The order of looking is in `gather`."""

    fleet: Fleet
    listings: tuple[Mapping[int, Runner], Mapping[int, Runner]] | None
    """GitHub's runners, by id, listed whole twice: before everything else, and after."""
    runner_groups: frozenset[str] | None
    groups: Mapping[str, GroupLook | None]
    """By name. None where it could not be read, or is not there."""
    grants: Mapping[str, GrantEntry] | None
    """By instance id."""
    permits: Mapping[str, frozenset[str]]
    """Who holds a permit, by group; only of groups whose ledger could be read."""
    wanted: Mapping[str, int]
    """How many VMs the jobs want, by group; only where somebody says so, and it is valid."""
    pool_records: Mapping[str, PoolRecord] | None
    """What the listener says of pools, by pool; also of pools that are no more."""
    lease: Lease | None
    """None where it could not be read; one that is not there is not held."""
    failures: Mapping[str, str] = field(default_factory=dict[str, str])
    """What could not be read, and why: services and statuses alone."""
    records: Mapping[str, GrantRecord] = field(default_factory=dict[str, GrantRecord])
    """By instance id: the grants that were read one by one."""
    instances: Mapping[tuple[str, str], Facts | None] = field(default_factory=dict[tuple[str, str], Facts | None])
    """By zone and name: those that were looked up one by one, None where there is none."""

    @property
    def names(self) -> Names:
        """Which groups a name may belong to."""
        return Names(self.fleet, {name: look.base for name, look in self.groups.items() if look is not None})

    def group_of(self, instance_id: str) -> Group | None:
        """The group that lists a VM."""
        for name, look in self.groups.items():
            if look is not None and any(vm.id == instance_id for vm in look.members):
                return self.fleet.groups[name]
        return None
