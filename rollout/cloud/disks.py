"""Disks, and the snapshots and images that are made from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from rollout.cloud.document import Document
from rollout.cloud.operations import Operation, Operations
from rollout.cloud.service import MISSING, Answer, Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A zonal disk."""

    name: str
    status: str
    size_gb: int
    users: tuple[str, ...]
    """Names of the VMs that it is attached to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A disk as it once was."""

    name: str
    status: str
    """READY once it can be used; CREATING, UPLOADING before; FAILED."""
    created: float
    size_gb: int
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What a boot disk is made from."""

    name: str
    status: str
    family: str
    created: float
    labels: Mapping[str, str]


class Disks:
    """The disks, snapshots and images of a project."""

    def __init__(self, compute: Service, root: str, operations: Operations) -> None:
        self._compute = compute
        self._root = root
        self._operations = operations

    async def disk(self, zone: str, name: str) -> Disk | None:
        """A disk; None where there is none. Raises CloudError."""
        path = f"{self._root}/zones/{quote(zone, safe='')}/disks/{quote(name, safe='')}"
        return await self._compute.read(path, f"disk {name} in {zone}", _disk, fine=MISSING)

    async def snapshot(self, name: str) -> Snapshot | None:
        """A snapshot; None where there is none. Raises CloudError."""
        path = f"{self._root}/global/snapshots/{quote(name, safe='')}"
        return await self._compute.read(path, f"snapshot {name}", _snapshot, fine=MISSING)

    async def image(self, name: str) -> Image | None:
        """An image; None where there is none. Raises CloudError."""
        path = f"{self._root}/global/images/{quote(name, safe='')}"
        return await self._compute.read(path, f"image {name}", _image, fine=MISSING)

    async def create_snapshot(
        self, zone: str, disk: str, body: Mapping[str, Any], *, request_id: str = ""
    ) -> Operation:
        """Make a snapshot of a disk."""
        arguments = {"zone": zone, "disk": disk, "body": body}
        return await self._operations.start("create_snapshot", arguments, request_id=request_id)

    async def delete_snapshot(self, name: str, *, request_id: str = "") -> Operation:
        """Delete a snapshot."""
        return await self._operations.start("delete_snapshot", {"snapshot": name}, request_id=request_id)

    async def delete_disk(self, zone: str, name: str, *, request_id: str = "") -> Operation:
        """Delete a disk that no VM uses."""
        return await self._operations.start("delete_disk", {"zone": zone, "disk": name}, request_id=request_id)

    async def create_image(self, body: Mapping[str, Any], *, request_id: str = "") -> Operation:
        """Make an image from a disk or a snapshot."""
        return await self._operations.start("create_image", {"body": body}, request_id=request_id)

    async def delete_image(self, name: str, *, request_id: str = "") -> Operation:
        """Delete an image."""
        return await self._operations.start("delete_image", {"image": name}, request_id=request_id)


def _found(answer: Answer) -> Document | None:
    return None if answer.status in MISSING else answer.document()


def _disk(answer: Answer) -> Disk | None:
    value = _found(answer)
    if value is None:
        return None
    return Disk(
        name=value.text("name"),
        status=value.text("status"),
        size_gb=value.whole("sizeGb"),
        users=tuple(link.rpartition("/")[2] for link in value.texts("users")),
    )


def _snapshot(answer: Answer) -> Snapshot | None:
    value = _found(answer)
    if value is None:
        return None
    return Snapshot(
        name=value.text("name"),
        status=value.text("status"),
        created=value.time("creationTimestamp"),
        size_gb=value.whole("diskSizeGb"),
        labels=value.labels("labels"),
    )


def _image(answer: Answer) -> Image | None:
    value = _found(answer)
    if value is None:
        return None
    return Image(
        name=value.text("name"),
        status=value.text("status"),
        family=value.text("family", ""),
        created=value.time("creationTimestamp"),
        labels=value.labels("labels"),
    )
