"""Which VMs are stuck: too old to boot, unknown to GitHub, and never given a configuration. Pure.

The original fleet's tool deleted every VM older than five minutes when its query of GitHub failed, busy or not. So here

- everything is read whole, or nothing is concluded: a failed query never gets here;
- what was read and is less than it can be, is doubted, and then nothing is removed at all (`Judgement.doubts`);
- a VM goes only where three sources agree. GitHub's list alone proves little: it drops a runner when its job ends, or
  when the VM is about to leave, and a job may run then. The broker's grants say who never had a configuration;
- what an operator holds and what comes from a reserve stays, and a run takes a share of a pool at most.

The reconciler ends such VMs by itself, after ten minutes and more; this is for whoever cannot wait, or has only its dry
run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fleet.group import Group
from fleet.metadata import HOLD_UNTIL
from fleet.settings import Settings
from rollout.cloud.groups import Group as CloudGroup
from rollout.cloud.groups import Member
from rollout.cloud.instances import Instance
from rollout.plans.marks import moment, written
from rollout.view.matching import instance_id
from rollout.view.snapshot import RunnerSeen

MARGIN_SECONDS: Final = 300
"""Beyond the boot deadline, as for the reconciler. The broker gives nothing later; its requests take 45 s at most."""
CLOCK_SECONDS: Final = 60
"""By how much the clocks may differ: every age rests on this machine's. The reconciler's figure."""
SHARE_PERCENT: Final = 20
"""Of a pool's VMs, how many a run removes unless told otherwise; one may always go. The reconciler's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLook:
    """A group and all that it lists."""

    group: CloudGroup
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Everything that the judgement rests on, each read whole: runners, grants, groups, and runners once more."""

    runners: tuple[RunnerSeen, ...]
    """Both listings of GitHub together: absence counts only where both lack it."""
    grants: Mapping[str, str]
    """The broker's grants: instance id to state, which is empty where it was not read."""
    groups: Mapping[str, GroupLook | None]
    """By name, all of the stack; None where Compute Engine has no such group."""
    instances: Mapping[str, Instance]
    """By id: the VMs that are in question, as they are now."""
    seconds_apart: float | None = None
    """By how much this machine's clock and Cloud Storage's differ; None where the latter did not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A VM that GitHub does not know although it is old enough."""

    pool: str
    region: str
    group: str
    zone: str
    name: str
    id: str
    age_seconds: int
    fixed: bool
    """Whether its pool's size is fixed: it is made anew then."""
    spared: str = ""
    """Why it stays; empty where it is stuck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What came of a look."""

    stuck: tuple[Suspect, ...]
    """To be removed now, the oldest first."""
    spared: tuple[Suspect, ...]
    doubts: tuple[str, ...]
    """Why nothing may be concluded; then nothing is stuck."""


def in_question(settings: Settings, look: Look, pools: Collection[str]) -> list[tuple[str, Group, Member]]:
    """The VMs that run, that their groups leave alone, and that GitHub does not know."""
    known = _known(look.runners)
    return [
        (pool, group, member)
        for pool in pools
        for group in settings.groups(pool)
        for member in _members(look, group)
        if stands(member) and member.id not in known and member.name.lower() not in known
    ]


def registered(member: Member, runners: Sequence[RunnerSeen]) -> bool:
    """Whether GitHub lists a runner that is, or may be, a VM's."""
    known = _known(runners)
    return member.id in known or member.name.lower() in known


def stands(member: Member) -> bool:
    """Whether a VM runs, and its group means it to."""
    running = member.status == "RUNNING" and (member.target_status or "RUNNING") == "RUNNING"
    return bool(member.id) and running and member.action == "NONE"


def judge(
    settings: Settings, look: Look, pools: Collection[str], *, now: float, percent: int = SHARE_PERCENT
) -> Judgement:
    """Which of the pools' VMs are stuck at `now`, seconds since 1970."""
    found = [
        suspect
        for pool, group, member in in_question(settings, look, pools)
        if (suspect := _suspect(settings, look, pool, group, member, now)) is not None
    ]
    found.sort(key=lambda suspect: (-suspect.age_seconds, suspect.name))
    spared = [suspect for suspect in found if suspect.spared]
    stuck: list[Suspect] = []
    for pool in pools:
        own = [suspect for suspect in found if suspect.pool == pool and not suspect.spared]
        size = sum(len(_members(look, group)) for group in settings.groups(pool))
        most = max(1, size * percent // 100)
        stuck += own[:most]
        spared += [
            replace(suspect, spared=f"a run removes {most} of the pool's {size} at most") for suspect in own[most:]
        ]
    doubted = tuple(_doubts(settings, look))
    return Judgement(stuck=() if doubted else tuple(stuck), spared=tuple(spared), doubts=doubted)


def unproved(
    settings: Settings, group: Group, look: GroupLook, instance: Instance, grant: str | None, *, now: float
) -> str | None:
    """What speaks against a VM's being stuck; empty where nothing does, None where it is merely young.

    `grant` is its grant's state, None where it was given none.
    """
    age_seconds = now - _began(instance)
    until = moment(instance.metadata.get(HOLD_UNTIL))
    if until is not None and now < until:
        return f"an operator holds it until {written(until)}"
    if group.standby or look.group.target_suspended or look.group.target_stopped:
        return "it may come from its group's reserve, and register yet"
    if instance.last_suspended is not None:
        return "it was suspended once, and nobody says when it was resumed"
    if age_seconds <= settings.lifecycle.boot_deadline_seconds + MARGIN_SECONDS:
        return None
    if age_seconds > settings.lifecycle.max_run_seconds:
        return "it is older than grants are kept, so nothing says that it never had one"
    if grant not in (None, "unknown"):
        return "it was given a configuration, and its runner is gone: its job may run, or it is about to end"
    return ""


def _suspect(settings: Settings, look: Look, pool: str, group: Group, member: Member, now: float) -> Suspect | None:
    instance, there = look.instances.get(member.id), look.groups[group.name]
    if instance is None or there is None:
        return None  # it went, or was made anew, since its group was listed
    why = unproved(settings, group, there, instance, look.grants.get(member.id), now=now)
    if why is None:
        return None
    return Suspect(
        pool=pool,
        region=group.region,
        group=group.name,
        zone=member.zone,
        name=member.name,
        id=member.id,
        age_seconds=int(now - _began(instance)),
        fixed=settings.pools[pool].scaling.signal == "fixed",
        spared=why,
    )


def _doubts(settings: Settings, look: Look) -> Sequence[str]:
    """What was read and cannot be all: over the whole stack, for one pool says too little."""
    found = [
        f"group {name} lists nothing, and its target size is {there.group.target_size}"
        for name, there in sorted(look.groups.items())
        if there is not None and not there.members and there.group.target_size
    ]
    if look.seconds_apart is None or look.seconds_apart > CLOCK_SECONDS:
        apart = "an unknown time" if look.seconds_apart is None else f"{look.seconds_apart:.0f} s"
        found.insert(0, f"this machine's clock: it and Cloud Storage's are {apart} apart, so no age is known")
    alive = {
        member.id for pool in settings.pools for group in settings.groups(pool) for member in _members(look, group)
    }
    alive.discard("")
    known = _known(look.runners)
    given = alive & look.grants.keys()
    if alive and not look.grants:
        found.append(f"the broker's grants: there are none at all, and there are {len(alive)} VMs")
    listed = given & known
    if len(listed) * 2 < len(given):
        found.append(f"GitHub's runners: {len(listed)} of {len(given)} VMs that were given a configuration are listed")
    registered = alive & known
    if len(registered & look.grants.keys()) * 2 < len(registered):
        found.append(f"the broker's grants: {len(registered)} VMs are registered, and most of them have none")
    return found


def _known(runners: Sequence[RunnerSeen]) -> set[str]:
    """Ids of the VMs that registrations are of, and names that they have in lower case."""
    return {instance_id(runner.name, runner.labels) for runner in runners} | {r.name.lower() for r in runners}


def _members(look: Look, group: Group) -> tuple[Member, ...]:
    there = look.groups[group.name]
    return there.members if there is not None else ()


def _began(instance: Instance) -> float:
    """When it was made or last started, seconds since 1970."""
    return max(instance.created, instance.last_started or 0.0)


def age_text(seconds: int) -> str:
    """An age in words: minutes, or hours and minutes."""
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours} h {minutes} m" if hours else f"{minutes} m"
