"""How a group and a pool stand to what the stack declares of them. Pure."""

from __future__ import annotations

from enum import StrEnum

from fleet.group import Group
from fleet.schema.pool import CanaryInstances, CanaryPercent, JobsScaling
from fleet.settings import Settings
from rollout.view.matching import Registered
from rollout.view.seen import Known, Unknown
from rollout.view.snapshot import GroupSeen, PoolWord, Snapshot, VmSeen
from rollout.view.vm_state import VmState, vm_state


class Deployed(StrEnum):
    """Whether a group is set to what the stack says."""

    YES = "yes"
    NO = "no"
    """It is set to other versions, or to other shares of them: `pulumi up` has not run since."""
    MISSING = "missing"
    """There is no such group."""
    UNKNOWN = "unknown"


class Listener(StrEnum):
    """How the demand listener stands to a pool."""

    SPEAKS = "speaks"
    SILENT = "silent"
    """What it last wrote has expired, or it never wrote."""
    UNKNOWN = "unknown"
    """Its records could not be read."""
    NONE = "none"
    """The pool does not follow jobs."""


def share_text(share: CanaryInstances | CanaryPercent | None) -> str:
    """A version's share of a group, as `GroupSeen.versions` says it."""
    match share:
        case CanaryInstances(instances=count):
            return f"{count} VM{'' if count == 1 else 's'}"
        case CanaryPercent(percent=percent):
            return f"{percent} %"
        case None:
            return "rest"


def declared(group: Group) -> dict[str, str]:
    """The versions that a group is to be set to, and their shares."""
    stable = {group.stable: "rest"} if group.stable else {}
    return stable | ({group.canary: share_text(group.canary_share)} if group.canary else {})


def deployed(group: Group, seen: Snapshot) -> Deployed:
    """Whether a group is set to what the stack says."""
    match seen.groups.get(group.name):
        case Known(GroupSeen() as there):
            same = dict(there.versions) == declared(group) and not there.foreign_templates
            return Deployed.YES if same else Deployed.NO
        case Known(None):
            return Deployed.MISSING
        case _:
            return Deployed.UNKNOWN


def word_of(settings: Settings, seen: Snapshot, pool: str) -> tuple[Listener, PoolWord | None]:
    """How the listener stands to a pool, and what it says of it now."""
    if not isinstance(settings.pools[pool].scaling, JobsScaling):
        return Listener.NONE, None
    if isinstance(seen.words, Unknown):
        return Listener.UNKNOWN, None
    word = seen.words.value.get(pool)
    if word is None or word.expires <= seen.at:
        return Listener.SILENT, None
    return Listener.SPEAKS, word


def states(settings: Settings, seen: Snapshot, vms: tuple[VmSeen, ...]) -> list[tuple[VmSeen, VmState]]:
    """Each VM with its state."""
    registered = Registered(seen.runners.value if isinstance(seen.runners, Known) else ())
    deadline_seconds = settings.lifecycle.boot_deadline_seconds
    return [
        (vm, vm_state(vm, seen.runners, registered, boot_deadline_seconds=deadline_seconds, now=seen.at)) for vm in vms
    ]
