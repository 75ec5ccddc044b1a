"""The plan that waits for a fleet to be what its stack says, after a promotion or a way back. It changes nothing.

Every group is set to its versions once somebody has deployed, and has no VM of any other version once the last one's
job has ended. Like a canary's, the run holds nothing: it may be stopped and begun anew at any point.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

from fleet.settings import Settings
from rollout.backends.fleet import FleetLooks
from rollout.engine.backend import Passed
from rollout.engine.polling import Waiting
from rollout.engine.report import Report
from rollout.engine.spec import Plan, Step
from rollout.plans.drive import Prepared, Recipe, drive
from rollout.plans.looks import Found, unknown
from rollout.plans.shared_snapshot import INTERVAL_SECONDS, SharedSnapshot
from rollout.plans.stack_settings import stack_settings
from rollout.view.seen import Unknown
from rollout.view.standing import Deployed, deployed, states
from rollout.view.vm_state import VmState

BACKEND: Final = "fleet"
MARGIN_SECONDS: Final = 7 * 86_400
"""What a deployment may take to come, beyond the longest that a VM lives."""


def plan(settings: Settings) -> Plan:
    """Two steps for each group that may have VMs."""
    steps: list[Step] = []
    for key in settings.pools:
        for group in settings.groups(key):
            if not group.most:
                continue
            place = f"{key}/{group.region}"
            steps += [
                Step(
                    id=f"deployed/{place}",
                    title=f"{group.name} is set to it",
                    group="deployed",
                    backend=BACKEND,
                    params={"look": "deployed", "group": group.name},
                ),
                Step(
                    id=f"turned-over/{place}",
                    title=f"{group.name} has no VM of another version",
                    group="turned over",
                    backend=BACKEND,
                    params={"look": "turned-over", "group": group.name},
                    needs=(f"deployed/{place}",),
                ),
            ]
    return Plan(
        name=f"turnover of {settings.environment}",
        steps=tuple(steps),
        timeout_seconds=settings.lifecycle.max_run_seconds + MARGIN_SECONDS,
    )


async def wait(
    settings: Settings,
    *,
    root: Path,
    stream: IO[str] | None = None,
    run_id: str | None = None,
    interval_seconds: float = INTERVAL_SECONDS,
) -> Report:
    """Wait until the stack's groups are what its files say, shown on `stream`, kept in runs/<id>/."""
    arguments = {"stack": settings.environment, "interval_seconds": interval_seconds}
    return await drive(
        root, Recipe(maker=f"{__name__}:made", arguments=arguments), stream=stream or sys.stdout, run_id=run_id
    )


def made(root: Path, arguments: Mapping[str, Any]) -> Prepared:
    """The plan and its backend from a run's recipe. Raises ConfigError and StackFileError for the stack's files."""
    settings = stack_settings(root, arguments["stack"])
    seconds = float(arguments["interval_seconds"])
    looks = TurnoverLooks(settings, interval_seconds=seconds)
    backend = looks.backend(first_seconds=seconds / 6, most_seconds=seconds * 2)
    return Prepared(plan=plan(settings), backends={BACKEND: backend})


class TurnoverLooks:
    """The looks of one turnover."""

    def __init__(self, settings: Settings, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._settings = settings
        self._shared = SharedSnapshot(settings, interval_seconds=interval_seconds)
        self._groups = {group.name: group for key in settings.pools for group in settings.groups(key)}

    def backend(self, *, first_seconds: float = 5.0, most_seconds: float = 60.0) -> FleetLooks:
        """The backend `fleet` of a run."""
        looks = {"deployed": self.deployed, "turned-over": self.turned_over}
        return FleetLooks(looks, first_seconds=first_seconds, most_seconds=most_seconds, close=self._shared.close)

    async def deployed(self, params: Mapping[str, Any]) -> Found:
        """Whether a group is set to the versions that the stack says."""
        snapshot, _ = await self._shared.look()
        group = self._groups[params["group"]]
        look = snapshot.groups[group.name]
        if isinstance(look, Unknown):
            return unknown(look)
        match deployed(group, snapshot):
            case Deployed.YES:
                return Passed(message="set to its versions")
            case Deployed.MISSING:
                return Waiting(progress="there is no such group yet: deploy")
            case _:
                return Waiting(progress="set to other versions yet: deploy")

    async def turned_over(self, params: Mapping[str, Any]) -> Found:
        """Whether a group has no VM of a version that the stack does not say; those that leave do not count."""
        snapshot, _ = await self._shared.look()
        group = self._groups[params["group"]]
        look = snapshot.groups[group.name]
        if isinstance(look, Unknown):
            return unknown(look)
        vms = look.value.vms if look.value else ()
        old = [
            (vm, state)
            for vm, state in states(self._settings, snapshot, vms)
            if vm.version not in {group.stable, group.canary} and state is not VmState.LEAVING
        ]
        if not old:
            return Passed(message="no VM of another version")
        doing = ", ".join(f"{count} {state}" for state, count in sorted(Counter(state for _, state in old).items()))
        versions = ", ".join(sorted({vm.version or "an unknown version" for vm, _ in old}))
        idle = all(state is VmState.IDLE for _, state in old)
        hint = "; scripts/rollout drain has idle ones leave" if idle else ""
        return Waiting(progress=f"{doing} of {versions}{hint}")
