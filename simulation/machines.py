"""All VMs: powered on when a group has made one, off when it is gone, and looked after as Compute Engine does.

A group repairs a VM that is off, or that its health check finds dead once the initial delay is over; at its maximum age
Compute Engine deletes a VM. Nothing of that is a decision of the fleet's.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

from emulators.google import Google
from emulators.google.group import Group
from emulators.google.instance import Instance
from simulation.machine import Machine, Plan, Surroundings
from simulation.truth import Life

PREEMPTION_SECONDS: Final = 30
"""Between the notice and the end: Compute Engine's documentation of spot VMs."""


class Machines:
    """The VMs of one simulation. `look` is called whenever something has changed in Compute Engine."""

    def __init__(
        self,
        google: Google,
        around: Surroundings,
        pools: dict[str, str],
        plan: Callable[[str], Plan],
        chance: random.Random,
    ) -> None:
        """`pools` says which pool a group is of; `plan` draws what goes wrong with the next VM of a pool."""
        self._google = google
        self._around = around
        self._pools = pools
        self._plan = plan
        self._chance = chance
        self._seen = -1
        self._running: dict[str, tuple[Machine, list[asyncio.Future[None]]]] = {}
        self._failures: list[BaseException] = []

    @property
    def all(self) -> list[Machine]:
        """Those that exist."""
        return [machine for machine, _ in self._running.values()]

    def look(self) -> None:
        """Power on what has been made, and off what is gone. Raises what broke a VM's simulation."""
        if self._failures:
            raise self._failures[0]
        if self._google.compute.changed == self._seen:
            return
        self._seen = self._google.compute.changed
        alive: set[str] = set()
        for group in self._google.groups.values():
            for instance in group.instances:
                if instance.status == "TERMINATED" and instance.action == "NONE":
                    asyncio.get_running_loop().call_soon(self._repair, group, instance)
                if instance.status == "RUNNING" and not instance.errors:
                    alive.add(instance.id)
                    if instance.id not in self._running:
                        self._power_on(group, instance)
        for number in [number for number in self._running if number not in alive]:
            self._gone(*self._running.pop(number))

    def _power_on(self, group: Group, instance: Instance) -> None:
        life = Life(
            name=instance.name,
            instance_id=instance.id,
            pool=self._pools[group.name],
            group=group.name,
            on_at=self._now(),
        )
        self._around.truth.lives.append(life)
        chance = random.Random(f"{self._chance.random()}/{instance.name}")  # noqa: S311 - to be repeated, not secret
        machine = Machine(instance=instance, life=life, around=self._around, plan=self._plan(life.pool), chance=chance)
        self._around.truth.note(life.on_at, f"{life.name} on")
        tasks = [self._task(machine.run()), self._task(self._grow_old(group, machine))]
        if machine.plan.preempted_after is not None:
            tasks.append(self._task(self._preempt(machine, machine.plan.preempted_after)))
        self._running[instance.id] = machine, tasks

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        task = asyncio.ensure_future(work)
        task.add_done_callback(self._failed)
        return task

    def _failed(self, task: asyncio.Future[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failures.append(error)

    def _gone(self, machine: Machine, tasks: list[asyncio.Future[None]]) -> None:
        """Its VM stops. Whoever made that happen had better known that no worker runs."""
        for task in tasks:
            task.cancel()
        instance = machine.instance
        taken = machine.dead or instance.preempted or instance.status == "TERMINATED"
        old = self._now() - machine.life.on_at >= self._around.assumed.max_run_seconds
        if machine.has_unfinished_job and not (taken or old):
            what = "under its worker" if machine.worker else "with a job on its way to it"
            self._around.truth.violate(self._now(), f"{machine.life.name} was deleted {what}")
        self._end(machine, "preempted" if instance.preempted else "deleted")

    def _end(self, machine: Machine, why: str) -> None:
        if machine.has_unfinished_job and machine.runner is not None:
            job = self._around.truth.jobs[self._around.job_known(machine.runner)]
            job.ended_at, job.ended = self._now(), why
        machine.stop(why)

    # What Compute Engine does by itself.

    async def _grow_old(self, group: Group, machine: Machine) -> None:
        await asyncio.sleep(self._around.assumed.max_run_seconds)
        self._around.truth.note(self._now(), f"{machine.life.name} is too old")
        self._repair(group, machine.instance)

    def host_fails(self, instance: Instance) -> None:
        """All on a VM stops, and Compute Engine shows it as running."""
        machine, tasks = self._running[instance.id]
        self._around.truth.faults["host-error"] += 1
        machine.dead = True
        self._end(machine, "host error")
        tasks[0].cancel()
        tasks.append(self._task(self._heal(machine)))

    async def _heal(self, machine: Machine) -> None:
        """The group's health check finds it dead."""
        delay = self._around.assumed.healing_delay_seconds - (self._now() - machine.life.on_at)
        await asyncio.sleep(max(0.0, delay) + self._around.assumed.healing_checks_seconds)
        if machine.life.group in self._google.groups:
            self._repair(self._google.groups[machine.life.group], machine.instance)

    async def _preempt(self, machine: Machine, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._around.truth.faults["preemption"] += 1
        self._google.preempt(machine.instance)
        self._around.pulse.beat()

    def power_off(self, instance: Instance) -> None:
        """A guest shuts down; its group makes it anew."""
        with self._google.lock:
            if instance.action == "NONE":
                instance.status = "TERMINATED"
                self._google.compute.changed += 1
        self._around.pulse.beat()

    def _repair(self, group: Group, instance: Instance) -> None:
        if instance in group.instances and instance.action == "NONE":
            with self._google.lock:
                self._google.compute.recreate(group, [instance])
                self._google.compute.changed += 1
            self._around.pulse.beat()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
