"""A fleet as it may be seen: prod's own configuration with a canary, all of it deployed, to be changed by tests."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from demo.rollout_fleet import base36
from fleet.settings import Settings, load
from rehearsal import stack_files
from rollout.view.seen import Known, Seen
from rollout.view.snapshot import GroupSeen, PoolWord, RunnerGroupSeen, RunnerSeen, Snapshot, VmSeen
from rollout.view.standing import declared
from rollout.view.waiting_job import JobSeen
from tests.conftest import ROOT

NOW = datetime.datetime(2026, 11, 28, 12, 0, tzinfo=datetime.UTC)
STABLE, CANARY = "2026-11-25", "2026-11-27"


def minutes(count: float) -> datetime.timedelta:
    return datetime.timedelta(minutes=count)


def settings_with(
    *, canary: str | None = CANARY, stack: str = "prod", only_pools: Collection[str] = (), **edits: Any
) -> Settings:
    """The stack's settings with a second version, the canary unless told otherwise; `pools__KEY` changes a pool."""
    sections: dict[str, Any] = copy.deepcopy(dict(stack_files.read(ROOT, stack).sections))
    versions = sections["versions"]
    pins = versions[max(versions)]
    sections["versions"] = {STABLE: copy.deepcopy(pins), CANARY: copy.deepcopy(pins)}
    sections["rollout"] = {**sections["rollout"], "stable": STABLE, "canary": canary}
    if only_pools:
        sections["pools"] = {key: sections["pools"][key] for key in only_pools}
        used = {pool["trust"] for pool in sections["pools"].values()}
        sections["trust_levels"] = {key: level for key, level in sections["trust_levels"].items() if key in used}
    for key, changes in edits.items():
        where, _, name = key.partition("__")
        target = sections[where][name.replace("_", "-")] if name else sections[where]
        target |= changes
    return load(sections, environment=stack, tree_bundle=pins["boot_bundle"])


CPU_SIZED: dict[str, Any] = {
    "scaling": {"signal": "cpu", "target": 0.6, "cool_down_seconds": 60},
    "regions": {region: {"zones": ["a", "b", "c"], "min": 1, "max": 10} for region in ("us-central1", "us-west1")},
}
"""A pool that follows CPU load."""


@dataclass
class SeenFleet:
    """What `snapshot()` shows. Change anything before it."""

    settings: Settings = field(default_factory=settings_with)
    groups: dict[str, Seen[GroupSeen | None]] = field(default_factory=dict)
    runners: list[RunnerSeen] = field(default_factory=list)
    words: dict[str, PoolWord] = field(default_factory=dict)
    replaced: dict[str, Any] = field(default_factory=dict)
    """Fields of the snapshot as they are to be."""
    count: int = 0

    def __post_init__(self) -> None:
        for pool in self.settings.pools:
            for group in self.settings.groups(pool):
                there = GroupSeen(name=group.name, target=0, versions=declared(group), vms=())
                self.groups[group.name] = Known(there)
            self.says(pool)

    def group(self, pool: str, region: str) -> GroupSeen:
        found = self.groups[self.name(pool, region)]
        assert isinstance(found, Known)
        assert found.value
        return found.value

    def name(self, pool: str, region: str) -> str:
        return next(group.name for group in self.settings.groups(pool) if group.region == region)

    def change(self, pool: str, region: str, **fields: Any) -> None:
        group = replace(self.group(pool, region), **fields)
        self.groups[group.name] = Known(group)

    def vm(
        self, pool: str, region: str, *, version: str = STABLE, runner: str = "busy", age: float = 30, **fields: Any
    ) -> VmSeen:
        """One more VM; its runner is "busy", "idle", "offline", or none ("")."""
        self.count += 1
        number = 10**18 + self.count
        vm = VmSeen(
            id=str(number),
            name=f"gh-runner-{pool}-{region}-{self.count:04d}",
            zone=f"{region}-a",
            status="RUNNING",
            action="NONE",
            target_status="RUNNING",
            version=version,
            started=NOW - minutes(age),
        )
        vm = replace(vm, **fields)
        group = self.group(pool, region)
        self.change(pool, region, vms=(*group.vms, vm), target=group.target + 1)
        if runner:
            online, busy = runner != "offline", runner == "busy"
            name = f"{vm.name}-{base36(number)}"
            self.runners.append(RunnerSeen(id=self.count, name=name, online=online, busy=busy))
        return vm

    def says(self, pool: str, *, waiting: int = 0, running: int = 0, **fields: Any) -> None:
        """What the listener last wrote of a pool."""
        word = PoolWord(
            pool=pool,
            expires=NOW + minutes(2),
            desired=waiting + running,
            assigned=waiting + running,
            running=running,
            waiting=waiting,
        )
        self.words[pool] = replace(word, **fields)

    def snapshot(self) -> Snapshot:
        groups = {
            trust.runner_group.lower(): RunnerGroupSeen(
                name=trust.runner_group,
                repositories=frozenset(trust.repositories),
                public_repositories=trust.public_repositories,
            )
            for trust in self.settings.trust_levels.values()
        }
        whole = Snapshot(
            at=NOW,
            groups=dict(self.groups),
            runners=Known(tuple(self.runners)),
            words=Known(dict(self.words)),
            reconciled=Known(None),
            runner_groups=Known(groups),
        )
        return replace(whole, **self.replaced)


def job(settings: Settings, pool: str = "presubmit-cpu", **fields: Any) -> JobSeen:
    """A job that has waited for ten minutes, and asks for a pool by all its labels."""
    trusted = settings.pools[pool].trust != "minimal"
    asked = JobSeen(
        id=7,
        name="build",
        url="https://github.com/iree-org/iree/actions/runs/5/job/7",
        repository="iree",
        status="queued",
        labels=settings.addressable_labels(pool),
        created=NOW - minutes(10),
        event="push" if trusted else "pull_request",
        branch="main" if trusted else "some-change",
        workflow=".github/workflows/ci.yml",
    )
    return replace(asked, **fields)
