"""Single VMs: what they are, their metadata, their serial port."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from rollout.cloud.document import Document
from rollout.cloud.errors import CloudError
from rollout.cloud.operations import Operation, Operations
from rollout.cloud.pages import whole
from rollout.cloud.service import MISSING, Answer, Service

METADATA_TRIES: Final = 3
"""Somebody else may change a VM's metadata between our look and our change; then all of it is done anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A VM."""

    id: str
    name: str
    zone: str
    status: str
    created: float
    last_started: float | None
    metadata: Mapping[str, str] = field(repr=False)
    fingerprint: str
    """Of the metadata."""
    labels: Mapping[str, str]
    service_account: str
    machine_type: str
    max_run_seconds: int | None
    last_suspended: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Serial:
    """What a VM wrote to its serial port."""

    text: str
    next: int
    """Where to go on reading."""


class Instances:
    """The VMs of a project."""

    def __init__(self, compute: Service, root: str, operations: Operations) -> None:
        self._compute = compute
        self._root = root
        self._operations = operations

    async def get(self, zone: str, name: str) -> Instance | None:
        """A VM; None where there is none. Raises CloudError."""
        return await self._compute.read(self._path(zone, name), f"VM {name} in {zone}", _instance_or_none, fine=MISSING)

    async def list(self, zone: str, *, query: str = "") -> tuple[Instance, ...]:
        """The VMs of a zone that Google's filter finds. Raises CloudError."""
        path, asking = f"{self._root}/zones/{quote(zone, safe='')}/instances", {"filter": query} if query else {}
        found = await whole(
            self._compute,
            path,
            f"the VMs in {zone}",
            lambda page: [_instance(each) for each in page.list("items")],
            query=asking,
        )
        return tuple(found or ())

    async def change_metadata(self, zone: str, name: str, changes: Mapping[str, str | None]) -> Operation | None:
        """Set these attributes, or remove those that are None; all others stay. None: it was so already.

        Raises CloudError; its class is not-found where there is no such VM.
        """
        asked = f"changing the metadata of {name} in {zone}"
        for number in range(1, METADATA_TRIES + 1):
            vm = await self.get(zone, name)
            if vm is None:
                raise CloudError(self._compute.name, 404, asked)
            merged = {key: value for key, value in {**vm.metadata, **changes}.items() if value is not None}
            if merged == vm.metadata:
                return None
            body = {
                "fingerprint": vm.fingerprint,
                "items": [{"key": key, "value": value} for key, value in merged.items()],
            }
            try:
                return await self._operations.start("set_metadata", {"zone": zone, "instance": name, "body": body})
            except CloudError as error:
                if error.status != 412 or number == METADATA_TRIES:
                    raise
        raise AssertionError  # the last try returns or raises

    async def insert(self, zone: str, body: Mapping[str, Any], *, request_id: str = "") -> Operation:
        """Make a VM."""
        return await self._operations.start("insert_instance", {"zone": zone, "body": body}, request_id=request_id)

    async def stop(self, zone: str, name: str, *, request_id: str = "") -> Operation:
        """Stop a VM; its disks stay."""
        return await self._operations.start("stop_instance", {"zone": zone, "instance": name}, request_id=request_id)

    async def delete(self, zone: str, name: str, *, request_id: str = "") -> Operation:
        """Delete a VM that is no group's: of a group's, the group makes another."""
        return await self._operations.start("delete_instance", {"zone": zone, "instance": name}, request_id=request_id)

    async def serial(self, zone: str, name: str, *, start: int = 0) -> Serial:
        """What a VM wrote to its first serial port from a place on. Google keeps the last 1 MiB. Raises CloudError."""
        query = {"port": "1", "start": str(start)}
        return await self._compute.read(
            f"{self._path(zone, name)}/serialPort", f"the serial port of {name} in {zone}", _serial, query=query
        )

    def _path(self, zone: str, name: str) -> str:
        return f"{self._root}/zones/{quote(zone, safe='')}/instances/{quote(name, safe='')}"


def _instance_or_none(answer: Answer) -> Instance | None:
    return None if answer.status in MISSING else _instance(answer.document())


def _instance(value: Document) -> Instance:
    metadata = value.inner("metadata")
    accounts = value.list("serviceAccounts")
    return Instance(
        id=value.text("id"),
        name=value.text("name"),
        zone=value.name("zone"),
        status=value.text("status"),
        created=value.time("creationTimestamp"),
        last_started=value.time_or_none("lastStartTimestamp"),
        metadata={each.text("key"): each.text("value", "") for each in metadata.list("items")},
        fingerprint=metadata.text("fingerprint", ""),
        labels=value.labels("labels"),
        service_account=accounts[0].text("email", "") if accounts else "",
        machine_type=value.name("machineType"),
        max_run_seconds=value.inner("scheduling").inner("maxRunDuration").whole_or_none("seconds"),
        last_suspended=value.time_or_none("lastSuspendedTimestamp"),
    )


def _serial(answer: Answer) -> Serial:
    value = answer.document()
    return Serial(text=value.text("contents", ""), next=value.whole("next"))
