"""Random fleets whose truth is known, seen through sources that lie within their known ways; `judge` decides upon them.

`reconciler.decide` runs here as it is. VMs boot, get a configuration or not, take one job, lose their registration
under it, hang, are preempted, are suspended, or escape Compute Engine's limit. What `judge` is shown lies:

- GitHub's `busy` and `status` are late by a minute or simply wrong, a listing skips an entry, a registration is listed
  a minute late or a minute too long, a whole listing fails, is empty, or is half empty;
- a group fails, lists nothing, or lost a VM that lives on; single looks fail; grants fail, are
  another bucket's, or lack some for once;
- clocks differ by a minute; runs come late, twice, or not for an hour.

Whatever a plan would end is held against the truth. `python -m tests.functions.reconciler.reconciler_model` prints how
many worlds were looked at and what each kind of remedy was used for.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from reconciler import decide, fleet_table
from reconciler.findings import Kind, Verb
from reconciler.limits import Limits
from reconciler.memory import Memory
from reconciler.observation import (
    Facts,
    GrantEntry,
    GrantRecord,
    GroupLook,
    Lease,
    Observation,
    PoolRecord,
    Runner,
    Vm,
)

from tests.functions.reconciler.reconciler_world import CPU, FIXED, JOBS, JOBS_EAST, table

LIMITS = Limits(dry_run=False, most_percent=20, boot_deadline_seconds=600, max_run_seconds=7200)
SKEW_SECONDS = 60
LAG_SECONDS = 60
STEP_SECONDS = 30
RESERVE = CPU
"""The group that keeps VMs suspended."""


@dataclass(kw_only=True)
class Machine:
    """A VM as it truly is."""

    id: str
    name: str
    group: str
    created: float
    most_seconds: float
    broken: bool
    """It never asks for a configuration."""
    escapes: bool
    """Compute Engine does not end it."""
    gone: bool = False
    abandoned: bool = False
    """Somebody took it out of its group."""
    suspended: bool = False
    was_suspended: bool = False
    grant: str = ""
    granted: float = 0.0
    has_config: bool = False
    had_job: bool = False
    job_until: float = 0.0
    job_since: float = 0.0

    def works(self, now: float) -> bool:
        """Whether its worker runs."""
        return not self.gone and self.job_since <= now < self.job_until


@dataclass(kw_only=True)
class Registration:
    """A runner as GitHub has it."""

    id: int
    machine: Machine
    created: float
    online: bool = False
    removed: float | None = None


@dataclass(kw_only=True)
class Truth:
    """A fleet."""

    dice: random.Random
    now: float = 1_800_000_000.0
    machines: list[Machine] = field(default_factory=list)
    registrations: list[Registration] = field(default_factory=list)
    placeholders: Counter[str] = field(default_factory=Counter)
    cleared: set[str] = field(default_factory=set)
    """Instance ids whose grants are gone."""
    _number: int = 0

    def alive(self, group: str) -> list[Machine]:
        """A group's VMs."""
        return [one for one in self.machines if one.group == group and not one.gone and not one.abandoned]

    def expired(self) -> set[str]:
        """Whose grants the bucket's lifecycle has cleared up."""
        return {one.id for one in self.machines if one.grant and self.now - one.granted > LIMITS.max_run_seconds}

    def registration(self, machine: Machine) -> Registration | None:
        """What GitHub has of a VM."""
        return next((one for one in self.registrations if one.machine is machine and one.removed is None), None)

    def pass_time(self, seconds: float) -> None:
        """Everything that happens meanwhile."""
        end = self.now + seconds
        step = STEP_SECONDS if seconds < 10_000 else 20 * STEP_SECONDS
        while self.now < end:
            self.now += step
            for group in (JOBS, JOBS_EAST, CPU, FIXED):
                while len(self.alive(group)) < 3:
                    self._make(group)
            for machine in self.machines:
                if not machine.gone:
                    self._live(machine)
            self.machines = [one for one in self.machines if not one.gone or self.now - one.granted < 5 * 86_400]

    def _make(self, group: str) -> None:
        self._number += 1
        chance = self.dice.random
        taken = {one.name for one in self.machines if not one.gone}
        names = [f"{group.rpartition('-')[0]}-{number:04}" for number in range(40)]
        self.machines.append(
            Machine(
                id=str(10**18 + self._number),
                name=self.dice.choice([name for name in names if name not in taken]),
                group=group,
                created=self.now,
                most_seconds=LIMITS.max_run_seconds * (3 if chance() < 0.2 else 1),
                broken=chance() < 0.25,
                escapes=chance() < 0.2,
            )
        )

    def _live(self, machine: Machine) -> None:
        chance = self.dice.random
        machine.abandoned = machine.abandoned or chance() < 0.003
        age = self.now - machine.created
        runner = self.registration(machine)
        if age > machine.most_seconds and not machine.escapes:
            self._end(machine)
        elif machine.had_job:
            self._work(machine, runner)
        elif machine.suspended:
            machine.suspended = chance() < 0.98
        elif machine.has_config:
            self._wait_for_a_job(machine, runner)
        elif not machine.grant:
            self._boot(machine, age)
        elif chance() < 0.05:
            self._end(machine)

    def _work(self, machine: Machine, runner: Registration | None) -> None:
        works = machine.works(self.now)
        if runner and (not works or self.dice.random() < 0.01):
            runner.removed = self.now  # GitHub lets it be deleted also while the job runs
        if not works and not machine.broken and self.dice.random() < 0.3:
            self._end(machine)

    def _boot(self, machine: Machine, age: float) -> None:
        chance = self.dice.random
        if machine.group == RESERVE and chance() < 0.05:
            machine.suspended = machine.was_suspended = True
            return
        skew = self.dice.uniform(-SKEW_SECONDS, SKEW_SECONDS)
        late = age + skew > LIMITS.boot_deadline_seconds and machine.group != RESERVE
        if machine.broken or late or age < 120 or chance() > 0.2:
            return
        end = chance()
        if end < 0.1:
            return  # GitHub did nothing: the grant is given back
        machine.granted = self.now
        machine.grant = "registered" if end < 0.7 else "registering" if end < 0.85 else "unknown"
        machine.has_config = machine.grant == "registered" or (machine.grant == "registering" and chance() < 0.5)
        if machine.has_config or chance() < 0.5:
            self.registrations.append(Registration(id=len(self.registrations) + 1, machine=machine, created=self.now))

    def _wait_for_a_job(self, machine: Machine, runner: Registration | None) -> None:
        chance = self.dice.random
        most = machine.created + machine.most_seconds - self.now
        if runner and not runner.online:
            runner.online = chance() < 0.5
        elif chance() < 0.05 and most > 0:
            # Also without a registration: it was removed just as the job was on its way.
            machine.had_job, machine.job_since = True, self.now
            machine.job_until = self.now + self.dice.uniform(0, most)
        elif chance() < 0.02 and runner:
            runner.removed = self.now
        elif chance() < 0.01:
            self._end(machine)

    def _end(self, machine: Machine) -> None:
        machine.gone = True
        for runner in self.registrations:
            if runner.machine is machine:
                runner.online = False
                if runner.removed is None and self.dice.random() < 0.5:
                    runner.removed = self.now


class Sources:
    """What the sources say of a truth, in one run."""

    def __init__(self, truth: Truth, dice: random.Random, *, honest: bool) -> None:
        self._truth = truth
        self._dice = dice
        self._honest = honest
        self._left: Counter[str] = Counter()
        self._cut = False
        """Whether the last list of grants lacked some. That never happens twice in a row."""

    def _fails(self, source: str) -> bool:
        """Whether a source fails in this run. It may do so for up to three in a row."""
        if not self._left[source] and self._lies(0.05):
            self._left[source] = self._dice.randrange(1, 4)
        self._left[source] -= bool(self._left[source])
        return bool(self._left[source])

    def _lies(self, share: float) -> bool:
        return not self._honest and self._dice.random() < share

    def observe(self) -> Observation:
        """One run's observation."""
        fleet = fleet_table.parse(_TABLE)
        truth, now = self._truth, self._truth.now
        skipped = self._skipped()
        listings = (self._listing(skipped, first=True), self._listing(skipped, first=False))
        if self._fails("empty listings"):
            listings = ({}, {})
        elif self._fails("cut listings"):
            kept = [dict(list(one.items())[: len(one) // 3]) for one in listings]
            listings = (kept[0], kept[1])
        groups: dict[str, GroupLook | None] = {}
        for name in fleet.groups:
            groups[name] = None if self._fails(name) else self._group(name)
        granted = {one.id: one for one in truth.machines if one.grant and one.id not in truth.cleared}
        grants: dict[str, GrantEntry] | None = {
            one.id: GrantEntry(instance_id=one.id, generation="1", updated=one.granted) for one in granted.values()
        }
        if self._fails("grants"):
            grants = None
        elif self._fails("another bucket"):
            grants = {}
        elif not self._cut and self._lies(0.1):
            grants = {key: grant for key, grant in grants.items() if self._dice.random() < 0.7}
            self._cut = True
        else:
            self._cut = False
        records = {
            one.id: GrantRecord(
                state=one.grant, instance=one.name, zone=_zone(one), group=one.group, pool="", runner_id=None
            )
            for one in granted.values()
            if not self._lies(0.1)
        }
        return Observation(
            fleet=fleet,
            listings=None if self._fails("listings") else listings,
            runner_groups=frozenset({"presubmit"}),
            groups=groups,
            grants=grants,
            permits={},
            wanted={name: self._dice.randrange(5) for name in (JOBS, JOBS_EAST) if not self._lies(0.3)},
            pool_records={"presubmit-cpu": PoolRecord(pool="presubmit-cpu", expires=now + 60)},
            lease=Lease(held=True, renewed=now),
            records=records,
            instances=self._instances(),
        )

    def _skipped(self) -> dict[int, bool]:
        """Runners that one of the two listings skips: whether it is the first."""
        return {one.id: self._dice.random() < 0.5 for one in self._truth.registrations if self._lies(0.1)}

    def _listing(self, skipped: dict[int, bool], *, first: bool) -> dict[int, Runner]:
        found: dict[int, Runner] = {}
        now = self._truth.now
        for one in self._truth.registrations:
            gone = one.removed is not None and not (now - one.removed < LAG_SECONDS and self._lies(0.5))
            unseen = now - one.created < LAG_SECONDS and self._lies(0.5)
            if gone or unseen or skipped.get(one.id) is first:
                continue
            works = one.machine.works(now - (LAG_SECONDS if self._lies(0.5) else 0))
            found[one.id] = Runner(
                id=one.id,
                name=one.machine.name,
                online=one.online and not self._lies(0.1),
                busy=works and not self._lies(0.1),
                labelled=True,
                instance_id=one.machine.id,
                zone=_zone(one.machine),
                version="",
            )
        return found

    def _group(self, name: str) -> GroupLook:
        vms = tuple(
            Vm(
                id=one.id,
                name=one.name,
                zone=_zone(one),
                status="SUSPENDED" if one.suspended else "RUNNING",
                action="NONE",
                meant_to_run=not one.suspended,
                errors=(),
                health="",
            )
            for one in self._truth.alive(name)
        )
        stuck = tuple(
            Vm(
                id="",
                name=f"{name.rpartition('-')[0]}-x{number:03}",
                zone="us-west1-b",
                status="",
                action="CREATING",
                meant_to_run=True,
                errors=("STOCKED_OUT",),
                health="",
            )
            for number in range(self._truth.placeholders[name])
        )
        members = () if self._fails(f"members of {name}") else vms + stuck
        return GroupLook(
            base=name.rpartition("-")[0],
            target=len(vms) + len(stuck),
            keeps_reserve=name == RESERVE,
            members=members,
        )

    def _instances(self) -> dict[tuple[str, str], Facts | None]:
        found: dict[tuple[str, str], Facts | None] = {}
        for one in sorted(self._truth.machines, key=lambda one: not one.gone):
            found[_zone(one), one.name] = (
                None
                if one.gone
                else Facts(
                    id=one.id,
                    started=None if one.was_suspended else one.created,
                    most_seconds=int(one.most_seconds),
                )
            )
        return {place: facts for place, facts in found.items() if not self._lies(0.1)}


def _zone(machine: Machine) -> str:
    # Two alive at once may have one name only in different groups, and each of those has a zone of its own.
    return {JOBS: "us-west1-a", JOBS_EAST: "us-east1-a", CPU: "us-west1-c", FIXED: "us-west1-d"}[machine.group]


def _table() -> str:
    groups = {JOBS: ("presubmit-cpu", "jobs"), JOBS_EAST: ("presubmit-cpu", "jobs"), CPU: ("postsubmit-cpu", "cpu")}
    return json.dumps(table({**groups, FIXED: ("a100", "fixed")}))


_TABLE = _table()


@dataclass(kw_only=True)
class Verdict:
    """What a world came to."""

    wrongs: list[str] = field(default_factory=list)
    used: Counter[Kind] = field(default_factory=Counter)


def play(seed: int, *, runs: int = 30, honest: bool = False, limits: Limits = LIMITS) -> Verdict:
    """One world and all that `judge` would do to it."""
    dice = random.Random(seed)
    truth = Truth(dice=dice)
    memory, verdict = Memory(), Verdict()
    sources = Sources(truth, dice, honest=honest)
    for _ in range(runs):
        truth.pass_time(60_000 if dice.random() < 0.04 else dice.choice((60, 300, 300, 300, 600, 2500)))
        truth.placeholders = Counter({JOBS: dice.randrange(3), JOBS_EAST: dice.randrange(3)})
        if dice.random() < 0.1:
            truth.cleared |= truth.expired()
        skew = 0.0 if honest else dice.uniform(-SKEW_SECONDS, SKEW_SECONDS)
        memory = _run(truth, memory, verdict, limits, sources.observe(), skew)
    verdict.wrongs = [f"seed {seed}: {wrong}" for wrong in verdict.wrongs]
    return verdict


def clear_up(seed: int, runs: int) -> decide.Plan:
    """The plan after so many runs in which nothing else happens and nobody lies."""
    dice = random.Random(seed)
    truth = Truth(dice=dice)
    for _ in range(4):
        truth.pass_time(5000)
    truth.placeholders = Counter({JOBS: 2})
    memory, verdict = Memory(), Verdict()
    for _ in range(runs):
        truth.now += 300
        memory = _run(truth, memory, verdict, LIMITS, Sources(truth, dice, honest=True).observe(), 0.0)
    return decide.judge(memory, Sources(truth, dice, honest=True).observe(), LIMITS, truth.now + 300)


def _run(truth: Truth, memory: Memory, verdict: Verdict, limits: Limits, seen: Observation, skew: float) -> Memory:
    plan = decide.judge(memory, seen, limits, truth.now + skew)
    for decision in plan.decisions:
        if decision.remedy is not None:
            verdict.wrongs += _wrong(truth, decision, limits)
    verdict.wrongs += _too_much(seen, plan, limits)
    _carry_out(truth, plan, verdict)
    return plan.memory


def _wrong(truth: Truth, decision: decide.Decision, limits: Limits) -> Iterator[str]:
    """What is wrong with one thing that is to be done."""
    remedy, finding = decision.remedy, decision.finding
    assert remedy is not None
    machine = next((one for one in truth.machines if one.id == remedy.instance_id), None)
    runner = next((one for one in truth.registrations if one.id == remedy.runner_id), None)
    if limits.dry_run:
        yield f"a dry run acts: {finding.because}"
    if remedy.verb is Verb.END_VM:
        assert machine is not None
        yield from _ended(machine, finding.kind, truth.now)
    elif runner is not None and not runner.machine.gone:
        yield f"deregistered, and its VM is there: {runner.machine}"
    elif remedy.verb is Verb.REMOVE_GRANT and machine is not None and not machine.gone:
        yield f"a grant of a VM that is there: {machine}"


def _too_much(seen: Observation, plan: decide.Plan, limits: Limits) -> Iterator[str]:
    """What is wrong with all of it together."""
    due = [(decision.finding.pool, decision.remedy) for decision in plan.decisions if decision.remedy is not None]
    dropped = Counter(remedy.group for _, remedy in due if remedy.verb is Verb.DROP_PLACEHOLDER)
    for group, count in dropped.items():
        look = seen.groups[group]
        assert look is not None
        if look.target - count < seen.wanted[group]:
            yield f"{group} shrinks below what the jobs want"
    ended = Counter(pool for pool, remedy in due if remedy.verb in {Verb.END_VM, Verb.DROP_PLACEHOLDER})
    for pool, count in ended.items():
        looks = [seen.groups[group.name] for group in seen.fleet.pool(pool)]
        members = sum(len(look.members) for look in looks if look is not None)
        if count > max(1, members * limits.most_percent // 100):
            yield f"{count} of {members} VMs of {pool} at once"


def _ended(machine: Machine, kind: Kind, now: float) -> Iterator[str]:
    if machine.gone or machine.suspended:
        yield f"ended, and gone or asleep: {machine}"
    if machine.works(now):
        yield f"ended under its worker: {machine}"
    if kind is Kind.UNREGISTERED and machine.has_config:
        yield f"ended for want of a configuration that it has: {machine}"
    may_register = now - machine.created <= LIMITS.boot_deadline_seconds + SKEW_SECONDS or machine.group == RESERVE
    if kind is Kind.UNREGISTERED and may_register and not machine.grant:
        yield f"ended while it could still register: {machine}"


def _carry_out(truth: Truth, plan: decide.Plan, verdict: Verdict) -> None:
    for decision in plan.decisions:
        remedy = decision.remedy
        if remedy is None:
            continue
        verdict.used[decision.finding.kind] += 1
        if remedy.verb is Verb.DROP_PLACEHOLDER:
            truth.placeholders[remedy.group] -= 1
        for machine in truth.machines:
            if machine.id == remedy.instance_id and remedy.verb is Verb.END_VM:
                machine.gone = True
            elif machine.id == remedy.instance_id and remedy.verb is Verb.REMOVE_GRANT:
                truth.cleared.add(machine.id)
        for runner in truth.registrations:
            if runner.id == remedy.runner_id:
                runner.removed = truth.now


def main() -> None:
    """Many worlds, and what they came to."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    used: Counter[Kind] = Counter()
    wrongs: list[str] = []
    for seed in range(count):
        verdict = play(seed)
        used += verdict.used
        wrongs += verdict.wrongs
    sys.stdout.write(f"{count} worlds of 30 runs each; wrong: {len(wrongs)}\n")
    sys.stdout.write("".join(f"  {kind.value}: {times}\n" for kind, times in sorted(used.items(), key=str)))
    sys.stdout.write("".join(f"{wrong}\n" for wrong in wrongs[:10]))


if __name__ == "__main__":
    main()
