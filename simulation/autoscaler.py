"""The original fleet's way to size a pool: a CPU autoscaler for each group, that only ever grows it.

Compute Engine's rule, as far as its documentation tells it: enough VMs that the average use of those past their
cool-down would be at the target. So it adds VMs in steps, each a boot and a cool-down after the other, and never more
than what is busy already calls for. It cannot start from nothing: a group without VMs uses no CPU.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final

from emulators.google.group import Group

if TYPE_CHECKING:
    from simulation.world import World

TARGET: Final = 0.6
COOL_DOWN_SECONDS: Final = 60.0
"""Both of the original fleet; today's configuration has them as defaults (fleet/schema/pool.py)."""
LEAST: Final = 1
"""VMs of a group: with none there would be no CPU to go by."""


class Autoscalers:
    """One for each group, and GitHub's side of a fleet without scale sets: whoever has the labels gets the job."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: list[tuple[str, frozenset[str]]] = []

    async def run(self) -> None:
        """Size all groups, for ever."""
        while True:
            for group in self._world.google.groups.values():
                self._size(group)
            self._world.pulse.beat()
            await asyncio.sleep(self._world.assumed.autoscaler_seconds)

    def queue(self, job: str, labels: Any) -> None:
        """A job waits for any runner that has these labels."""
        self._waiting.append((job, frozenset(label.lower() for label in labels)))
        self.hand_out()

    def hand_out(self) -> None:
        """Give jobs, the oldest first, to runners that are online and idle."""
        if not self._waiting:
            return
        github = self._world.github
        free = [runner for runner in github.runners.values() if runner.session and not runner.job]
        for waiting in list(self._waiting):
            job, labels = waiting
            found = next((runner for runner in free if labels <= set(runner.labels)), None)
            if found is not None:
                free.remove(found)
                self._waiting.remove(waiting)
                github.start_job(found.name, job=job)

    def _size(self, group: Group) -> None:
        scaler = group.autoscaler
        if scaler is None:
            return
        now = self._world.loop.time()
        used = sum(
            machine.cpu
            for machine in self._world.machines.all
            if machine.life.group == group.name and now - machine.life.on_at >= COOL_DOWN_SECONDS
        )
        scaler.recommended = min(scaler.max, max(scaler.min, math.ceil(used / TARGET)))
        if scaler.recommended > group.target_size:
            with self._world.google.lock:
                self._world.google.compute.resize(group, scaler.recommended)
