"""Looks at everything, in an order that is part of the proofs, and makes an observation of it.

`LOOKS`: GitHub's runners are listed before the groups and again after them. A runner that is in the first listing had a
VM when it was made, so the groups, listed later, have that VM unless it is gone. Grants come before the groups for the
same reason. What is looked at one by one comes last.

One source's failure, or one group's, hides no other: it is written down, and what depends on it is not judged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeVar, cast

from . import memory, records, runners, vms
from .clients.app_token import AppKeyError
from .clients.compute import Compute
from .clients.github import GitHub
from .clients.session import Deadline, UpstreamError
from .clients.storage import Storage
from .fleet_table import Fleet, Group
from .limits import MOST_LOOKS, Limits
from .observation import (
    Facts,
    GrantEntry,
    GrantRecord,
    GroupLook,
    Lease,
    Observation,
    PoolRecord,
    Runner,
)

LOOKS: Final = ("runners", "grants", "records", "groups", "runners again", "one by one")

SOURCE_SECONDS: Final = 20.0
RUNNERS_SECONDS: Final = 40.0
GROUPS_SECONDS: Final = 60.0
"""How long one source may take, so that one that is down leaves time to the others. Most take a second or two."""

WORKERS: Final = 8
"""How many requests are under way at once; GitHub is asked one at a time, as it wants it."""

_T = TypeVar("_T")
_K = TypeVar("_K")


class Unreadable(Exception):  # noqa: N818 - it is an answer, of an object
    """An object is not what its writer writes."""


class Pool(Protocol):
    """Does the same with many things, and gives the results in their order; a ThreadPoolExecutor is one."""

    def map(self, fn: Callable[[_K], _T], things: Iterable[_K], /) -> Iterable[_T]:
        """The results."""
        ...


class _OneByOne:
    """No threads."""

    def map(self, fn: Callable[[_K], _T], things: Iterable[_K], /) -> Iterable[_T]:
        return map(fn, things)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where to look."""

    github: GitHub
    compute: Compute
    grants: Storage
    permits: Storage
    listener: Storage


class Gather:
    """One run's looking."""

    def __init__(
        self, sources: Sources, fleet: Fleet, limits: Limits, now: Callable[[], float], workers: int = WORKERS
    ) -> None:
        self._sources = sources
        self._fleet = fleet
        self._limits = limits
        self._now = now
        self._workers = workers
        self._failures: dict[str, str] = {}

    def observe(self, deadline: Deadline) -> Observation:
        """All of it. Raises nothing that a service did: what could not be seen by the deadline is a failure in it."""
        if self._workers == 1:
            return self._observe(_OneByOne(), deadline)
        with ThreadPoolExecutor(self._workers) as pool:
            return self._observe(pool, deadline)

    def _observe(self, pool: Pool, deadline: Deadline) -> Observation:
        groups = list(self._fleet.groups.values())
        followers = [group for group in groups if group.signal == "jobs"]
        given = [group for group in groups if group.signal != "fixed"]
        first = self._runners(deadline)
        names = self._try("runner groups", lambda: self._sources.github.runner_groups(_within(deadline)))
        grants = self._try("grants", lambda: self._grants(_within(deadline)))
        pool_records = self._try("pool records", lambda: self._pool_records(pool, _within(deadline)))
        lease = self._try("lease", lambda: self._lease(_within(deadline)))
        soon = _within(deadline)
        wanted = self._each(pool, "demand", followers, lambda group: self._wanted(group, soon))
        soon = _within(deadline)
        permits = self._each(pool, "permits", given, lambda group: self._permits(group, soon))
        soon = _within(deadline, GROUPS_SECONDS)
        looks = self._each(pool, "group", groups, lambda group: self._look(group, soon))
        again = None if first is None else self._runners(deadline)
        seen = Observation(
            fleet=self._fleet,
            listings=None if first is None or again is None else (first, again),
            runner_groups=names,
            groups={group.name: looks.get(group.name) for group in groups},
            grants=grants,
            permits={name: holders for name, holders in permits.items() if holders is not None},
            wanted={name: count for name, count in wanted.items() if count is not None},
            pool_records=pool_records,
            lease=lease,
            failures=self._failures,
        )
        seen = replace(seen, records=self._grant_records(pool, seen, _within(deadline)))
        instances = self._instances(pool, seen, _within(deadline, GROUPS_SECONDS))
        return replace(seen, instances=instances, failures=dict(self._failures))

    def _runners(self, deadline: Deadline) -> dict[int, Runner] | None:
        return self._try("runners", lambda: self._sources.github.runners(_within(deadline, RUNNERS_SECONDS)))

    # One by one.

    def _grant_records(self, pool: Pool, seen: Observation, deadline: Deadline) -> Mapping[str, GrantRecord]:
        """The grants of suspects, and of what may be left over."""
        ids = [vm.id for _, vm in vms.suspects(seen, self._limits, self._now())]
        ids += [runner.instance_id for runner, _ in runners.suspects(seen)]
        ids += [grant.instance_id for grant in records.leftovers(seen, self._limits, self._now())]
        known = [one for one in dict.fromkeys(ids) if one in (seen.grants or {})][:MOST_LOOKS]
        return self._looked_at(pool, "grant", known, lambda one: self._grant(one, deadline))

    def _instances(self, pool: Pool, seen: Observation, deadline: Deadline) -> Mapping[tuple[str, str], Facts | None]:
        """The suspects, and the instances of runners and grants that may be gone."""
        places = [(vm.zone, vm.name) for _, vm in vms.suspects(seen, self._limits, self._now())]
        places += [place for runner, groups in runners.suspects(seen) for place in runners.places(seen, runner, groups)]
        for grant in records.leftovers(seen, self._limits, self._now()):
            record = seen.records.get(grant.instance_id)
            places += [(record.zone, record.instance)] if record and record.zone and record.instance else []
        wanted = list(dict.fromkeys(places))[:MOST_LOOKS]
        return self._looked_at(pool, "instance", wanted, lambda place: self._sources.compute.instance(*place, deadline))

    def _grant(self, instance_id: str, deadline: Deadline) -> GrantRecord:
        said = _fields(self._sources.grants.read(f"grants/{instance_id}.json", deadline).data)
        runner_id = said.get("runner_id")
        group = str(said.get("group") or "")
        known = self._fleet.groups.get(group)
        return GrantRecord(
            state=str(said.get("state") or ""),
            instance=str(said.get("instance") or ""),
            zone=str(said.get("zone") or ""),
            group=group,
            pool=str(said.get("pool") or (known.pool if known else "")),
            runner_id=runner_id if isinstance(runner_id, int) and not isinstance(runner_id, bool) else None,
        )

    # Whole sources.

    def _look(self, group: Group, deadline: Deadline) -> GroupLook:
        look = self._sources.compute.look(group, deadline)
        if look is None:
            raise Unreadable("there is no such group")
        return look

    def _grants(self, deadline: Deadline) -> dict[str, GrantEntry]:
        found: dict[str, GrantEntry] = {}
        for entry in self._sources.grants.listed("grants/", deadline):
            instance_id = entry.name.removeprefix("grants/").removesuffix(".json")
            if instance_id.isascii() and instance_id.isdigit():
                found[instance_id] = GrantEntry(
                    instance_id=instance_id, generation=entry.generation, updated=entry.updated
                )
        return found

    def _permits(self, group: Group, deadline: Deadline) -> frozenset[str] | None:
        """Who holds one; suspects, whom an unreadable ledger left behind, do not count."""
        data = self._sources.permits.read(f"permits/{group.name}.json", deadline).data
        if data is None:
            return None
        holders = _fields(data).get("permits")
        if not isinstance(holders, dict):
            raise Unreadable("it is no ledger")
        return frozenset(cast("dict[str, Any]", holders))

    def _wanted(self, group: Group, deadline: Deadline) -> int | None:
        """What the listener wants, while that is valid."""
        data = self._sources.listener.read(f"demand/{group.name}.json", deadline).data
        if data is None:
            return None
        said = _fields(data)
        desired, expires = said.get("desired"), _moment(said.get("expires"))
        if not isinstance(desired, int) or isinstance(desired, bool) or desired < 0 or expires is None:
            raise Unreadable("it is no demand")
        return desired if expires > self._now() else None

    def _pool_records(self, pool: Pool, deadline: Deadline) -> dict[str, PoolRecord]:
        names = [entry.name for entry in self._sources.listener.listed("pools/", deadline)]

        def read(name: str) -> bytes | None:
            return self._sources.listener.read(name, deadline).data

        stored = pool.map(read, names)
        pools = [name.removeprefix("pools/").removesuffix(".json") for name in names]
        return {
            name: PoolRecord(pool=name, expires=_expiry(data))
            for name, data in zip(pools, stored, strict=True)
            if data is not None
        }

    def _lease(self, deadline: Deadline) -> Lease:
        data = self._sources.listener.read("lease.json", deadline).data
        if data is None:
            return Lease(held=False, renewed=None)
        said = _fields(data)
        return Lease(held=said.get("state") == "held", renewed=_moment(said.get("renewed")))

    # Failing.

    def _try(self, source: str, look: Callable[[], _T]) -> _T | None:
        try:
            return look()
        except (UpstreamError, AppKeyError, Unreadable, ValueError) as error:
            self._failures[source] = str(error)
            return None

    def _each(
        self, pool: Pool, source: str, groups: Iterable[Group], look: Callable[[Group], _T]
    ) -> dict[str, _T | None]:
        """The same look at many groups. None where it failed, or has nothing to tell."""
        listed = list(groups)

        def one(group: Group) -> _T | None:
            return self._try(f"{source}/{group.name}", lambda: look(group))

        return {group.name: seen for group, seen in zip(listed, pool.map(one, listed), strict=True)}

    def _looked_at(self, pool: Pool, source: str, keys: list[_K], look: Callable[[_K], _T]) -> dict[_K, _T]:
        """What each key leads to; those that failed are left out."""

        def one(key: _K) -> tuple[_T] | None:
            return self._try(f"{source}/{_name(key)}", lambda: (look(key),))

        return {key: seen[0] for key, seen in zip(keys, pool.map(one, keys), strict=True) if seen is not None}


def _name(key: object) -> str:
    return "/".join(map(str, cast("tuple[object, ...]", key))) if isinstance(key, tuple) else str(key)


def _within(deadline: Deadline, seconds: float = SOURCE_SECONDS) -> Deadline:
    """So many seconds from now, and never after the deadline."""
    return deadline.before(max(0.0, deadline.left() - seconds))


def _fields(data: bytes | None) -> dict[str, Any]:
    """The object in what is stored. Raises Unreadable where it is none."""
    try:
        said: Any = json.loads(data or b"null")
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise Unreadable("it is no JSON object")
    return cast("dict[str, Any]", said)


def _moment(value: Any) -> float | None:
    try:
        return memory.moment(value)
    except (ValueError, TypeError, OverflowError):
        return None


def _expiry(data: bytes) -> float | None:
    try:
        return _moment(_fields(data).get("expires"))
    except Unreadable:
        return None
