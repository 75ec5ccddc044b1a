"""Why a pool has no VM for a job that it serves. Pure; at least one cause, always."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fleet.schema.pool import JobsScaling
from fleet.settings import Settings
from rollout.view.causes import Cause, Code
from rollout.view.seen import Known, Unknown
from rollout.view.snapshot import GroupSeen, PoolWord, Snapshot, VmSeen
from rollout.view.standing import Listener, states, word_of
from rollout.view.vm_state import VmState

PROMPT: Final = datetime.timedelta(seconds=120)
"""Within it a job's waiting needs no other cause: GitHub assigns, the listener asks, the group answers."""

LISTENER_SAYS: Final = (
    ("the pool's maximum", Code.MAXIMUM, "wait, or raise the regions' max in the pool's YAML"),
    ("no capacity in", Code.STOCK_OUT, "wait: it is asked for again by itself; or give the pool another region"),
    ("quota:", Code.QUOTA, "ask Google for a higher quota of that region, or lower the pool's max there"),
    ("VMs cannot be created", Code.REFUSED, "scripts/rollout status shows Google's codes; often the template's image"),
    ("the group of", Code.REFUSED, "pulumi up, then the listener's log: it says what Google refuses"),
)
"""How the listener's sentences begin (functions/demand_listener/listener: decide.py and status.py)."""
LISTENER_MAKES: Final = "being made"
"""The listener's sentence about VMs to come: what the group itself says is nearer to the truth."""


@dataclass(frozen=True, slots=True)
class _Look:
    """A pool's groups as they were seen."""

    vms: tuple[tuple[VmSeen, VmState], ...]
    missing: tuple[str, ...]
    unread: tuple[str, ...]
    target: int

    def of(self, *wanted: VmState) -> list[VmSeen]:
        """The VMs in one of these states."""
        return [vm for vm, state in self.vms if state in wanted]


def pool_causes(settings: Settings, seen: Snapshot, pool: str, waited: datetime.timedelta) -> tuple[Cause, ...]:
    """All causes that the snapshot shows, and those that it leaves open."""
    look = _look(settings, seen, pool)
    listener, word = word_of(settings, seen, pool)
    found = [
        *_structure(settings, pool, look),
        *_listener(settings, listener, word),
        *_sizes(settings, pool, look, listener),
        *_vms(settings, seen, look, waited),
    ]
    if not found and word is not None and not word.waiting and waited > PROMPT:
        found.append(_not_offered(word))
    found += _open(seen, pool, look, listener)
    if found:
        return tuple(found)
    return (_new(waited) if waited <= PROMPT else _unexplained(),)


def _look(settings: Settings, seen: Snapshot, pool: str) -> _Look:
    vms: list[tuple[VmSeen, VmState]] = []
    missing: list[str] = []
    unread: list[str] = []
    target = 0
    for group in settings.groups(pool):
        match seen.groups.get(group.name, Unknown("it was not looked at")):
            case Known(GroupSeen() as there):
                vms += states(settings, seen, there.vms)
                target += there.target
            case Known(None):
                missing.append(group.name)
            case Unknown(why):
                unread.append(f"group {group.name} ({why})")
            case _:
                pass
    return _Look(tuple(vms), tuple(missing), tuple(unread), target)


def _structure(settings: Settings, pool: str, look: _Look) -> Iterator[Cause]:
    groups = settings.groups(pool)
    if look.missing:
        all_of_them = "none of its groups exists" if len(look.missing) == len(groups) else "it is not there in full"
        yield Cause(
            code=Code.NOT_DEPLOYED,
            says=f"{all_of_them}: Compute Engine has no {', '.join(look.missing)}",
            fix=f"deploy: pulumi up --stack {settings.environment}",
        )
    if not sum(group.max for group in groups):
        yield Cause(
            code=Code.ZERO,
            says="the pool's maximum is 0 in every region",
            fix=f"raise max under pools.{pool}.regions in Pulumi.{settings.environment}.yaml",
        )


def _listener(settings: Settings, listener: Listener, word: PoolWord | None) -> Iterator[Cause]:
    if listener is Listener.SILENT:
        job = settings.names.function("listener")
        yield Cause(
            code=Code.LISTENER,
            says="the demand listener is silent: nobody asks for VMs",
            fix=f"gcloud scheduler jobs run {job}-even --location {settings.google.services_region}; "
            "then docs/runbooks/job-waits.md",
        )
    if word is None:
        return
    for reason in word.reasons:
        known = next((row for row in LISTENER_SAYS if reason.startswith(row[0])), None)
        if known is not None:
            yield Cause(code=known[1], says=_with_times(reason, word), fix=known[2])
        elif LISTENER_MAKES not in reason:
            yield Cause(code=Code.REFUSED, says=reason, fix="docs/runbooks/job-waits.md")


def _with_times(reason: str, word: PoolWord) -> str:
    """A sentence about capacity, with the time of the next attempt."""
    ours = [short for short in word.stockouts if short.until and short.region in reason]
    if not ours or not reason.startswith("no capacity"):
        return reason
    until = max(short.until for short in ours if short.until)
    return f"{reason} UTC; asked for again at {until:%H:%M} UTC"


def _sizes(settings: Settings, pool: str, look: _Look, listener: Listener) -> Iterator[Cause]:
    """A full pool of which nobody says so: it does not follow jobs, or its listener is silent."""
    most = sum(group.max for group in settings.groups(pool))
    if listener is Listener.SPEAKS or look.unread or look.missing or not most:
        return
    busy = len(look.of(VmState.BUSY))
    if look.target >= most and busy >= most:
        says = f"all {most} VMs that it may have are there, and have jobs"
        yield Cause(code=Code.MAXIMUM, says=says, fix="wait, or raise the regions' max in the pool's YAML")
    elif listener is Listener.NONE and busy and busy == len(look.vms):
        signal = settings.pools[pool].scaling.signal
        says = f"all its {busy} VMs have jobs, and its size follows {signal}, not jobs"
        yield Cause(code=Code.BUSY, says=says, fix=f"wait, or let the pool follow jobs (pools.{pool}.scaling)")
    elif listener is Listener.NONE and not look.vms:
        signal = settings.pools[pool].scaling.signal
        says = f"it has no VM, and its size follows {signal}, not jobs"
        yield Cause(code=Code.BUSY, says=says, fix=f"raise min, or let the pool follow jobs (pools.{pool}.scaling)")


def _vms(settings: Settings, seen: Snapshot, look: _Look, waited: datetime.timedelta) -> Iterator[Cause]:
    late = look.of(VmState.UNREGISTERED, VmState.OFFLINE)
    if late:
        yield _boot(settings, late)
    stuck = look.of(VmState.STUCK)
    if stuck:
        codes = ", ".join(sorted({code for vm in stuck for code in vm.errors}))
        yield Cause(
            code=Code.STOCK_OUT if "EXHAUSTED" in codes else Code.QUOTA if "QUOTA" in codes else Code.REFUSED,
            says=f"its groups cannot make {len(stuck)} VM{'' if len(stuck) == 1 else 's'}: {codes}",
            fix="groups try again by themselves; give the pool another region if it lasts",
        )
    resumed = [vm for vm in look.of(VmState.STARTING) if vm.action in {"RESUMING", "STARTING"}]
    if resumed:
        says = f"{_vms_are(len(resumed))} being taken out of the reserve"
        yield Cause(code=Code.RESERVE, says=says, fix="wait: a suspended VM takes seconds, a stopped one a boot")
    coming = [vm for vm in look.of(VmState.STARTING) if vm not in resumed]
    if coming:
        oldest = min((vm.started for vm in coming if vm.started), default=None)
        since = f", the oldest for {(seen.at - oldest).total_seconds() / 60:.0f} min" if oldest else ""
        limit = settings.lifecycle.boot_deadline_seconds / 60
        yield Cause(
            code=Code.COMING,
            says=f"{_vms_are(len(coming))} starting{since}; a boot that takes over {limit:g} min ends itself",
            fix="wait",
        )
    idle = look.of(VmState.IDLE)
    if idle:
        long = waited > PROMPT
        one = len(idle) == 1
        yield Cause(
            code=Code.ASSIGNING,
            says=f"{len(idle)} of its runners {'is' if one else 'are'} idle, and GitHub has given the job to none"
            + (f" for {waited.total_seconds() / 60:.0f} min" if long else " yet"),
            fix="docs/runbooks/github-outage.md" if long else "wait: GitHub takes up to a minute",
        )


def _boot(settings: Settings, late: list[VmSeen]) -> Cause:
    canary = settings.rollout.canary
    what = f"{len(late)} VM{'' if len(late) == 1 else 's'} did not register in time, or lost the connection"
    if canary and all(vm.version == canary for vm in late):
        return Cause(
            code=Code.CANARY,
            says=f"{what}, all of the canary {canary}",
            fix=f"docs/runbooks/bad-canary.md: scripts/rollout rollback --stack {settings.environment}",
        )
    versions = ", ".join(sorted({vm.version or "another template" for vm in late}))
    return Cause(code=Code.BOOT, says=f"{what} ({versions})", fix="docs/runbooks/stuck-runners.md")


def _not_offered(word: PoolWord) -> Cause:
    return Cause(
        code=Code.NOT_OFFERED,
        says=f"the demand listener hears of {word.assigned} jobs, none of which waits: GitHub has not offered this one",
        fix="GitHub matches labels and runner group by itself: run this again in a minute; "
        "if it stays so, cancel and re-run the job",
    )


def _open(seen: Snapshot, pool: str, look: _Look, listener: Listener) -> Iterator[Cause]:
    """What could not be read, and might hold the cause."""
    sources = list(look.unread)
    if listener is Listener.UNKNOWN and isinstance(seen.words, Unknown):
        sources.append(f"the listener's records ({seen.words.why})")
    if isinstance(seen.runners, Unknown):
        sources.append(f"GitHub's runners ({seen.runners.why})")
    if isinstance(seen.runner_groups, Unknown):
        sources.append(f"GitHub's runner groups ({seen.runner_groups.why})")
    if sources:
        says = f"not known: {'; '.join(sources)}"
        yield Cause(code=Code.UNKNOWN, says=says, fix=f"mend that access, and ask again (pool {pool})")


def _new(waited: datetime.timedelta) -> Cause:
    return Cause(
        code=Code.NEW,
        says=f"it was queued {waited.total_seconds():.0f} s ago; GitHub, listener and group take a moment",
        fix="wait a minute, and ask again",
    )


def _unexplained() -> Cause:
    return Cause(
        code=Code.UNEXPLAINED,
        says="everything could be read, and nothing of it explains the waiting",
        fix="docs/runbooks/github-outage.md; then docs/runbooks/job-waits.md from its top",
    )


def _vms_are(count: int) -> str:
    return f"{count} VM{' is' if count == 1 else 's are'}"


def follows_jobs(settings: Settings, pool: str) -> bool:
    """Whether the pool has no VM beyond its idle ones until a job asks."""
    return isinstance(settings.pools[pool].scaling, JobsScaling)
