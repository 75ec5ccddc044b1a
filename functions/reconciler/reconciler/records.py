"""Findings about our own records: grants and permits left over, a silent listener, pools that are no more. Pure.

A grant outlives its VM on purpose: it says that the VM had its one configuration. It goes when its VM has been gone for
a day for certain, which is long after anybody could ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from .doubt import Doubts
from .findings import Finding, Kind, Remedy, Verb
from .limits import DAY_SECONDS, LEASE_SILENT_SECONDS, MOST_LEFTOVERS, Limits
from .observation import GrantEntry, Observation
from .runners import gone


def leftovers(seen: Observation, limits: Limits, now: float) -> list[GrantEntry]:
    """The oldest grants of VMs that no group lists and no runner is of, a day older than any VM may be."""
    members = {vm.id for look in seen.groups.values() if look is not None for vm in look.members}
    registered = {runner.instance_id for listing in seen.listings or () for runner in listing.values()}
    old = limits.max_run_seconds + limits.registered_by_seconds + DAY_SECONDS
    found = [
        grant
        for grant in (seen.grants or {}).values()
        if now - grant.updated > old and grant.instance_id not in members | registered
    ]
    return sorted(found, key=lambda grant: (grant.updated, grant.instance_id))[:MOST_LEFTOVERS]


def grants(seen: Observation, doubts: Doubts, limits: Limits, now: float) -> list[Finding]:
    """The grants of VMs that are long gone; nothing unless every source is believed."""
    if doubts.all() or seen.listings is None:
        return []
    runner_ids = {runner_id for listing in seen.listings for runner_id in listing}
    found: list[Finding] = []
    for grant in leftovers(seen, limits, now):
        record = seen.records.get(grant.instance_id)
        if record is None or record.runner_id in runner_ids:
            continue
        if not gone(seen, grant.instance_id, ((record.zone, record.instance),)):
            continue
        found.append(
            Finding(
                kind=Kind.GRANT,
                pool=record.pool,
                subject=grant.instance_id,
                because=f"it is {(now - grant.updated) / DAY_SECONDS:.1f} days old, no group lists its VM, Compute "
                "Engine has no such instance, and GitHub no runner of it",
                remedy=Remedy(verb=Verb.REMOVE_GRANT, instance_id=grant.instance_id, generation=grant.generation),
                evidence={"instance": record.instance, "zone": record.zone, "state": record.state},
            )
        )
    return found


def permits(seen: Observation, doubts: Doubts) -> list[Finding]:
    """Ledgers that name VMs which are gone. The deleter drops those when it next writes; nothing is to be done."""
    found: list[Finding] = []
    for name, holders in sorted(seen.permits.items()):
        look = seen.groups.get(name)
        if look is None or name in doubts.groups:
            continue
        dead = sorted(holders - {vm.id for vm in look.members})
        if dead:
            found.append(
                Finding(
                    kind=Kind.PERMIT,
                    pool=seen.fleet.groups[name].pool,
                    subject=name,
                    because=f"{len(dead)} of {len(holders)} permits are of VMs that the group does not list",
                    evidence={"instance_ids": dead},
                )
            )
    return found


def silent_pools(seen: Observation, now: float) -> dict[str, str] | None:
    """The pools that follow jobs and whose listener has fallen silent, with the reason; None where that is unknown."""
    if seen.pool_records is None or seen.lease is None:
        return None
    lapsed = ""
    if not seen.lease.held or seen.lease.renewed is None:
        lapsed = "no listener holds the lease"
    elif now - seen.lease.renewed > LEASE_SILENT_SECONDS:
        lapsed = f"the lease was last renewed {now - seen.lease.renewed:.0f} s ago"
    found: dict[str, str] = {}
    for pool in seen.fleet.pools("jobs"):
        record = seen.pool_records.get(pool)
        if record is None:
            found[pool] = "the listener has never written of it"
        elif record.expires is None:
            found[pool] = "what the listener wrote of it cannot be read"
        elif record.expires <= now:
            found[pool] = f"what the listener wrote of it expired {now - record.expires:.0f} s ago"
        elif lapsed:
            found[pool] = lapsed
    return found


def silence(seen: Observation, now: float) -> list[Finding]:
    """Pools whose listener is silent: their groups do not grow, and their idle VMs get no permits."""
    silent = silent_pools(seen, now) or {}
    return [
        Finding(kind=Kind.SILENT, pool=pool, subject=pool, because=because) for pool, because in sorted(silent.items())
    ]


def strangers(seen: Observation, doubts: Doubts) -> list[Finding]:
    """Runners and scale sets of pools that the fleet had, and has no more."""
    return [*_runners_of_no_pool(seen, doubts), *_records_of_no_pool(seen)]


def _runners_of_no_pool(seen: Observation, doubts: Doubts) -> Iterator[Finding]:
    if seen.listings is None or seen.grants is None or doubts.runners or doubts.grants:
        return
    names = seen.names
    for runner_id, runner in seen.listings[0].items():
        # That it has a grant of this fleet's broker makes it this fleet's, whatever it is called.
        known = names.groups(runner.name.lower(), labelled=runner.labelled) or seen.group_of(runner.instance_id)
        if runner_id in seen.listings[1] and runner.instance_id in seen.grants and not known:
            yield Finding(
                kind=Kind.UNKNOWN_POOL,
                pool="",
                subject=f"runner/{runner.name}",
                because="the broker registered it, and no group of the fleet has VMs of such a name any more",
                evidence={"runner_id": runner_id, "online": runner.online, "busy": runner.busy},
            )


def _records_of_no_pool(seen: Observation) -> Iterator[Finding]:
    pools = set(seen.fleet.pools("jobs"))
    for pool in sorted(set(seen.pool_records or {}) - pools):
        yield Finding(
            kind=Kind.UNKNOWN_POOL,
            pool=pool,
            subject=f"scale set/{pool}",
            because="the listener kept a scale set for it, and no pool of that name follows jobs any more; jobs that "
            "ask for it wait for ever. Delete the scale set at GitHub, then the object in the listener's bucket",
        )


def missing_runner_groups(seen: Observation) -> list[Finding]:
    """Runner groups that the table names and GitHub has not: renamed, deleted, or of no use to the App."""
    if seen.runner_groups is None:
        return []
    found: dict[str, str] = {}
    for group in seen.fleet.groups.values():
        if group.runner_group not in seen.runner_groups:
            found.setdefault(group.pool, group.runner_group)
    return [
        Finding(
            kind=Kind.RUNNER_GROUP,
            pool=pool,
            subject=f"{pool}/{name}",
            because=f"GitHub shows the App no runner group {name!r}, so none of its VMs can register; was it renamed?",
        )
        for pool, name in sorted(found.items())
    ]
