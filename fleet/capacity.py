"""How much hardware a fleet takes: vCPU, memory and GPUs per region, at rest or with every group at its maximum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from fleet.catalog.machine_types import MACHINE_TYPES
from fleet.group import Group
from fleet.schema.machine_class import MachineClass

Bound = Literal["rest", "max"]
"""With no job waiting, or with every group at its maximum while it replenishes its reserve."""


@dataclass(slots=True)
class Capacity:
    """Hardware in one region."""

    vms: int = 0
    vcpu: int = 0
    memory_gb: float = 0
    gpu: Counter[str] = field(default_factory=Counter[str])
    disk_gb: int = 0


def by_region(groups: Iterable[tuple[Group, MachineClass]], bound: Bound) -> dict[str, Capacity]:
    """Capacity per region, sorted by region; a region whose groups hold nothing stands with zeros."""
    regions: dict[str, Capacity] = {}
    for group, machine_class in groups:
        vms = group.at_rest if bound == "rest" else group.most
        hardware = MACHINE_TYPES[machine_class.machine_type]
        total = regions.setdefault(group.region, Capacity())
        total.vms += vms
        total.vcpu += vms * hardware.vcpu
        total.memory_gb += vms * hardware.memory_gb
        total.disk_gb += vms * machine_class.disk_gb
        if machine_class.accelerator and vms:
            total.gpu[machine_class.accelerator.type] += vms * machine_class.accelerator.count
    return dict(sorted(regions.items()))
