"""Compute Engine's state: groups, their VMs, operations; and how these change as time passes.

A group's reserve is after what google-cloud-compute 1.57.0 says of standbyPolicy with mode SCALE_OUT_POOL, of
targetSuspendedSize and of targetStatus. Our guesses: a VM for the reserve is listed as such from the first moment; only
one that sleeps already is taken, suspended ones first; a VM of the reserve that is deleted is made anew, and one too
many is deleted.
"""

from __future__ import annotations

import random
import string
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any, Final

from emulators.clock import Clock
from emulators.google.disk import Disk, Image, Snapshot
from emulators.google.group import Autoscaler, Group, Version
from emulators.google.instance import Instance
from emulators.google.operation import Operation, OperationError
from emulators.google.template import Template

PROJECT_NUMBER: Final = 123456789012
SLEEP: Final = {"SUSPENDED": ("SUSPENDING", "SUSPENDED", "RESUMING"), "STOPPED": ("STOPPING", "TERMINATED", "STARTING")}
"""By what a VM is meant to become: the action that takes it there, the status that it has then, the action back."""
LETTERS: Final = string.ascii_lowercase[:22] + "0123456789"


@dataclass(kw_only=True)
class Compute:
    """The project's groups and VMs. Deletions and creations take time on the site's clock."""

    clock: Clock
    seed: int
    project: str
    autofill: bool = False
    """Whether groups fill up to their target sizes by themselves."""
    operation_seconds: float = 0.0
    """How long an operation is RUNNING."""
    create_seconds: float = 0.0
    stop_seconds: float = 30.0
    """How long a VM that is deleted is STOPPING before it is gone."""
    suspend_seconds: float = 0.0
    """How long it takes to suspend a VM, or to stop one for the reserve."""
    resume_seconds: float = 0.0
    """How long it takes to resume or start it."""
    retry_seconds: float = 0.0
    """After which a group tries again to create a VM that it could not create; 0: at every look."""
    snapshot_seconds: float = 0.0
    """How long a snapshot is UPLOADING, and its operation RUNNING."""
    changed: int = 0
    """Grows with every change of a group, a VM or an operation."""
    groups: dict[str, Group] = field(default_factory=dict[str, Group])
    loose: list[Instance] = field(default_factory=list[Instance])
    """VMs of no group."""
    templates: dict[tuple[str, str], Template] = field(default_factory=dict[tuple[str, str], Template])
    """By region and name. A group's own template exists without being here."""
    disks: dict[tuple[str, str], Disk] = field(default_factory=dict[tuple[str, str], Disk])
    """By zone and name: those of VMs that were made by themselves."""
    snapshots: dict[str, Snapshot] = field(default_factory=dict[str, Snapshot])
    images: dict[str, Image] = field(default_factory=dict[str, Image])
    stocked_out: set[str] = field(default_factory=set[str])
    """Zones where no VM can be had by itself; groups have such a set of their own."""
    quotas: dict[tuple[str, str], tuple[float, float]] = field(
        default_factory=dict[tuple[str, str], tuple[float, float]]
    )
    """By region and metric: limit and usage. Only shown; what a group refuses by is its own."""
    quotas_shown: bool = True
    """Whether a region tells its quotas, or only that it cannot."""
    requested: dict[str, Operation] = field(default_factory=dict[str, Operation])
    """What was accepted, by the request's id."""
    accepted: Operation | None = None
    """The last operation."""
    operations: dict[str, Operation] = field(default_factory=dict[str, Operation])
    failing: defaultdict[str, deque[OperationError]] = field(default_factory=lambda: defaultdict(deque[OperationError]))
    """By route: how its next operations will end."""

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.seed}/compute")  # noqa: S311 - to be repeated, not secret

    def number(self) -> str:
        """A new id, with as many digits as real ones have."""
        return str(self._random.randrange(10**18, 9 * 10**18))

    def add_group(self, name: str, *, region: str, zones: tuple[str, ...], service_account: str, target_size: int,
                  autoscaler: dict[str, Any] | None, project: str) -> Group:  # fmt: skip
        """Have a group, and fill it if that is wanted."""
        values: dict[str, Any] = {"id": self.number(), "name": name, **(autoscaler or {})}
        group = Group(
            id=self.number(),
            name=name,
            region=region,
            zones=zones,
            project=project,
            project_number=PROJECT_NUMBER,
            service_account=service_account,
            target_size=target_size,
            created=self.clock.now(),
            autoscaler=None if autoscaler is None else Autoscaler(**values),
        )
        self.groups[name] = group
        self.changed += 1
        self.tick()
        return group

    def add_instance(
        self, group: Group, *, name: str = "", zone: str = "", created: float | None = None, version: str | None = None
    ) -> Instance:
        """Have a running VM of a group; of the version that is short of VMs, or of the one named."""
        made = group.next_version() if version is None else _named(group, version)
        region, _, template_name = made.template.rpartition("/instanceTemplates/")
        template = self.templates.get((region.rpartition("/")[2], template_name))
        zone = zone or group.zones[len(group.instances) % len(group.zones)]
        suffix = "".join(self._random.choices(LETTERS, k=4))
        vm = Instance(
            id=self.number(),
            name=name or f"{group.name}-{suffix}",
            zone=zone,
            project=group.project,
            project_number=PROJECT_NUMBER,
            service_account=group.service_account,
            created=self.clock.now() if created is None else created,
            metadata={
                "created-by": group.created_by,
                "instance-template": made.template,
                **(template.metadata if template else {}),
                **group.metadata,
            },
            template=made.template,
            version=made.name,
            labels=dict(template.labels) if template else {},
        )
        group.instances.append(vm)
        group.revision += 1
        self.changed += 1
        return vm

    def instance(self, zone: str, name: str) -> Instance | None:
        """A VM that exists."""
        found = (vm for vm in self.everywhere() if (vm.zone, vm.name) == (zone, name))
        return next((vm for vm in found if not vm.errors), None)

    def everywhere(self) -> list[Instance]:
        """All VMs, those that a group could not make yet among them."""
        return [*self.loose, *(vm for group in self.groups.values() for vm in group.instances)]

    def add_loose(self, vm: Instance, disks: list[Disk]) -> None:
        """Have a VM of no group, with its disks."""
        vm.status, vm.until = "PROVISIONING", self.clock.now() + self.create_seconds
        vm.disks = [disk.name for disk in disks]
        self.disks |= {(disk.zone, disk.name): disk for disk in disks}
        self.loose.append(vm)
        self.changed += 1
        self.tick()

    def stop(self, vm: Instance) -> None:
        """Stop a VM; its disks stay."""
        vm.status, vm.until = "STOPPING", self.clock.now() + self.stop_seconds
        vm.revision += 1
        self.changed += 1
        self.tick()

    def delete_instance(self, vm: Instance) -> None:
        """Delete a VM past its group, if it has one, which then makes another."""
        for group in self.groups.values():
            if vm in group.instances:
                group.instances.remove(vm)
                group.revision += 1
        vm.action = "DELETING"
        self.stop(vm)

    def tick(self) -> None:
        """Let happen what is due by now."""
        now = self.clock.now()
        for group in self.groups.values():
            for vm in [each for each in group.instances if each.until is not None and now >= each.until]:
                self._advance(group, vm, now)
            if self.autofill:
                self._fill(group, now)
        for vm in [each for each in self.loose if each.until is not None and now >= each.until]:
            self._advance_loose(vm, now)

    def next_due(self) -> float | None:
        """When something will happen by itself to a VM of a group."""
        return min(
            (
                vm.until
                for vm in self.everywhere()
                if vm.until is not None and not (vm.errors and vm.action == "CREATING" and not self.retry_seconds)
            ),
            default=None,
        )

    def remove_group(self, name: str) -> Group:
        """Somebody deletes a group, and with it its VMs."""
        group = self.groups.pop(name)
        for vm in group.instances:
            vm.action, vm.status, vm.until = "DELETING", "TERMINATED", None
            vm.revision += 1
        group.instances.clear()
        self.changed += 1
        return group

    def delete(self, group: Group, vms: list[Instance], *, shrink: bool = True) -> None:
        """The group deletes VMs, which lowers its target size at once by those that were to run."""
        if shrink:
            group.target_size -= len([vm for vm in vms if vm.target_status == "RUNNING"])
        for vm in vms:
            vm.action, vm.status, vm.until = "DELETING", "STOPPING", self.clock.now() + self.stop_seconds
            vm.revision += 1
        group.revision += 1
        self.changed += 1
        self.tick()

    def recreate(self, group: Group, vms: list[Instance]) -> None:
        """The group deletes VMs and makes others under their names; the target size stays."""
        for vm in vms:
            vm.action, vm.status, vm.until = "RECREATING", "STOPPING", self.clock.now() + self.stop_seconds
            vm.revision += 1
        group.revision += 1
        self.tick()

    def resize(self, group: Group, size: int) -> None:
        """Set the target size; which VMs go, when it shrinks, is the group's choice."""
        staying = group.meant("RUNNING")
        surplus = max(len(staying) - size, 0)
        group.target_size = size
        self.delete(group, self._random.sample(staying, surplus), shrink=False)

    def operate(self, route: str, kind: str, *, scope: str, project: str, target: str, target_id: str,
                user: str) -> Operation:  # fmt: skip
        """Accept an operation."""
        now = self.clock.now()
        number = self.number()
        waiting = self.failing[route]
        operation = Operation(
            id=number,
            name=f"operation-{int(now * 1000)}-{number[:13]}-{number[-8:]}",
            kind=kind,
            scope=scope,
            project=project,
            target=target,
            target_id=target_id,
            user=user,
            started=now,
            done=now + self.operation_seconds,
            error=waiting.popleft() if waiting else None,
        )
        self.operations[operation.name] = self.accepted = operation
        self.changed += 1
        return operation

    def _fill(self, group: Group, now: float) -> None:
        """Have as many VMs as are to run, out of the reserve first, and as many in reserve."""
        for target, size in group.targets.items():
            if target in SLEEP and len(group.meant(target)) > size:
                self.delete(group, group.meant(target)[size:])
            for _ in range(size - len(group.meant(target))):
                sleepers = [vm for kind in SLEEP for vm in group.meant(kind) if vm.settled]
                if target == "RUNNING" and sleepers:
                    self._wake(group, sleepers[0], now)
                else:
                    vm = self.add_instance(group)
                    vm.target_status = target
                    self._create(group, vm, now)

    def _advance_loose(self, vm: Instance, now: float) -> None:
        """The next step in the life of a VM of no group."""
        self.changed += 1
        vm.revision += 1
        if vm.status == "PROVISIONING":
            vm.status = "RUNNING"
            vm.until = None if vm.max_run_seconds is None else now + vm.max_run_seconds
        elif vm.status == "RUNNING":
            vm.action = "STOPPING" if vm.stops else "DELETING"
            self.stop(vm)
        elif vm.action == "DELETING":
            self.loose.remove(vm)
            for disk in [self.disks[vm.zone, name] for name in vm.disks]:
                disk.user = ""
                if disk.auto_delete:
                    del self.disks[disk.zone, disk.name]
        else:
            vm.status, vm.until = "TERMINATED", None

    def _wake(self, group: Group, vm: Instance, now: float) -> None:
        """Take a VM out of the reserve."""
        vm.action, vm.status, vm.until = SLEEP[vm.target_status][2], "STAGING", now + self.resume_seconds
        vm.target_status = "RUNNING"
        self._advance(group, vm, now)

    def _create(self, group: Group, vm: Instance, now: float) -> None:
        vm.action, vm.status, vm.until = "CREATING", "PROVISIONING", now + self.create_seconds
        self._advance(group, vm, now)

    def _advance(self, group: Group, vm: Instance, now: float) -> None:
        if vm.until is None or now < vm.until:
            return
        self.changed += 1
        match vm.action:
            case "DELETING":
                group.instances.remove(vm)
            case "RECREATING":
                group.instances.remove(vm)
                successor = self.add_instance(group, name=vm.name, zone=vm.zone)
                successor.target_status = vm.target_status
                self._create(group, successor, now)
            case "CREATING" if vm.zone in group.stocked_out:
                group.refuse(vm, now)
                vm.until = now + self.retry_seconds
            case "CREATING":
                vm.action, vm.status, vm.until, vm.created, vm.errors = "NONE", "RUNNING", None, now, []
                if vm.target_status in SLEEP:
                    vm.until = now + group.standby_delay_seconds
                    self._advance(group, vm, now)
            case _ if vm.preempted:
                vm.status, vm.until = "TERMINATED", None
            case _:
                vm.until = None
                self._move(group, vm, now)

    def _move(self, group: Group, vm: Instance, now: float) -> None:
        """The next step of a VM into the reserve, or out of it."""
        match vm.action:
            case "NONE" if vm.target_status in SLEEP:
                vm.action = vm.status = SLEEP[vm.target_status][0]
                vm.until = now + self.suspend_seconds
                self._advance(group, vm, now)
            case "SUSPENDING" | "STOPPING":
                vm.action, vm.status = "NONE", SLEEP[vm.target_status][1]
                vm.suspended = now if vm.status == "SUSPENDED" else vm.suspended
            case "RESUMING" | "STARTING":
                vm.started = now if vm.action == "STARTING" else vm.started
                vm.action, vm.status = "NONE", "RUNNING"
            case _:
                pass


def _named(group: Group, version: str) -> Version:
    return next(each for each, _ in group.wanted if each.name == version)
