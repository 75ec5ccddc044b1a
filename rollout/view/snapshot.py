"""A fleet as it was seen once: plain data, which `gather` fills in and everything else judges."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rollout.view.seen import Known, Seen, Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class VmSeen:
    """One entry of a group's list."""

    id: str
    """Numeric, in text; empty where the group lists a VM that does not exist yet."""
    name: str
    zone: str
    status: str
    """Compute Engine's; empty where there is no VM."""
    action: str
    """What the group does to it; NONE for nothing."""
    target_status: str
    """RUNNING, or SUSPENDED or STOPPED for one in reserve."""
    version: str
    """By its template's name; empty where the template is not one of the pool's."""
    errors: tuple[str, ...] = ()
    """Codes of the group's last attempt to make it."""
    started: datetime.datetime | None = None
    """When it was made or last started. Looked up only of VMs that GitHub has no runner of, and of the canary's."""
    unread: str = ""
    """Why it could not be looked up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSeen:
    """A managed instance group and all that it lists."""

    name: str
    target: int
    versions: Mapping[str, str]
    """Version to its share as text ("1 VM", "10 %", "rest"): what the group is set to, not what its VMs run."""
    vms: tuple[VmSeen, ...]
    foreign_templates: tuple[str, ...] = ()
    """Templates that the group is set to and that are none of the pool's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSeen:
    """A registration at GitHub."""

    id: int
    name: str
    online: bool
    busy: bool
    labels: tuple[str, ...] = ()
    version: str = ""
    """Of the runner; empty where GitHub does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StockOut:
    """A zone that had no capacity when it was last tried."""

    region: str
    zone: str
    since: datetime.datetime | None
    until: datetime.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolWord:
    """What the demand listener last wrote of a pool."""

    pool: str
    expires: datetime.datetime
    """After that it says nothing about now: the listener is silent."""
    desired: int
    assigned: int
    running: int
    waiting: int
    reasons: tuple[str, ...] = ()
    stockouts: tuple[StockOut, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """The reconciler's last report, as far as it is shown here."""

    written: datetime.datetime
    dry_run: bool
    disagreements: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerGroupSeen:
    """A runner group at GitHub."""

    name: str
    repositories: frozenset[str] | None
    """Names without owner; None for all of the organisation's."""
    public_repositories: bool = True
    workflows: tuple[str, ...] | None = None
    """None where it is not restricted to some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything, as one look saw it."""

    at: datetime.datetime
    groups: Mapping[str, Seen[GroupSeen | None]]
    """By name, every one that the stack declares; Known(None): Compute Engine has no such group."""
    runners: Seen[tuple[RunnerSeen, ...]]
    """All of the organisation's, also other fleets'."""
    words: Seen[Mapping[str, PoolWord]]
    """By pool; one that is missing there was never written."""
    reconciled: Seen[Reconciled | None]
    runner_groups: Seen[Mapping[str, RunnerGroupSeen]]
    """By name in lower case."""
    strangers: Seen[tuple[str, ...]] = field(default_factory=lambda: Known(()))
    """Groups with the stack's prefix that the stack does not declare."""

    def unknown(self) -> dict[str, str]:
        """Every source that could not be read, and why."""
        sources: dict[str, Seen[Any]] = {
            **{f"group {name}": seen for name, seen in sorted(self.groups.items())},
            "runners": self.runners,
            "listener's records": self.words,
            "reconciler's report": self.reconciled,
            "runner groups": self.runner_groups,
            "list of groups": self.strangers,
        }
        unread = {
            f"VM {vm.name}": vm.unread
            for seen in self.groups.values()
            if isinstance(seen, Known) and seen.value
            for vm in seen.value.vms
            if vm.unread
        }
        return {source: seen.why for source, seen in sources.items() if isinstance(seen, Unknown)} | unread
