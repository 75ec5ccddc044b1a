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
from emulators.google.group import Autoscaler, Group
from emulators.google.instance import Instance
from emulators.google.operation import Operation, OperationError

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
    changed: int = 0
    """Grows with every change of a group, a VM or an operation."""
    groups: dict[str, Group] = field(default_factory=dict[str, Group])
    loose: list[Instance] = field(default_factory=list[Instance])
    """VMs of no group."""
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

    def add_instance(self, group: Group, *, name: str = "", zone: str = "", created: float | None = None) -> Instance:
        """Have a running VM of a group."""
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
            metadata={"created-by": group.created_by, "instance-template": group.template, **group.metadata},
            template=group.template,
        )
        group.instances.append(vm)
        group.revision += 1
        self.changed += 1
        return vm

    def instance(self, zone: str, name: str) -> Instance | None:
        """A VM that exists."""
        everywhere = [*self.loose, *(vm for group in self.groups.values() for vm in group.instances)]
        return next((vm for vm in everywhere if (vm.zone, vm.name) == (zone, name) and not vm.errors), None)

    def tick(self) -> None:
        """Let happen what is due by now."""
        now = self.clock.now()
        for group in self.groups.values():
            for vm in [each for each in group.instances if each.until is not None and now >= each.until]:
                self._advance(group, vm, now)
            if self.autofill:
                self._fill(group, now)

    def next_due(self) -> float | None:
        """When something will happen by itself to a VM of a group."""
        return min(
            (
                vm.until
                for group in self.groups.values()
                for vm in group.instances
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

    def operate(self, route: str, kind: str, group: Group, user: str) -> Operation:
        """Accept an operation."""
        now = self.clock.now()
        number = self.number()
        waiting = self.failing[route]
        operation = Operation(
            id=number,
            name=f"operation-{int(now * 1000)}-{number[:13]}-{number[-8:]}",
            kind=f"compute.instanceGroupManagers.{kind}",
            region=group.region,
            project=group.project,
            target=group.path,
            target_id=group.id,
            user=user,
            started=now,
            done=now + self.operation_seconds,
            error=waiting.popleft() if waiting else None,
        )
        self.operations[operation.name] = operation
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
