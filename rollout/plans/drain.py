"""The plan of a drain: VMs are marked, so many of a group at a time, and each is waited for until it has left. Pure.

A drain takes no VM away. It writes a mark on it, and the VM leaves by itself, in the only way that is safe
(startup/lib/retirement.py); one that has a job runs it to its end and leaves then. So what is interrupted has done no
harm, and a second drain goes on where the first one stood.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from fleet.settings import Settings
from rollout.engine.limits import Limits
from rollout.engine.spec import Plan, Step
from rollout.plans.drive import Prepared
from rollout.plans.leaving import Leaving, Pace
from rollout.plans.stack_settings import stack_settings
from rollout.view.seen import Unknown
from rollout.view.snapshot import Snapshot
from rollout.view.standing import states
from rollout.view.vm_state import VmState

BACKEND: Final = "leaving"
SHARE_PERCENT: Final = 25
"""Of a group's VMs, how many are drained at once unless told otherwise; the deleter lets no more be missing
(functions/instance_deleter/deleter/decide.py)."""

_THERE: Final = frozenset({VmState.IDLE, VmState.BUSY, VmState.OFFLINE, VmState.STARTING, VmState.UNREGISTERED})
"""States of VMs that exist and stay unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which VMs of a pool are to leave; exactly one of the last three is given."""

    pool: str
    region: str = ""
    """Empty: all regions."""
    version: str = ""
    outdated: bool = False
    """Those whose version is neither what their group gives to new VMs now, nor its canary."""
    idle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A VM that is to leave."""

    region: str
    group: str
    zone: str
    name: str
    id: str
    version: str
    state: str
    """When it was chosen."""


class UnknownFleetError(Exception):
    """Not all could be seen that the choice depends on. The text says what, and why."""


def choose(settings: Settings, seen: Snapshot, choice: Choice) -> tuple[Target, ...]:
    """The VMs, in the order of their names. Raises UnknownFleetError: nothing is chosen from half a fleet."""
    if isinstance(seen.runners, Unknown):
        raise UnknownFleetError(f"GitHub's runners: {seen.runners.why}")
    found: list[Target] = []
    for group in settings.groups(choice.pool):
        if choice.region not in ("", group.region):
            continue
        look = seen.groups[group.name]
        if isinstance(look, Unknown):
            raise UnknownFleetError(f"group {group.name}: {look.why}")
        vms = look.value.vms if look.value else ()
        if look.value and not vms and look.value.target:
            raise UnknownFleetError(f"group {group.name}: it lists nothing, and its target size is {look.value.target}")
        for vm, state in states(settings, seen, vms):
            if state is VmState.UNKNOWN:
                raise UnknownFleetError(f"VM {vm.name}: {vm.unread or 'what it does cannot be told'}")
            outdated = vm.version not in {group.stable, group.canary}
            wanted = vm.version == choice.version if choice.version else not choice.outdated or outdated
            if state in _THERE and wanted and (state is VmState.IDLE or not choice.idle):
                found.append(
                    Target(
                        region=group.region,
                        group=group.name,
                        zone=vm.zone,
                        name=vm.name,
                        id=vm.id,
                        version=vm.version,
                        state=state.value,
                    )
                )
    return tuple(sorted(found, key=lambda target: target.name))


def at_once(seen: Snapshot, group: str, most: int | None) -> int:
    """How many VMs of a group are drained at a time: what is asked for, or a share of its size, and always one."""
    if most is not None:
        return most
    look = seen.groups[group]
    size = 0 if isinstance(look, Unknown) or look.value is None else look.value.target
    return max(1, size * SHARE_PERCENT // 100)


def plan(pool: str, stack: str, targets: Sequence[Target]) -> Plan:
    """One step a VM. Each holds one of its group's places from its mark until it is gone, or has a job."""
    steps = (
        Step(
            id=target.name,
            group=target.region,
            backend=BACKEND,
            params={"look": "leave", **asdict(target)},
            uses={target.group: 1},
        )
        for target in targets
    )
    return Plan(name=f"drain {pool} of {stack}", steps=tuple(steps))


def arguments(
    stack: str, pool: str, targets: Sequence[Target], *, places: Mapping[str, int], pace: Pace
) -> dict[str, Any]:
    """What `made` makes the plan of, as JSON."""
    return {
        "stack": stack,
        "pool": pool,
        "targets": [asdict(target) for target in targets],
        "places": dict(places),
        "pace": asdict(pace),
    }


def made(root: Path, given: Mapping[str, Any]) -> Prepared:
    """The plan and its backend from a run's recipe. Raises ConfigError and StackFileError."""
    settings = stack_settings(root, given["stack"])
    targets = [Target(**target) for target in given["targets"]]
    leaving = Leaving(settings, Pace(**given["pace"]))
    return Prepared(
        plan=plan(given["pool"], given["stack"], targets),
        backends={BACKEND: leaving.backend()},
        limits=Limits(resources=dict(given["places"])),
    )
