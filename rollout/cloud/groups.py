"""Regional managed instance groups and their members."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import quote

from rollout.cloud.document import Document, MalformedError
from rollout.cloud.operations import Operation, Operations
from rollout.cloud.pages import whole
from rollout.cloud.service import MISSING, Answer, Service

_LINK: Final = re.compile(r".*/zones/([a-z0-9-]+)/instances/([a-z0-9-]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupVersion:
    """One of the versions that a group is to run."""

    name: str
    template: str
    fixed: int | None = None
    percent: int | None = None
    """Neither is given for the version that gets the rest."""
    target: int | None = None
    """How many VMs that is now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A regional group."""

    name: str
    region: str
    zones: tuple[str, ...]
    shape: str
    base_name: str
    target_size: int
    created: float
    fingerprint: str
    stable: bool
    """Nothing is under way with any VM, and none is missing."""
    versions_reached: bool
    """As many VMs of each version as there are to be."""
    autoscaler: bool
    update_type: str
    versions: tuple[GroupVersion, ...]
    target_suspended: int
    target_stopped: int
    actions: Mapping[str, int]
    """How many VMs what is done with, by Google's words: creating, deleting, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A VM as its group lists it."""

    name: str
    zone: str
    id: str
    """Empty while it does not exist."""
    status: str
    """Empty while it does not exist."""
    action: str
    target_status: str
    version: str
    template: str
    errors: tuple[str, ...]
    """Codes of the group's last attempt to make it."""


class Named(Protocol):
    """What has a place in a zone."""

    @property
    def zone(self) -> str:
        """The zone's name."""
        ...

    @property
    def name(self) -> str:
        """Its own."""
        ...


class Groups:
    """The groups of a project."""

    def __init__(self, compute: Service, root: str, operations: Operations) -> None:
        self._compute = compute
        self._root = root
        self._operations = operations

    async def list(self, region: str | None = None) -> tuple[Group, ...]:
        """The groups of a region, or of all regions; zonal groups are left out. Raises CloudError."""
        if region is not None:
            path, asked = f"{self._root}/regions/{quote(region, safe='')}/instanceGroupManagers", f"groups in {region}"
            found = await whole(self._compute, path, asked, lambda page: [_group(each) for each in page.list("items")])
            return tuple(found or ())
        path = f"{self._root}/aggregated/instanceGroupManagers"
        return tuple(await whole(self._compute, path, "the groups of all regions", _everywhere) or ())

    async def get(self, region: str, name: str) -> Group | None:
        """A group; None where there is none. Raises CloudError."""
        asked = f"group {name} in {region}"
        return await self._compute.read(self._path(region, name), asked, _group_or_none, fine=MISSING)

    async def members(self, region: str, name: str) -> tuple[Member, ...] | None:
        """All VMs that a group lists; None where there is no such group. Raises CloudError."""
        path, asked = f"{self._path(region, name)}/listManagedInstances", f"the members of {name} in {region}"
        found = await whole(
            self._compute,
            path,
            asked,
            lambda page: [_member(each) for each in page.list("managedInstances")],
            method="POST",
        )
        return None if found is None else tuple(found)

    async def delete_instances(
        self, region: str, name: str, members: Iterable[Named], *, skip: bool = False, request_id: str = ""
    ) -> Operation:
        """Delete VMs and lower the target size by as many. `skip`: those that are no members any more are no error."""
        links = [f"zones/{each.zone}/instances/{each.name}" for each in members]
        arguments = {"region": region, "group": name, "instances": links, "skip": skip}
        return await self._operations.start("delete_instances", arguments, request_id=request_id)

    async def resize(self, region: str, name: str, size: int, *, request_id: str = "") -> Operation:
        """Set the target size; when it shrinks, the group chooses which VMs go."""
        arguments = {"region": region, "group": name, "size": size}
        return await self._operations.start("resize", arguments, request_id=request_id)

    async def patch(self, region: str, name: str, body: Mapping[str, Any], *, request_id: str = "") -> Operation:
        """Change fields of a group, such as its versions."""
        arguments = {"region": region, "group": name, "body": body}
        return await self._operations.start("patch_group", arguments, request_id=request_id)

    def _path(self, region: str, name: str) -> str:
        return f"{self._root}/regions/{quote(region, safe='')}/instanceGroupManagers/{quote(name, safe='')}"


def _everywhere(page: Document) -> list[Group]:
    """Of a page of the aggregated list. A scope that could not be asked makes the whole list worthless."""
    if page.texts("unreachables"):
        raise MalformedError("unreachables")
    found: list[Group] = []
    for scope in page.mapping("items"):
        if scope.startswith("regions/"):
            found += [_group(each) for each in page.inner("items").inner(scope).list("instanceGroupManagers")]
    return found


def _group_or_none(answer: Answer) -> Group | None:
    return None if answer.status in MISSING else _group(answer.document())


def _group(value: Document) -> Group:
    status = value.inner("status")
    distribution = value.inner("distributionPolicy")
    return Group(
        name=value.text("name"),
        region=value.name("region"),
        zones=tuple(each.name("zone") for each in distribution.list("zones")),
        shape=distribution.text("targetShape", "EVEN"),
        base_name=value.text("baseInstanceName", ""),
        target_size=value.whole("targetSize"),
        created=value.time("creationTimestamp"),
        fingerprint=value.text("fingerprint", ""),
        stable=status.flag("isStable", default=None),
        versions_reached=status.inner("versionTarget").flag("isReached"),
        autoscaler=status.has("autoscaler"),
        update_type=value.inner("updatePolicy").text("type", ""),
        versions=tuple(_version(each) for each in value.list("versions")),
        target_suspended=value.whole("targetSuspendedSize", 0),
        target_stopped=value.whole("targetStoppedSize", 0),
        actions={name: int(count) for name, count in value.labels("currentActions").items()},
    )


def _version(value: Document) -> GroupVersion:
    size = value.inner("targetSize")
    return GroupVersion(
        name=value.text("name", ""),
        template=value.name("instanceTemplate"),
        fixed=size.whole_or_none("fixed"),
        percent=size.whole_or_none("percent"),
        target=size.whole_or_none("calculated"),
    )


def _member(value: Document) -> Member:
    link = _LINK.fullmatch(value.text("instance"))
    if link is None:
        raise MalformedError("instance")
    version = value.inner("version")
    return Member(
        name=link[2],
        zone=link[1],
        id=value.text("id", ""),
        status=value.text("instanceStatus", ""),
        action=value.text("currentAction"),
        target_status=value.text("targetStatus", ""),
        version=version.text("name", ""),
        template=version.name("instanceTemplate"),
        errors=tuple(
            each.text("code", "UNKNOWN") for each in value.inner("lastAttempt").inner("errors").list("errors")
        ),
    )
