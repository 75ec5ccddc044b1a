"""What a VM is doing, from what its group and GitHub say of it. Pure, and for people: nothing is removed by it.

GitHub's flag `busy` is up to a minute late, and a runner's registration goes when its job ends, before its VM does.
"""

from __future__ import annotations

import datetime
from enum import StrEnum
from typing import Final

from rollout.view.matching import Registered
from rollout.view.seen import Seen, Unknown
from rollout.view.snapshot import RunnerSeen, VmSeen

REGISTRATION_MARGIN: Final = datetime.timedelta(seconds=60)
"""Beyond the boot deadline: a configuration that was given out at its last moment is used within seconds."""

_MAKING: Final = frozenset(
    {"CREATING", "CREATING_WITHOUT_RETRIES", "RECREATING", "STARTING", "RESUMING", "VERIFYING", "RESTARTING"}
)
_LEAVING: Final = frozenset({"DELETING", "ABANDONING"})
_ASLEEP: Final = frozenset({"SUSPENDING", "SUSPENDED", "STOPPED", "TERMINATED"})


class VmState(StrEnum):
    """What a VM is doing."""

    BUSY = "busy"
    """GitHub says that it has a job."""
    IDLE = "idle"
    """Registered and online, without a job."""
    STARTING = "starting"
    """Being made, or booting: too young to be missed at GitHub."""
    OFFLINE = "offline"
    """Registered, and not connected."""
    UNREGISTERED = "unregistered"
    """Older than its boot deadline, and GitHub has no runner of it: it failed to boot, or its job is done and it is
    about to go."""
    STUCK = "stuck"
    """Its group cannot make it."""
    LEAVING = "leaving"
    """Its group deletes it, or it is stopping."""
    RESERVE = "reserve"
    """Suspended or stopped, or meant to be, until its group needs it."""
    UNKNOWN = "unknown"
    """It runs; what it does cannot be told, since GitHub, or Compute Engine about this one, could not be asked."""


def vm_state(
    vm: VmSeen,
    runners: Seen[tuple[RunnerSeen, ...]],
    registered: Registered,
    *,
    boot_deadline_seconds: int,
    now: datetime.datetime,
) -> VmState:
    """The state of one VM; `registered` is made of `runners`, and empty where these are unknown."""
    if vm.errors and not vm.id:
        return VmState.STUCK
    if vm.action in _LEAVING or vm.status == "STOPPING":
        return VmState.LEAVING
    if vm.target_status != "RUNNING" or vm.status in _ASLEEP:
        return VmState.RESERVE if vm.target_status != "RUNNING" else VmState.LEAVING
    if isinstance(runners, Unknown):
        return VmState.STARTING if vm.action in _MAKING else VmState.UNKNOWN
    own = registered.of(vm)
    if own:
        return _registered(own)
    if vm.unread:
        return VmState.UNKNOWN
    limit = datetime.timedelta(seconds=boot_deadline_seconds) + REGISTRATION_MARGIN
    late = vm.started is not None and now - vm.started > limit
    return VmState.UNREGISTERED if late and vm.action not in _MAKING else VmState.STARTING


def _registered(own: tuple[RunnerSeen, ...]) -> VmState:
    if any(runner.busy for runner in own):
        return VmState.BUSY
    return VmState.IDLE if any(runner.online for runner in own) else VmState.OFFLINE
