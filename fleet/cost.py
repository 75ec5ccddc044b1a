"""What a fleet would cost an hour at list prices: for comparing configurations, not for predicting a bill.

The figure is an upper bound for the hardware that is priced (spot counts as on demand); traffic, addresses and buckets
are not in it. Hardware without a known price makes the whole sum unknown rather than too small.
"""

from __future__ import annotations

from collections.abc import Iterable

from fleet.capacity import Bound
from fleet.catalog.disk_types import LOCAL_SSD_GB
from fleet.catalog.machine_types import MACHINE_TYPES
from fleet.catalog.prices import DISK_GB_MONTH, GPU_HOUR, HOURS_A_MONTH, VCPU_HOUR, Prices
from fleet.group import Group
from fleet.schema.machine_class import MachineClass


def vm_hour(machine_class: MachineClass, region: str) -> float | None:
    """US dollars for one VM of a class for one hour; None where a part of it has no known price."""
    hardware = MACHINE_TYPES[machine_class.machine_type]
    parts = [
        _part(VCPU_HOUR, hardware.series, region, hardware.vcpu),
        _part(DISK_GB_MONTH, machine_class.disk_type, region, machine_class.disk_gb / HOURS_A_MONTH),
    ]
    if machine_class.accelerator:
        parts.append(_part(GPU_HOUR, machine_class.accelerator.type, region, machine_class.accelerator.count))
    if machine_class.local_ssd_count:
        scratch_gb = machine_class.local_ssd_count * LOCAL_SSD_GB
        parts.append(_part(DISK_GB_MONTH, "local-ssd", region, scratch_gb / HOURS_A_MONTH))
    return _sum(parts)


def by_region(groups: Iterable[tuple[Group, MachineClass]], bound: Bound) -> dict[str, float | None]:
    """US dollars an hour per region, at rest or with every group at its maximum; None where it is not known."""
    regions: dict[str, list[float | None]] = {}
    for group, machine_class in groups:
        vms = group.at_rest if bound == "rest" else group.most
        each = vm_hour(machine_class, group.region)
        # No VM costs nothing, whatever one would cost.
        regions.setdefault(group.region, []).append(0.0 if vms == 0 else None if each is None else vms * each)
    return {region: _sum(costs) for region, costs in sorted(regions.items())}


def total(costs: Iterable[float | None]) -> float | None:
    """The sum, or None when a part of it is unknown."""
    return _sum(list(costs))


def _part(prices: Prices, what: str, region: str, amount: float) -> float | None:
    price = prices.get(what, {}).get(region)
    return None if price is None else price * amount


def _sum(parts: list[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None
