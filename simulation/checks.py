"""What must hold: while it runs, at every change; and in the end.

Nothing here asks a service whether it did well. It looks at the groups, at the objects and at GitHub's registrations as
they are, and at what the VMs know of themselves.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, Final

from emulators.door import Visit
from simulation.deployment import BUCKETS
from simulation.machine import json_object

if TYPE_CHECKING:
    from simulation.world import World

LOOK_BACK_SECONDS: Final = 30.0
"""A permit is judged by what could be seen since its request began; the deleter's own limit for that is 25 s."""


class Checks:
    """Watches one simulation."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._over: set[str] = set()
        self._sizes: defaultdict[str, deque[tuple[float, int]]] = defaultdict(deque)
        self._wanted: defaultdict[str, deque[tuple[float, int]]] = defaultdict(deque)

    def look(self) -> None:
        """At the groups, after any change."""
        world = self._world
        for group in world.fleet.groups:
            real = world.google.groups.get(group.name)
            if real is None:
                continue
            self._remember(self._sizes[group.name], real.target_size)
            there = sum(vm.action != "DELETING" and not vm.errors for vm in real.instances)
            if max(real.target_size, there) > group.max and group.name not in self._over:
                self._over.add(group.name)
                self._violate(f"{group.name} has {there} VMs and wants {real.target_size}; its maximum is {group.max}")

    def written(self, visit: Visit) -> None:
        """At what was stored."""
        if visit.record.route != "storage.insert":
            return
        for group in self._world.fleet.groups:
            if f"demand%2F{group.name}.json" in visit.record.path:
                said = self._stored(BUCKETS["listener"], f"demand/{group.name}.json")
                self._remember(self._wanted[group.name], int(said.get("desired", 0)))
            elif f"permits%2F{group.name}.json" in visit.record.path:
                self._judge_permits(group.name, group.min)

    def _judge_permits(self, name: str, minimum: int) -> None:
        said = self._stored(BUCKETS["permits"], f"permits/{name}.json")
        real = self._world.google.groups.get(name)
        if real is None:
            return
        alive = {vm.id for vm in real.instances if vm.action != "DELETING"}
        held = len(alive & set(said.get("permits", {})))
        size = max((value for _, value in self._recent(self._sizes[name])), default=real.target_size)
        wanted = min((value for _, value in self._recent(self._wanted[name])), default=0)
        if held > max(0, size - max(wanted, minimum)):
            self._violate(f"{name} gave {held} permits; {size} VMs are there or ordered, {wanted} wanted")

    def in_the_end(self) -> None:
        """Once all is quiet, or should be."""
        self._jobs()
        for left in self.leftovers():
            self._violate(left)

    def _jobs(self) -> None:
        world = self._world
        for job in world.truth.jobs.values():
            known = world.github.jobs.get(job.id)
            state = known.state if known is not None else ("completed" if job.ended_at is not None else "queued")
            if not job.starts and job.ended not in {"", "succeeded"}:
                continue  # its VM was taken away by a fault while the job was on its way there
            if len(job.starts) != 1:
                tries = f" after {known.tries} assignments" if known is not None else ""
                self._violate(f"{job.id} of {job.pool} ran {len(job.starts)} times; GitHub has it {state}{tries}")
            elif job.ended_at is None:
                self._violate(f"{job.id} of {job.pool} never ended")
            elif job.ended == "succeeded" and known is not None and known.result != "succeeded":
                self._violate(f"{job.id} of {job.pool} succeeded; GitHub has it {state}, {known.result}")

    def leftovers(self) -> list[str]:
        """What is there that should not be, with no job left."""
        world = self._world
        found: list[str] = []
        for pool in world.fleet.pools:
            names = [group.name for group in world.fleet.of(pool)]
            vms = [vm for name in names if name in world.google.groups for vm in world.google.groups[name].instances]
            if len(vms) > world.fleet.idle(pool):
                which = ", ".join(f"{vm.name} ({vm.status}, {vm.action})" for vm in vms)
                found.append(f"{pool} has {len(vms)} VMs left; it keeps {world.fleet.idle(pool)}: {which}")
        runners = {machine.runner.name for machine in world.machines.all if machine.runner is not None}
        return found + [
            f"runner {name} is left at GitHub without a VM" for name in world.github.runners if name not in runners
        ]

    def _stored(self, bucket: str, name: str) -> dict[str, Any]:
        found = self._world.google.objects.get((bucket, name))
        return {} if found is None else dict(json_object(found.data))

    def _remember(self, values: deque[tuple[float, int]], value: int) -> None:
        if not values or values[-1][1] != value:
            values.append((self._world.loop.time(), value))

    def _recent(self, values: deque[tuple[float, int]]) -> list[tuple[float, int]]:
        """The values that were seen lately: the one that held when that time began, too."""
        since = self._world.loop.time() - LOOK_BACK_SECONDS
        while len(values) > 1 and values[1][0] <= since:
            values.popleft()
        return list(values)

    def _violate(self, what: str) -> None:
        self._world.truth.violate(self._world.loop.time(), what)
