"""Findings about VMs: without a registration, past their age, and those that a group cannot make. Pure.

What can never be proved from outside is that a VM does nothing: GitHub drops an ephemeral runner's registration when
its job ends and lets it be deleted while one runs, and its flags are late. So a VM goes only where it cannot have a
job: it was never given a configuration and is too old to get one, or it runs longer than any VM may. Everything else is
reported, and ends by its own rules or, at last, by Compute Engine's limit on its run. So is what an operator holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .doubt import Doubts
from .findings import Finding, Kind, Remedy, Verb
from .fleet_table import Group
from .limits import AGE_MARGIN_SECONDS, REGISTRATION_MARGIN_SECONDS, Limits
from .observation import Facts, GroupLook, Observation, Runner, Vm


class Registered:
    """Which VMs GitHub has a runner of, in either listing: absence counts only where both lack it."""

    def __init__(self, seen: Observation) -> None:
        self._by_id: dict[str, list[Runner]] = {}
        self._by_name: dict[str, list[Runner]] = {}
        for listing in seen.listings or ():
            for runner in listing.values():
                self._by_id.setdefault(runner.instance_id, []).append(runner)
                self._by_name.setdefault(runner.name.lower(), []).append(runner)

    def of(self, vm: Vm) -> list[Runner]:
        """The runners that are, or may be, a VM's."""
        return [*self._by_id.get(vm.id, ()), *self._by_name.get(vm.name, ())]


def stands(vm: Vm) -> bool:
    """Whether a VM runs and its group leaves it alone."""
    return bool(vm.id) and vm.status == "RUNNING" and vm.action == "NONE"


def suspects(seen: Observation, limits: Limits, now: float) -> Iterator[tuple[Group, Vm]]:
    """The VMs whose own facts a run must look up: no registration, or no grant that is younger than a VM may be."""
    registered = Registered(seen)
    for name, look in seen.groups.items():
        for vm in look.vms if look is not None else ():
            grant = None if seen.grants is None else seen.grants.get(vm.id)
            old = seen.grants is not None and (grant is None or now - grant.updated > limits.max_run_seconds)
            absent = seen.listings is not None and not registered.of(vm)
            if stands(vm) and (old or absent):
                yield seen.fleet.groups[name], vm


def findings(seen: Observation, doubts: Doubts, limits: Limits, now: float) -> list[Finding]:
    """All about VMs, of the groups that are believed."""
    found: list[Finding] = []
    registered = Registered(seen)
    for group, vm in suspects(seen, limits, now):
        look, facts = seen.groups[group.name], seen.instances.get((vm.zone, vm.name))
        if look is None or group.name in doubts.groups or facts is None or facts.id != vm.id:
            continue
        judge = _Judge(seen, doubts, limits, now, group, registered.of(vm))
        one = judge.past_age(vm, look, facts) or judge.unregistered(vm, look, facts)
        found += [one] if one else []
    for name, look in seen.groups.items():
        if look is not None and name not in doubts.groups:
            found += _placeholders(seen, seen.fleet.groups[name], look)
    return found


class _Judge:
    """The judgement of one suspect."""

    def __init__(
        self, seen: Observation, doubts: Doubts, limits: Limits, now: float, group: Group, runners: list[Runner]
    ) -> None:
        """`runners` are the VM's own, in either listing."""
        self._seen = seen
        self._doubts = doubts
        self._limits = limits
        self._now = now
        self._group = group
        self._runners = runners

    def unregistered(self, vm: Vm, look: GroupLook, facts: Facts) -> Finding | None:
        """A VM that GitHub does not list although it is old enough to be registered."""
        if self._doubts.runners or self._runners:
            return None
        seconds = None if facts.started is None else self._now - facts.started
        if seconds is not None and seconds <= self._limits.registered_by_seconds:
            return None
        missing = "an operator holds it" if facts.held(self._now) else self._unproved(vm, look, seconds)
        grant = "was given none" if vm.id not in (self._seen.grants or {}) else "lost its only one"
        age = "of unknown age" if seconds is None else f"{seconds:.0f} s after it began"
        return self._finding(
            Kind.UNREGISTERED,
            vm,
            missing or f"{age}, GitHub lists no runner of it, it {grant}, and it is too old for another",
            seconds,
            proved=not missing,
        )

    def _unproved(self, vm: Vm, look: GroupLook, seconds: float | None) -> str:
        """What is missing to the proof that an unregistered VM never had a configuration; empty where nothing is."""
        grant, record = (self._seen.grants or {}).get(vm.id), self._seen.records.get(vm.id)
        if self._doubts.grants:
            return "GitHub lists no runner of it; whether it was given a configuration cannot be told"
        if look.keeps_reserve or not vm.meant_to_run or seconds is None:
            return "GitHub lists no runner of it; it may come from its group's reserve and register yet"
        if seconds > self._limits.max_run_seconds:
            # Grants are kept for little longer than that, so none proves nothing any more.
            return "GitHub lists no runner of it; its grant, if it had one, may have been cleared up"
        if grant is None:
            return ""
        if record is None:
            return "GitHub lists no runner of it; its grant cannot be read"
        if record.state != "unknown":
            return "it was given a configuration, and its runner is gone: its job may run, or it is about to end"
        if self._now - grant.updated <= REGISTRATION_MARGIN_SECONDS:
            return "GitHub lists no runner of it; its grant is fresh"
        return ""

    def past_age(self, vm: Vm, look: GroupLook, facts: Facts) -> Finding | None:
        """A VM that runs for longer than Compute Engine should have let it."""
        if facts.started is None or look.keeps_reserve:
            return None
        seconds = self._now - facts.started
        most = max(self._limits.max_run_seconds, facts.most_seconds)
        if seconds <= most + AGE_MARGIN_SECONDS:
            return None
        missing = ""
        if facts.held(self._now):
            missing = "an operator holds it"
        elif self._doubts.runners:
            missing = "whether its runner has a job cannot be told"
        elif any(runner.busy for runner in self._runners):
            missing = "its runner has a job"
        because = f"it runs for {seconds:.0f} s, and {most} s is the longest"
        return self._finding(
            Kind.PAST_AGE, vm, f"{because}; {missing}" if missing else because, seconds, proved=not missing
        )

    def _finding(self, kind: Kind, vm: Vm, because: str, seconds: float | None, *, proved: bool) -> Finding:
        record = self._seen.records.get(vm.id)
        return Finding(
            kind=kind,
            pool=self._group.pool,
            subject=vm.id,
            because=because,
            remedy=self._end(vm) if proved else None,
            evidence={
                "group": self._group.name,
                "instance": vm.name,
                "zone": vm.zone,
                "age_seconds": None if seconds is None else round(seconds),
                "health": vm.health,
                "grant": record.state if record else "",
            },
        )

    def _end(self, vm: Vm) -> Remedy:
        grant = (self._seen.grants or {}).get(vm.id)
        return Remedy(
            verb=Verb.END_VM,
            group=self._group.name,
            instance_id=vm.id,
            name=vm.name,
            zone=vm.zone,
            generation=grant.generation if grant else "",
        )


def _placeholders(seen: Observation, group: Group, look: GroupLook) -> list[Finding]:
    """What a group cannot make. It goes where the jobs do not want it; a VM that exists is none, and never goes."""
    stuck = [vm for vm in look.members if not vm.id and vm.action == "CREATING" and vm.errors]
    wanted = seen.wanted.get(group.name) if group.signal == "jobs" else None
    beyond = 0 if wanted is None else max(0, look.target - max(wanted, group.min))
    if group.signal != "jobs":
        kept = f"its pool follows {group.signal}, which alone sizes its groups"
    elif wanted is None:
        kept = "nobody says validly how many VMs the jobs want"
    else:
        kept = f"the jobs want {wanted} VMs of its group"
    found: list[Finding] = []
    # The target size does not count what is for the reserve, so no size lets it go. It comes last.
    for number, vm in enumerate(sorted(stuck, key=lambda vm: (not vm.meant_to_run, vm.name))):
        goes = vm.meant_to_run and number < beyond
        because = f"its group cannot make it ({', '.join(sorted(set(vm.errors)))})"
        fate = kept if vm.meant_to_run else "it is for the reserve"
        if goes:
            fate = f"the jobs want {wanted} VMs of a group of {look.target}"
        found.append(
            Finding(
                kind=Kind.PLACEHOLDER,
                pool=group.pool,
                subject=f"{group.name}/{vm.name}",
                because=f"{because}; {fate}",
                remedy=_drop(group, vm) if goes else None,
                evidence={"group": group.name, "zone": vm.zone, "target": look.target, "wanted": wanted},
            )
        )
    return found


def _drop(group: Group, vm: Vm) -> Remedy:
    return Remedy(verb=Verb.DROP_PLACEHOLDER, group=group.name, name=vm.name, zone=vm.zone)


def unmade(members: Iterable[Vm], name: str) -> bool:
    """Whether a group still lists a VM of that name that does not exist: for the last look before it is dropped."""
    return any(vm.name == name and not vm.id and vm.action == "CREATING" and vm.errors for vm in members)
