"""Findings about GitHub's runners: those whose VM is gone, and releases whose time is up. Pure.

A runner in the first listing had a VM when it was made, and groups are listed after that: so a VM that no group lists
is gone, or was never theirs. That its instance is gone Compute Engine itself must say too.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping

from . import naming
from .doubt import Doubts
from .findings import Finding, Kind, Remedy, Verb
from .fleet_table import Group
from .limits import RELEASE_DAYS, RELEASE_WARNING_DAYS, Limits
from .observation import Observation, Runner


def ours(seen: Observation) -> Iterator[tuple[Runner, Runner, tuple[Group, ...]]]:
    """The fleet's runners that both listings have, as each shows it, with the groups that they can be of."""
    if seen.listings is None:
        return
    names = seen.names
    first, second = seen.listings
    for runner_id, runner in first.items():
        groups = names.groups(runner.name.lower(), labelled=runner.labelled)
        if groups and runner_id in second:
            yield runner, second[runner_id], groups


def suspects(seen: Observation) -> Iterator[tuple[Runner, tuple[Group, ...]]]:
    """The runners that do nothing and whose VM no group lists."""
    members = {vm.id for look in seen.groups.values() if look is not None for vm in look.members}
    for runner, again, groups in ours(seen):
        silent = not (runner.online or runner.busy or again.online or again.busy)
        if silent and runner.instance_id and runner.instance_id not in members:
            yield runner, groups


def places(seen: Observation, runner: Runner, groups: tuple[Group, ...]) -> tuple[tuple[str, str], ...]:
    """Where a runner's instance can be, by zone and name; none where that cannot be told."""
    record = seen.records.get(runner.instance_id)
    if record is not None and record.zone and record.instance:
        return ((record.zone, record.instance),)
    name = runner.name.lower() if runner.labelled else naming.instance_name(runner.name.lower())
    if not name:
        return ()
    if runner.labelled and runner.zone:
        return ((runner.zone, name),)
    return tuple((zone, name) for group in groups for zone in group.zones)


def gone(seen: Observation, instance_id: str, where: tuple[tuple[str, str], ...]) -> bool:
    """Whether Compute Engine says that an instance is nowhere: no such name, or another's by now."""
    return bool(where) and all(
        place in seen.instances and ((facts := seen.instances[place]) is None or facts.id != instance_id)
        for place in where
    )


def findings(seen: Observation, doubts: Doubts) -> list[Finding]:
    """The registrations whose VM is gone, as far as GitHub and the groups that they can be of are believed."""
    found: list[Finding] = []
    if doubts.runners:
        return found
    for runner, groups in suspects(seen):
        where = places(seen, runner, groups)
        doubted = [group.name for group in groups if group.name in doubts.groups]
        proved = not doubted and gone(seen, runner.instance_id, where)
        there = any((facts := seen.instances.get(place)) and facts.id == runner.instance_id for place in where)
        if doubted:
            why = f"but group {doubted[0]} cannot be believed"
        elif proved:
            why = "and Compute Engine has no such instance"
        else:
            why = "but its instance is there" if there else "and whether its instance is gone could not be looked up"
        found.append(
            Finding(
                kind=Kind.ORPHAN,
                pool=groups[0].pool,
                subject=runner.name,
                because=f"it is offline, no group lists its VM {runner.instance_id}, {why}",
                remedy=Remedy(verb=Verb.DEREGISTER, name=runner.name, runner_id=runner.id) if proved else None,
                evidence={"runner_id": runner.id, "instance_id": runner.instance_id, "looked_at": list(where)},
            )
        )
    return found


def deadline_days(version: str, releases: Mapping[str, datetime.date], now: float) -> int | None:
    """Days until a release must be replaced; None where it is the newest that is known, or none.

    It ends 30 days after the first release that came later.
    """
    own = _order(version)
    later = [date for release, date in releases.items() if own and _order(release) > own]
    if not later:
        return None
    today = datetime.datetime.fromtimestamp(now, datetime.UTC).date()
    return (min(later) + datetime.timedelta(days=RELEASE_DAYS) - today).days


def pool_deadlines(seen: Observation, limits: Limits, now: float) -> dict[str, tuple[int, str]]:
    """The nearest deadline in each pool, in days, and the release that it is of."""
    nearest: dict[str, tuple[int, str]] = {}
    for runner, _, groups in ours(seen):
        days = deadline_days(runner.version, limits.runner_releases, now)
        if days is not None:
            pool = groups[0].pool
            nearest[pool] = min(nearest.get(pool, (days, runner.version)), (days, runner.version))
    return nearest


def late_releases(seen: Observation, doubts: Doubts, limits: Limits, now: float) -> list[Finding]:
    """Pools whose runners must be replaced soon, or late."""
    if doubts.runners:
        return []
    return [
        Finding(
            kind=Kind.RELEASE,
            pool=pool,
            subject=f"{pool}/{version}",
            because=f"GitHub refuses runner {version} "
            + (f"in {days} days" if days >= 0 else f"since {-days} days")
            + "; cut a version with a newer one",
        )
        for pool, (days, version) in sorted(pool_deadlines(seen, limits, now).items())
        if days < RELEASE_WARNING_DAYS
    ]


def _order(version: str) -> tuple[int, ...]:
    parts = version.split(".")
    return tuple(int(part) for part in parts) if all(part.isascii() and part.isdigit() for part in parts) else ()
