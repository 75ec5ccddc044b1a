"""A stack as deployed on the emulators: its groups with their versions, its runner groups, what its services wrote."""

from __future__ import annotations

import datetime
import json
from typing import Any

from emulators.google.group import Group
from emulators.google.instance import Instance
from emulators.site import Site
from fleet.schema.pool import CanaryInstances, JobsScaling
from fleet.settings import Settings


def base36(number: int) -> str:
    """A number as runners' names carry it."""
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + text
    return text


def rfc3339(seconds: float) -> str:
    """Seconds since 1970 as services write them."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat().replace("+00:00", "Z")


class EmulatedFleet:
    """A site with a stack on it."""

    def __init__(self, site: Site, settings: Settings) -> None:
        self.site = site
        self.settings = settings
        self.groups: dict[str, Group] = {}
        site.google.autofill = False
        for pool in settings.pools:
            for group in settings.groups(pool):
                for version in settings.pool_versions(pool):
                    site.google.add_template(settings.names.template(pool, version), region=group.region)
                self.groups[group.name] = site.google.add_group(
                    group.name, region=group.region, zones=group.zones, target_size=0
                )
        for trust in settings.trust_levels.values():
            site.github.add_runner_group(trust.runner_group)
            site.github.groups[trust.runner_group].repositories = set(trust.repositories)
        self.listener = settings.names.function_bucket("listener")
        self.reconciler = settings.names.function_bucket("reconciler")
        for bucket in (self.listener, self.reconciler):
            site.google.add_bucket(bucket)
        self.deploy(settings)
        for pool in settings.pools:
            if isinstance(settings.pools[pool].scaling, JobsScaling):
                self.says(pool)
        self.reports()

    def deploy(self, settings: Settings) -> None:
        """Set every group to the versions that these settings say."""
        for pool in settings.pools:
            for group in settings.groups(pool):
                versions: list[tuple[str, str, int | None]] = []
                if group.stable:
                    versions.append((f"v{group.stable}", settings.names.template(pool, group.stable), None))
                if group.canary:
                    share = group.canary_share
                    fixed = share.instances if isinstance(share, CanaryInstances) else None
                    versions.append((f"v{group.canary}", settings.names.template(pool, group.canary), fixed))
                self.site.google.set_versions(self.groups[group.name], versions)

    def add_version(self, settings: Settings, version: str) -> None:
        """A version's templates are there, as after an `up` that has not pointed at it yet."""
        for pool in settings.pools:
            for group in settings.groups(pool):
                self.site.google.add_template(settings.names.template(pool, version), region=group.region)

    def group(self, pool: str, region: str) -> Group:
        """A pool's group in a region."""
        return next(self.groups[group.name] for group in self.settings.groups(pool) if group.region == region)

    def vm(self, pool: str, region: str, *, version: str, runner: str = "busy", age_seconds: float = 1800) -> Instance:
        """One more VM; its runner is "busy", "idle", "offline", or none ("")."""
        group = self.group(pool, region)
        base = f"{self.settings.names.vm_base(pool, region)}-{len(group.instances):04d}"
        made = self.site.google.create_instance(group, name=base, age_seconds=age_seconds, version=f"v{version}")
        group.target_size += 1
        if runner:
            name = f"{made.name}-{base36(int(made.id))}"
            self.site.github.add_runner(name)
            if runner != "offline":
                self.site.github.connect(name)
            if runner == "busy":
                self.site.github.start_job(name)
        return made

    def vm_ends(self, group: Group, vm: Instance) -> None:
        """A VM ends itself through its group, its registration used up."""
        self.site.google.delete_instance(vm)
        group.target_size -= 1
        for runner in [each for each in self.site.github.runners.values() if each.name.startswith(f"{vm.name}-")]:
            self.site.github.remove(runner)

    def says(self, pool: str, *, age_seconds: float = 0, **fields: Any) -> None:
        """The listener writes what it knows of a pool."""
        now = self.site.clock.now() - age_seconds
        counts = {"desired": 0, "assigned": 0, "running": 0, "waiting": 0, "existing": 0}
        document: dict[str, Any] = {
            "pool": pool,
            **counts,
            "reasons": [],
            "stockouts": [],
            "expires": rfc3339(now + 150),
            **fields,
        }
        self.site.google.put_object(self.listener, f"pools/{pool}.json", json.dumps(document).encode())

    def reports(self, **fields: Any) -> None:
        """The reconciler writes its report."""
        document: dict[str, Any] = {
            "written": rfc3339(self.site.clock.now()),
            "dry_run": True,
            "disagreements": [],
            **fields,
        }
        self.site.google.put_object(self.reconciler, "reports/latest.json", json.dumps(document).encode())

    def ends(
        self, count: int, *, version: str, pool: str, reason: str = "finished", age_seconds: float = 0, **record: Any
    ) -> None:
        """So many VMs write how they ended."""
        at = self.site.clock.now() - age_seconds
        for _ in range(count):
            said = {
                "message": "runner end",
                "reason": reason,
                "uptime_seconds": 600,
                "pool": pool,
                "template_version": version,
                "environment": self.settings.environment,
                **record,
            }
            self.count = getattr(self, "count", 0) + 1
            self.site.google.log({"MESSAGE": json.dumps(said)}, at=at, resource={"instance_id": f"9{self.count:06d}"})
