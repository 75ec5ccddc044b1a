"""Compute Engine: a group's members, its size, and how it grows.

The calls and fields are those of the discovery document of compute v1, as google-cloud-compute 1.57.0 repeats them. An
operation of a group is DONE when the group has taken the order; how its VMs fare is told by listManagedInstances.
Names become part of paths, so they come from the fleet's table. Links in answers are never followed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, cast

from scaleset import Response, Transport

from listener.fleet_table import Group
from listener.limiter import Kind, Limiter

from .upstream import Token, Upstream, UpstreamError

READ_SECONDS: Final = 5.0
_MOST_PAGES: Final = 20
"""Of 500 members each: more than a regional group can have (4,000 VMs at most, Google's quotas, read 2026-11-22)."""
_MEMBER: Final = re.compile(r".*/zones/([a-z0-9-]+)/instances/([a-z0-9-]+)")
_OPERATION: Final = re.compile(r"[-a-z0-9]{1,200}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A VM of a group, or the place of one that is still to be made."""

    name: str
    zone: str
    id: str
    """Numeric, in text; empty while there is no such VM."""
    action: str
    """What the group does to it (`currentAction`); NONE for nothing."""
    status: str
    meant_to_run: bool
    """False for one that its group keeps in reserve, or makes for it (`targetStatus`)."""
    codes: tuple[str, ...]
    """Error codes of the group's last attempt at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a resize was answered with, or became."""

    name: str
    done: bool
    codes: tuple[str, ...]
    """Empty unless it failed."""
    status: int
    """The HTTP status of its failure; 0 where there is none."""


class Compute:
    """The groups of one project. The limiter keeps all requests together below Google's rate."""

    def __init__(self, transport: Transport, token: Token, url: str, project: str, limiter: Limiter) -> None:
        self._upstream = Upstream("compute", transport, token)
        self._root = f"{url}/compute/v1/projects/{project}"
        self._limiter = limiter

    async def members(self, group: Group) -> list[Member]:
        """All that the group lists. Raises UpstreamError; never a part of them."""
        found: list[Member] = []
        query = {"maxResults": "500"}
        for _ in range(_MOST_PAGES):
            url = f"{self._group(group)}/listManagedInstances"
            page = await self._read(Kind.LIST, group, url, query)
            listed: Any = page.get("managedInstances", [])
            if not isinstance(listed, list):
                raise UpstreamError("compute", 200, passing=True)
            found += [_member(entry) for entry in cast("list[Any]", listed)]
            more: Any = page.get("nextPageToken")
            if not more:
                return found
            query = {**query, "pageToken": str(more)}
        raise UpstreamError("compute", 200, passing=False)

    async def target(self, group: Group) -> int:
        """The group's target size. Raises UpstreamError; 404 where the group is not there."""
        target: Any = (await self._read(Kind.READ, group, self._group(group))).get("targetSize")
        if not isinstance(target, int) or isinstance(target, bool):
            raise UpstreamError("compute", 200, passing=True)
        return target

    async def resize(self, group: Group, size: int, *, timeout_seconds: float) -> Operation:
        """Set the target size: absolute, so whoever calls it has just looked. One try.

        Raises UpstreamError; with status 0 nobody knows whether the group has taken it.
        """
        url, query = f"{self._group(group)}/resize", {"size": str(size)}
        self._limiter.spend(group.region, Kind.CHANGE)
        answer = await self._upstream.once("POST", url, timeout_seconds=timeout_seconds, query=query)
        self._heed(group, answer)
        return _operation(self._upstream.document(answer))

    async def operation(self, group: Group, name: str) -> Operation:
        """An operation of the group's region. Raises UpstreamError."""
        if not _OPERATION.fullmatch(name):
            raise UpstreamError("compute", 200, passing=False)
        url = f"{self._root}/regions/{group.region}/operations/{name}"
        return _operation(await self._read(Kind.OPERATION, group, url))

    async def _read(self, kind: Kind, group: Group, url: str, query: dict[str, str] | None = None) -> dict[str, Any]:
        await self._limiter.wait(group.region, kind)
        method = "POST" if kind is Kind.LIST else "GET"
        answer = await self._upstream.once(method, url, timeout_seconds=READ_SECONDS, query=query)
        self._heed(group, answer)
        return self._upstream.document(answer)

    def _heed(self, group: Group, answer: Response) -> None:
        """Too many requests: nobody asks in this region until it is over. Google says so with 403, too."""
        failure = None if answer.status == 200 else self._upstream.failure(answer)
        if failure and (failure.status == 429 or failure.reason == "rateLimitExceeded"):
            self._limiter.hold(group.region, failure.retry_after_seconds)

    def _group(self, group: Group) -> str:
        return f"{self._root}/regions/{group.region}/instanceGroupManagers/{group.name}"


def _member(entry: Any) -> Member:
    """One entry of a listing. One that cannot be read fails the whole: it may be a VM that counts."""
    said = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
    where = _MEMBER.fullmatch(str(said.get("instance", "")))
    action: Any = said.get("currentAction")
    if where is None or not isinstance(action, str):
        raise UpstreamError("compute", 200, passing=True)
    attempt: Any = said.get("lastAttempt")
    return Member(
        name=where[2],
        zone=where[1],
        id=str(said.get("id") or ""),
        action=action,
        status=str(said.get("instanceStatus") or ""),
        meant_to_run=(said.get("targetStatus") or "RUNNING") == "RUNNING",
        codes=_codes(cast("dict[str, Any]", attempt).get("errors") if isinstance(attempt, dict) else None),
    )


def _operation(said: dict[str, Any]) -> Operation:
    status: Any = said.get("httpErrorStatusCode")
    failed = isinstance(status, int) and status >= 400
    codes = _codes(said.get("error"))
    return Operation(
        name=str(said.get("name") or ""),
        done=said.get("status") == "DONE",
        codes=codes or (("",) if failed else ()),
        status=status if isinstance(status, int) else 0,
    )


def _codes(errors: Any) -> tuple[str, ...]:
    """The codes in {"errors": [{"code": …}]}."""
    listed: Any = cast("dict[str, Any]", errors).get("errors") if isinstance(errors, dict) else None
    entries = cast("list[Any]", listed) if isinstance(listed, list) else []
    return tuple(
        str(cast("dict[str, Any]", entry).get("code") or "") if isinstance(entry, dict) else "" for entry in entries
    )
