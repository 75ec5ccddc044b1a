"""A regional instance template."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from emulators.clock import rfc3339
from emulators.google.instance import PACIFIC, ROOT


@dataclass(frozen=True, kw_only=True)
class Template:
    """What VMs are made from; it never changes."""

    id: str
    name: str
    region: str
    project: str
    created: float
    machine_type: str = "n2-standard-16"
    labels: dict[str, str] = field(default_factory=dict[str, str])
    metadata: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def link(self) -> str:
        """Its selfLink."""
        return f"{ROOT}/projects/{self.project}/regions/{self.region}/instanceTemplates/{self.name}"

    def document(self) -> dict[str, Any]:
        """What regionInstanceTemplates.get answers."""
        items = [{"key": key, "value": value} for key, value in self.metadata.items()]
        return {
            "kind": "compute#instanceTemplate",
            "id": self.id,
            "creationTimestamp": rfc3339(self.created, PACIFIC),
            "name": self.name,
            "region": f"{ROOT}/projects/{self.project}/regions/{self.region}",
            "selfLink": self.link,
            "properties": {
                "machineType": self.machine_type,
                "labels": self.labels,
                "metadata": {"kind": "compute#metadata", "fingerprint": "mPh1pT3cXkk=", "items": items},
                "disks": [],
                "networkInterfaces": [],
            },
        }
