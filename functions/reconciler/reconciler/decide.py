"""What one run decides, pure: `judge` makes a plan of what was seen and of what earlier runs saw.

Something is done about a finding only when all of this holds:

- two independent sources prove it: the finding has a remedy (`vms`, `runners`, `records`);
- the run before had the same proof, and the proof is `SETTLE_SECONDS` old;
- its share of this run is not used up: `most_percent` of the pool's VMs, of its registrations, or of all grants, and
  always one;
- the run is no dry one, and its clock is right.

So a run that is told nothing does nothing, and whatever is wrong for once is wrong in a report only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from . import records, runners, vms
from .doubt import Doubts, doubts, expectations
from .findings import Finding, Kind, Remedy, Verb
from .limits import APART_SECONDS, SETTLE_SECONDS, Limits
from .memory import Memory, Sighting
from .observation import Observation

NONE = "none"
"""The action of what is only reported."""

CLOCK = "clock"
"""The failure that leaves nothing proved: every proof rests on an age."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A finding, and what is done about it."""

    finding: Finding
    sighting: Sighting
    action: str
    """NONE, "would …" in a dry run, else the remedy's verb, which is still to be carried out."""
    why_not: str = ""
    """Why nothing is done, where a remedy is known; else empty."""

    @property
    def remedy(self) -> Remedy | None:
        """What is to be carried out."""
        remedy = self.finding.remedy
        return remedy if remedy is not None and self.action == remedy.verb.value else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that a run decides."""

    decisions: tuple[Decision, ...]
    memory: Memory
    """For the next run, without a claim, before anything is carried out."""
    gauges: Mapping[tuple[str, str], int]
    """By pool and name. One whose source is in doubt is left out."""


def judge(memory: Memory, seen: Observation, limits: Limits, now: float) -> Plan:
    """The plan of a run that has seen this at `now`, seconds since 1970."""
    doubted = doubts(seen, memory.counts)
    found = [*_findings(seen, doubted, limits, now)]
    if CLOCK in seen.failures:
        found = [replace(finding, remedy=None) for finding in found]
    sightings = {finding.key: _sighting(memory, finding, now) for finding in found}
    decisions = _decisions(seen, found, sightings, limits, now)
    return Plan(
        decisions=tuple(decisions),
        memory=Memory(finished=now, sightings=sightings, counts=expectations(seen, memory.counts)),
        gauges=_gauges(seen, doubted, found, limits, now),
    )


def ordered(memory: Memory, keys: frozenset[str]) -> Memory:
    """The memory when something was done about these findings."""
    return replace(
        memory,
        sightings={
            key: replace(seen, orders=seen.orders + 1) if key in keys else seen
            for key, seen in memory.sightings.items()
        },
    )


def _findings(seen: Observation, doubted: Doubts, limits: Limits, now: float) -> list[Finding]:
    doubtful = [
        Finding(kind=Kind.DOUBT, pool="", subject=source, because=why)
        for source, why in sorted({**_unread(seen), **doubted.all()}.items())
    ]
    return [
        *doubtful,
        *vms.findings(seen, doubted, limits, now),
        *runners.findings(seen, doubted),
        *runners.late_releases(seen, doubted, limits, now),
        *records.grants(seen, doubted, limits, now),
        *records.permits(seen, doubted),
        *records.silence(seen, now),
        *records.strangers(seen, doubted),
        *records.missing_runner_groups(seen),
    ]


def _unread(seen: Observation) -> dict[str, str]:
    """What failed and is in no doubt of its own: what depends on it was not judged."""
    own = ("runners", "grants", "group/")
    return {source: why for source, why in seen.failures.items() if not source.startswith(own)}


def _sighting(memory: Memory, finding: Finding, now: float) -> Sighting:
    """A proof counts from the first of the runs in a row that had it, however long the disagreement is known."""
    before = memory.sightings.get(finding.key)
    if before is None or memory.finished is None or not 0 <= now - memory.finished <= APART_SECONDS:
        before = Sighting(since=now, runs=0)
    seen = replace(before, runs=before.runs + 1)
    if finding.remedy is None:
        return replace(seen, proved_since=None, proofs=0)
    return replace(seen, proved_since=now if seen.proved_since is None else seen.proved_since, proofs=seen.proofs + 1)


def _decisions(
    seen: Observation, found: list[Finding], sightings: Mapping[str, Sighting], limits: Limits, now: float
) -> list[Decision]:
    used: Counter[tuple[str, Verb]] = Counter()
    decisions: list[Decision] = []
    # The oldest first, so that a share too small for all reaches each in its turn.
    for finding in sorted(found, key=lambda one: (sightings[one.key].since, one.key)):
        sighting, remedy = sightings[finding.key], finding.remedy
        why_not = ""
        if remedy is not None:
            share = _share(finding, remedy)
            proved_seconds = now - (now if sighting.proved_since is None else sighting.proved_since)
            if sighting.proofs < 2 or proved_seconds < SETTLE_SECONDS:
                why_not = f"it is proved for {proved_seconds:.0f} s, in {sighting.proofs} runs in a row"
            elif used[share] >= limits.share_of(_whole(seen, finding.pool, remedy.verb)):
                why_not = f"this run has done its share, which is {used[share]}"
            else:
                used[share] += 1
        acts = remedy is not None and not why_not
        action = f"{'would ' if limits.dry_run else ''}{remedy.verb.value}" if remedy is not None and acts else NONE
        decisions.append(Decision(finding=finding, sighting=sighting, action=action, why_not=why_not))
    return decisions


def _share(finding: Finding, remedy: Remedy) -> tuple[str, Verb]:
    """What a removal counts against: a pool's VMs and placeholders together, its registrations, or all grants."""
    if remedy.verb is Verb.REMOVE_GRANT:
        return "", remedy.verb
    return finding.pool, Verb.END_VM if remedy.verb is Verb.DROP_PLACEHOLDER else remedy.verb


def _whole(seen: Observation, pool: str, verb: Verb) -> int:
    """What a share is a share of."""
    if verb is Verb.REMOVE_GRANT:
        return len(seen.grants or {})
    if verb is Verb.DEREGISTER:
        return sum(1 for _, _, groups in runners.ours(seen) if groups[0].pool == pool)
    looks = (look for name, look in seen.groups.items() if look is not None and seen.fleet.groups[name].pool == pool)
    return sum(len(look.members) for look in looks)


def _gauges(
    seen: Observation, doubted: Doubts, found: list[Finding], limits: Limits, now: float
) -> dict[tuple[str, str], int]:
    """Each pool's figures, of the sources that are believed."""
    pools = sorted({group.pool for group in seen.fleet.groups.values()})
    counted = Counter((finding.pool, finding.kind) for finding in found)
    gauges: dict[tuple[str, str], int] = {}
    silent = records.silent_pools(seen, now)
    for pool in pools:
        looks = [seen.groups.get(group.name) for group in seen.fleet.pool(pool)]
        if all(look is not None for look in looks) and not any(g.name in doubted.groups for g in seen.fleet.pool(pool)):
            gauges[pool, "vms"] = sum(len(look.vms) for look in looks if look is not None)
            gauges[pool, "placeholders"] = counted[pool, Kind.PLACEHOLDER]
            gauges[pool, "past_age"] = counted[pool, Kind.PAST_AGE]
            if not doubted.runners:
                gauges[pool, "unregistered"] = counted[pool, Kind.UNREGISTERED]
                gauges[pool, "orphan_registrations"] = counted[pool, Kind.ORPHAN]
        if silent is not None and pool in seen.fleet.pools("jobs"):
            gauges[pool, "listener_silent"] = int(pool in silent)
    if not doubted.runners:
        online = Counter(groups[0].pool for _, now_, groups in runners.ours(seen) if now_.online)
        busy = Counter(groups[0].pool for _, now_, groups in runners.ours(seen) if now_.busy)
        for pool in pools:
            gauges[pool, "runners_online"], gauges[pool, "runners_busy"] = online[pool], busy[pool]
        for pool, (days, _) in runners.pool_deadlines(seen, limits, now).items():
            gauges[pool, "runner_deadline_days"] = days
    return gauges
