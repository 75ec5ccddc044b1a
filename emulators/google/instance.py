"""A VM, as Compute Engine shows it."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from datetime import timedelta, timezone
from typing import Any, Final

from emulators.clock import rfc3339

PACIFIC: Final = timezone(timedelta(hours=-8))
"""Compute Engine writes its times in California's zone."""
ROOT: Final = "https://www.googleapis.com/compute/v1"


@dataclass(kw_only=True)
class Instance:
    """A VM. A test may change any of it."""

    id: str
    """Numeric; a VM that is recreated under its name gets another."""
    name: str
    zone: str
    project: str
    project_number: int
    service_account: str
    created: float
    """Seconds since 1970."""
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    """Its attributes; `created-by` names its group."""
    labels: dict[str, str] = field(default_factory=dict[str, str])
    machine_type: str = "n2-standard-16"
    version: str = ""
    """The name of its group's version that it was made as."""
    serial: bytes = b""
    """What it wrote to its serial port."""
    disks: list[str] = field(default_factory=list[str])
    """The names of its disks, the boot disk first; only of a VM that was made by itself."""
    max_run_seconds: int | None = None
    """After which it is deleted, or stopped if `stops`."""
    stops: bool = False
    status: str = "RUNNING"
    preempted: bool = False
    action: str = "NONE"
    """What its group does with it: its currentAction."""
    target_status: str = "RUNNING"
    """What its group means it to become; SUSPENDED or STOPPED for one in reserve."""
    started: float | None = None
    """When it was last started, where that was not when it was created."""
    suspended: float | None = None
    """When it was last suspended. When it was resumed is told nowhere."""
    until: float | None = None
    """When what is under way with it is done."""
    template: str = ""
    errors: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Of the group's last attempt to create it."""
    revision: int = 0
    """Grows with every change of its metadata server that somebody might wait for."""

    @property
    def link(self) -> str:
        """Its selfLink."""
        return f"{ROOT}/projects/{self.project}/zones/{self.zone}/instances/{self.name}"

    @property
    def settled(self) -> bool:
        """Whether nothing is under way with it, and it is what it is meant to be."""
        sleeps = {"SUSPENDED": "SUSPENDED", "STOPPED": "TERMINATED"}.get(self.target_status)
        return self.action == "NONE" and sleeps in {None, self.status}

    @property
    def fingerprint(self) -> str:
        """Of its metadata: whoever changes that has to know it."""
        digest = hashlib.sha256(json.dumps(sorted(self.metadata.items())).encode()).digest()
        return base64.b64encode(digest[:8]).decode()

    @property
    def region(self) -> str:
        """Of its zone."""
        return self.zone.rpartition("-")[0]

    def document(self) -> dict[str, Any]:
        """What instances.get answers."""
        zone = f"{ROOT}/projects/{self.project}/zones/{self.zone}"
        items = [{"key": key, "value": value} for key, value in self.metadata.items()]
        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        return {
            "kind": "compute#instance",
            "id": self.id,
            "creationTimestamp": rfc3339(self.created, PACIFIC),
            "name": self.name,
            "tags": {"fingerprint": "42WmSpB8rSM="},
            "machineType": f"{zone}/machineTypes/{self.machine_type}",
            "status": self.status,
            "zone": zone,
            "canIpForward": False,
            "networkInterfaces": [{"kind": "compute#networkInterface", "name": "nic0", "networkIP": "10.0.0.2"}],
            "disks": [{"source": f"{zone}/disks/{name}", "boot": not n} for n, name in enumerate(self.disks)],
            "metadata": {"kind": "compute#metadata", "fingerprint": self.fingerprint, "items": items},
            "labels": self.labels,
            "serviceAccounts": [{"email": self.service_account, "scopes": scopes}] if self.service_account else [],
            "selfLink": self.link,
            "scheduling": self._scheduling,
            "labelFingerprint": "42WmSpB8rSM=",
            "startRestricted": False,
            "deletionProtection": False,
            "fingerprint": "v5Y9gkCwNBM=",
            "lastStartTimestamp": rfc3339(self.started or self.created, PACIFIC),
            **({} if self.suspended is None else {"lastSuspendedTimestamp": rfc3339(self.suspended, PACIFIC)}),
        }

    @property
    def _scheduling(self) -> dict[str, Any]:
        value: dict[str, Any] = {"onHostMaintenance": "TERMINATE", "automaticRestart": False, "preemptible": False}
        if self.max_run_seconds is not None:
            value["maxRunDuration"] = {"seconds": str(self.max_run_seconds)}
            value["instanceTerminationAction"] = "STOP" if self.stops else "DELETE"
        return value
