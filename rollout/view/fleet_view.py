"""A snapshot judged against what the stack declares: what `status` shows, as plain data. Pure."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet.group import Group
from fleet.settings import Settings
from fleet.versions import DeadlineState, Role, deadline, deadline_state, role, version_key
from rollout.view import disagreements
from rollout.view.disagreements import Disagreement
from rollout.view.seen import Known, Unknown
from rollout.view.snapshot import PoolWord, Snapshot
from rollout.view.standing import Deployed, Listener, deployed, share_text, states, word_of
from rollout.view.vm_state import VmState


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionView:
    """A version that the stack runs, tries or keeps, or that VMs still run."""

    id: str
    role: Role
    runner: str
    """Empty where the version is listed no more."""
    due: datetime.date | None
    deadline: DeadlineState | None
    vms: int
    """Of the groups that could be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupView:
    """A group as declared, and as seen."""

    name: str
    region: str
    rank: int
    max: int
    stable: str | None
    canary: str | None
    canary_share: str
    deployed: Deployed
    target: int | None
    """None where it could not be read, or is not there."""
    vms: Mapping[str, Mapping[VmState, int]]
    """By version ("" for a template that is none of the pool's), then by state."""
    unknown: str = ""
    """Why it could not be read."""

    def count(self, *states: VmState) -> int:
        """How many of its VMs are in one of these states."""
        return sum(count for by_state in self.vms.values() for state, count in by_state.items() if state in states)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolView:
    """A pool."""

    key: str
    signal: str
    groups: tuple[GroupView, ...]
    """In the order in which demand grows them."""
    listener: Listener
    word: PoolWord | None
    """What the listener says, where it speaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """A stack."""

    environment: str
    at: datetime.datetime
    stable: str
    canary: str | None
    versions: tuple[VersionView, ...]
    pools: tuple[PoolView, ...]
    disagreements: tuple[Disagreement, ...]
    unknown: Mapping[str, str]
    """Sources that could not be read, and why."""

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "environment": self.environment,
            "at": self.at.isoformat(),
            "stable": self.stable,
            "canary": self.canary,
            "complete": not self.unknown,
            "unknown": dict(self.unknown),
            "versions": [
                {
                    "id": version.id,
                    "role": version.role,
                    "runner": version.runner,
                    "runner_due": version.due.isoformat() if version.due else None,
                    "runner_deadline": version.deadline,
                    "vms": version.vms,
                }
                for version in self.versions
            ],
            "pools": [_pool_json(pool) for pool in self.pools],
            "disagreements": [each.to_json() for each in self.disagreements],
        }


def view(settings: Settings, seen: Snapshot) -> FleetView:
    """The judgement of one snapshot."""
    pools = tuple(_pool(settings, seen, key) for key in settings.pools)
    return FleetView(
        environment=settings.environment,
        at=seen.at,
        stable=settings.rollout.stable,
        canary=settings.rollout.canary,
        versions=_versions(settings, seen.at.date(), pools),
        pools=pools,
        disagreements=disagreements.find(settings, seen),
        unknown=seen.unknown(),
    )


def _pool(settings: Settings, seen: Snapshot, key: str) -> PoolView:
    listener, word = word_of(settings, seen, key)
    groups = sorted(settings.groups(key), key=lambda group: group.rank)
    return PoolView(
        key=key,
        signal=settings.pools[key].scaling.signal,
        groups=tuple(_group(settings, seen, group) for group in groups),
        listener=listener,
        word=word,
    )


def _group(settings: Settings, seen: Snapshot, group: Group) -> GroupView:
    look = seen.groups.get(group.name, Unknown("it was not looked at"))
    there = look.value if isinstance(look, Known) else None
    vms: dict[str, Counter[VmState]] = {}
    for vm, state in states(settings, seen, there.vms if there else ()):
        vms.setdefault(vm.version, Counter())[state] += 1
    return GroupView(
        name=group.name,
        region=group.region,
        rank=group.rank,
        max=group.max,
        stable=group.stable,
        canary=group.canary,
        canary_share=share_text(group.canary_share) if group.canary else "",
        deployed=deployed(group, seen),
        target=there.target if there else None,
        vms=vms,
        unknown=look.why if isinstance(look, Unknown) else "",
    )


def _versions(settings: Settings, today: datetime.date, pools: tuple[PoolView, ...]) -> tuple[VersionView, ...]:
    """Those with a role or with VMs, newest first."""
    counts: Counter[str] = Counter()
    for pool in pools:
        for group in pool.groups:
            for version, by_state in group.vms.items():
                counts[version] += sum(by_state.values())
    named = {settings.rollout.stable, settings.rollout.canary, *settings.rollout.keep, *counts} - {None, ""}
    found: list[VersionView] = []
    for version in sorted((each for each in named if each), key=version_key, reverse=True):
        listed = settings.versions.get(version)
        due = deadline(listed.runner, settings.runner_releases) if listed else None
        found.append(
            VersionView(
                id=version,
                role=role(version, settings.rollout),
                runner=listed.runner if listed else "",
                due=due,
                deadline=deadline_state(due, today) if listed else None,
                vms=counts[version],
            )
        )
    return tuple(found)


def _pool_json(pool: PoolView) -> dict[str, Any]:
    word = pool.word
    return {
        "pool": pool.key,
        "signal": pool.signal,
        "listener": pool.listener.value,
        "jobs": {"assigned": word.assigned, "running": word.running, "waiting": word.waiting} if word else None,
        "reasons": list(word.reasons) if word else [],
        "groups": [
            {
                "name": group.name,
                "region": group.region,
                "max": group.max,
                "target": group.target,
                "stable": group.stable,
                "canary": group.canary,
                "canary_share": group.canary_share or None,
                "deployed": group.deployed.value,
                "vms": {
                    version: {state.value: count for state, count in by_state.items()}
                    for version, by_state in group.vms.items()
                },
                "unknown": group.unknown or None,
            }
            for group in pool.groups
        ],
    }
