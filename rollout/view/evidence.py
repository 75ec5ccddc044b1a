"""Whether a canary has shown enough to be promoted. Pure.

The rule, in four parts, each with its number in `Thresholds`:

1. enough jobs: the newest so many jobs of canary VMs came to their end with no failed boot among them;
2. everywhere: in each pool that has a canary, at least so many jobs in all;
3. long enough: so many hours since the first canary VM began;
4. nothing speaks against it: no more failed boots than allowed, and no more of them than stable has. The latter is
   Fisher's exact test, one-sided: the canary is called worse only where chance alone would make so great a difference
   in less than one of twenty cases. With few VMs hardly anything is, so part 1 asks for a run without failure.

What a job's own tests say is no evidence: a red build is its author's. Preempted, idle and refused VMs are nobody's.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from rollout.view.end_records import EndRecord, Outcome, one_each
from rollout.view.seen import Seen, Unknown

Verdict = Literal["enough", "not-enough", "against", "unknown"]

CHANCE: Final = 0.05
"""Below this, chance is no explanation any more: the customary level, and no more than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """How much is enough. The figures are our own.

    The original fleet's canaries ran for one to a few days, by its maintainers' notes, without a count of jobs.
    """

    jobs: int = 20
    """Without a failed boot between them. A fault that strikes one boot in ten shows in 20 with 88 % probability."""
    jobs_each: int = 1
    """In each pool with a canary: an image that never ran a job has shown nothing. 0 for pools that nobody asks for."""
    bake_hours: float = 24.0
    """A day has every hour of the day in it: nightly jobs, and the morning's rush."""
    most_failures: int = 3
    """Failed boots of the canary, in all, above which it is given up: a mirror's bad minute may cost one or two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How the VMs of one version ended."""

    jobs: int = 0
    failures: int = 0
    others: int = 0
    streak: int = 0
    """Jobs since the last failure."""
    reasons: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def rate(self) -> float | None:
        """Failed boots among the VMs that had a job or should have had one; None where there was none."""
        tried = self.jobs + self.failures
        return self.failures / tried if tried else None

    @property
    def text(self) -> str:
        """Such as 0 of 21 (0 %)."""
        tried = self.jobs + self.failures
        return f"{self.failures} of {tried}" + (f" ({100 * self.failures / tried:.0f} %)" if tried else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a version's VMs have shown, and what that is worth."""

    version: str
    stable: str
    verdict: Verdict
    thresholds: Thresholds
    canary: Tally = Tally()
    compared: Tally = Tally()
    """Stable's VMs in the same pools, since the first canary VM began."""
    by_pool: Mapping[str, Tally] = field(default_factory=dict[str, Tally])
    """The canary's, of each pool that has one."""
    hours: float | None = None
    """Since the first canary VM began; None where there was none."""
    chance: float | None = None
    """How often chance alone would make the canary look so bad; None where there is nothing to compare."""
    missing: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it, for people."""
        age = "no canary VM yet" if self.hours is None else f"first canary VM {self.hours:.1f} h ago"
        head = f"canary {self.version}: {self.canary.jobs} jobs, failed boots {self.canary.text}, {age}"
        compared = f"stable {self.stable}: {self.compared.jobs} jobs, failed boots {self.compared.text}"
        return (
            *([] if self.verdict == "unknown" else [head, compared]),
            *(f"unknown: {each}" for each in self.unknown),
            *(f"against it: {each}" for each in self.against),
            *(f"still missing: {each}" for each in self.missing),
            *(f"note: {each}" for each in self.notes),
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "version": self.version,
            "stable": self.stable,
            "verdict": self.verdict,
            "canary": _json(self.canary),
            "compared": _json(self.compared),
            "by_pool": {pool: _json(tally) for pool, tally in self.by_pool.items()},
            "hours": None if self.hours is None else round(self.hours, 2),
            "chance": None if self.chance is None else round(self.chance, 6),
            "thresholds": {
                "jobs": self.thresholds.jobs,
                "jobs_each": self.thresholds.jobs_each,
                "bake_hours": self.thresholds.bake_hours,
                "most_failures": self.thresholds.most_failures,
            },
            "missing": list(self.missing),
            "against": list(self.against),
            "unknown": list(self.unknown),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Living:
    """The canary's VMs that exist now."""

    since: datetime.datetime | None = None
    """When the oldest of them began."""
    silent: tuple[str, ...] = ()
    """Those that should have registered long ago and did not: what fails before it can write a record leaves no other
    trace."""


def judge(
    version: str,
    stable: str,
    records: Seen[Iterable[EndRecord]],
    *,
    pools: Collection[str],
    untried: Collection[str] = (),
    living: Living | None = None,
    now: datetime.datetime,
    thresholds: Thresholds,
) -> Evidence:
    """The verdict on `version`.

    `pools` are those that have a canary, `untried` those that have none and get the version all at once.
    """
    base = Evidence(version=version, stable=stable, verdict="unknown", thresholds=thresholds)
    if isinstance(records, Unknown):
        return replace(base, unknown=(f"how VMs ended: {records.why}",))
    listed = [record for record in one_each(records.value) if record.pool in pools]
    own = [record for record in listed if record.version == version]
    alive = living or Living()
    starts = [record.began for record in own] + ([alive.since] if alive.since else [])
    first = min(starts, default=None)
    others = [record for record in listed if record.version == stable and first and record.began >= first]
    seen = replace(
        base,
        canary=tally(own),
        compared=tally(others),
        by_pool={pool: tally([record for record in own if record.pool == pool]) for pool in sorted(pools)},
        hours=None if first is None else max(0.0, (now - first).total_seconds() / 3600),
        chance=_chance(tally(own), tally(others)),
    )
    against, missing = _against(seen), _missing(seen)
    verdict: Verdict = "against" if against else "not-enough" if missing else "enough"
    return replace(
        seen, verdict=verdict, against=against, missing=missing, notes=_notes(seen, listed, untried, alive.silent)
    )


def tally(records: Iterable[EndRecord]) -> Tally:
    """Counts ends, oldest first."""
    jobs = failures = others = streak = 0
    reasons: dict[str, int] = {}
    for record in records:
        reasons[record.reason] = reasons.get(record.reason, 0) + 1
        match record.outcome:
            case Outcome.JOB:
                jobs, streak = jobs + 1, streak + 1
            case Outcome.FAILURE:
                failures, streak = failures + 1, 0
            case Outcome.NEITHER:
                others += 1
    return Tally(jobs=jobs, failures=failures, others=others, streak=streak, reasons=reasons)


def fisher(bad: int, good: int, other_bad: int, other_good: int) -> float:
    """How often chance alone gives the first sample at least `bad` of all the bad ones.

    Fisher's exact test, one-sided: the tail of the hypergeometric distribution, in whole numbers.
    """
    drawn, all_bad, everything = bad + good, bad + other_bad, bad + good + other_bad + other_good
    ways = sum(
        math.comb(all_bad, hit) * math.comb(everything - all_bad, drawn - hit)
        for hit in range(bad, min(drawn, all_bad) + 1)
    )
    return ways / math.comb(everything, drawn)


def _chance(canary: Tally, stable: Tally) -> float | None:
    if not (canary.jobs + canary.failures and stable.jobs + stable.failures):
        return None
    return fisher(canary.failures, canary.jobs, stable.failures, stable.jobs)


def _against(seen: Evidence) -> tuple[str, ...]:
    found: list[str] = []
    most = seen.thresholds.most_failures
    reasons = ", ".join(f"{count} x {reason}" for reason, count in _failed(seen.canary).items())
    if seen.canary.failures > most:
        found.append(f"{seen.canary.failures} canary VMs failed to boot, at most {most} may: {reasons}")
    if seen.chance is not None and seen.chance < CHANCE:
        found.append(
            f"canary VMs fail more often than stable's, {seen.canary.text} against {seen.compared.text}: "
            f"chance alone does that in {100 * seen.chance:.2g} % of cases ({reasons})"
        )
    return tuple(found)


def _missing(seen: Evidence) -> tuple[str, ...]:
    found: list[str] = []
    limits, canary = seen.thresholds, seen.canary
    if canary.streak < limits.jobs:
        since = " since the last failed boot" if canary.failures else ""
        found.append(f"{canary.streak} of {limits.jobs} jobs{since}")
    idle = [pool for pool, one in seen.by_pool.items() if one.jobs < limits.jobs_each]
    if idle:
        found.append(
            f"{limits.jobs_each} {'job' if limits.jobs_each == 1 else 'jobs'} each in {_some(idle)}; "
            "a pool that follows jobs has no canary VM until a job asks for one (--jobs-each 0 goes without)"
        )
    hours = seen.hours or 0.0
    if hours < limits.bake_hours:
        found.append(f"{hours:.1f} of {limits.bake_hours:g} hours since the first canary VM")
    return tuple(found)


def _notes(
    seen: Evidence, listed: Collection[EndRecord], untried: Collection[str], silent: Collection[str]
) -> tuple[str, ...]:
    found: list[str] = []
    if silent:
        found.append(
            f"canary VMs without a runner at GitHub, {_some(sorted(silent))}: if that stays so, they fail too early "
            "to write a record; gcloud compute instances get-serial-port-output shows why"
        )
    if not seen.by_pool:
        found.append(f"{seen.version} is the canary of no pool of the stack")
    elif not listed:
        found.append(
            "no VM of these pools has written how it ended: do their images carry the Ops Agent (docs/images.md)?"
        )
    if untried:
        found.append(f"without a canary, so promoting is their first try: {', '.join(sorted(untried))}")
    if seen.canary.jobs and seen.chance is None:
        found.append("stable had no VM meanwhile, so there is nothing to compare with")
    return tuple(found)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _failed(canary: Tally) -> dict[str, int]:
    return {reason: count for reason, count in sorted(canary.reasons.items()) if reason.startswith("boot-failed:")}


def _json(one: Tally) -> dict[str, Any]:
    return {
        "jobs": one.jobs,
        "failures": one.failures,
        "others": one.others,
        "streak": one.streak,
        "rate": None if one.rate is None else round(one.rate, 4),
        "reasons": dict(one.reasons),
    }
