"""Disks, snapshots and images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from emulators.clock import rfc3339
from emulators.google.instance import PACIFIC, ROOT


@dataclass(kw_only=True)
class Disk:
    """A zonal disk."""

    id: str
    name: str
    zone: str
    project: str
    created: float
    size_gb: int = 10
    user: str = ""
    """The name of the VM that it is attached to."""
    auto_delete: bool = True
    """Whether it goes when that VM is deleted."""
    source: str = ""
    """The image or the snapshot that it was made from."""

    @property
    def path(self) -> str:
        """Below compute/v1/."""
        return f"projects/{self.project}/zones/{self.zone}/disks/{self.name}"

    def document(self) -> dict[str, Any]:
        """What disks.get answers."""
        zone = f"{ROOT}/projects/{self.project}/zones/{self.zone}"
        return {
            "kind": "compute#disk",
            "id": self.id,
            "creationTimestamp": rfc3339(self.created, PACIFIC),
            "name": self.name,
            "sizeGb": str(self.size_gb),
            "zone": zone,
            "status": "READY",
            "selfLink": f"{ROOT}/{self.path}",
            "type": f"{zone}/diskTypes/pd-balanced",
            **({"sourceImage": self.source} if self.source else {}),
            **({"users": [f"{zone}/instances/{self.user}"]} if self.user else {}),
        }


@dataclass(kw_only=True)
class Snapshot:
    """A disk as it was."""

    id: str
    name: str
    project: str
    source: str
    """The disk's selfLink."""
    created: float
    ready: float
    """When it can be used."""
    size_gb: int = 10
    labels: dict[str, str] = field(default_factory=dict[str, str])
    failed: bool = False

    @property
    def path(self) -> str:
        """Below compute/v1/."""
        return f"projects/{self.project}/global/snapshots/{self.name}"

    def document(self, now: float) -> dict[str, Any]:
        """What snapshots.get answers."""
        status = "FAILED" if self.failed else "READY" if now >= self.ready else "UPLOADING"
        return {
            "kind": "compute#snapshot",
            "id": self.id,
            "creationTimestamp": rfc3339(self.created, PACIFIC),
            "name": self.name,
            "status": status,
            "sourceDisk": self.source,
            "diskSizeGb": str(self.size_gb),
            "labels": self.labels,
            "selfLink": f"{ROOT}/{self.path}",
        }


@dataclass(kw_only=True)
class Image:
    """What boot disks are made from."""

    id: str
    name: str
    project: str
    created: float
    family: str = ""
    source: str = ""
    labels: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def path(self) -> str:
        """Below compute/v1/."""
        return f"projects/{self.project}/global/images/{self.name}"

    def document(self) -> dict[str, Any]:
        """What images.get answers."""
        return {
            "kind": "compute#image",
            "id": self.id,
            "creationTimestamp": rfc3339(self.created, PACIFIC),
            "name": self.name,
            "status": "READY",
            "labels": self.labels,
            "selfLink": f"{ROOT}/{self.path}",
            **({"family": self.family} if self.family else {}),
        }
