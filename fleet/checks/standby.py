"""Reserves: pools whose groups can keep VMs suspended or stopped, and no more of them than can ever be used.

What Compute Engine cannot suspend is on its page "Suspend or resume a Compute Engine instance", under limitations: VMs
with GPUs, and those with more than 208 GB of memory (read 2026-11-25 in what two public projects quote of it). A VM
with Local SSDs can be suspended or stopped, but loses them or takes long to keep them, so a reserve of such is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fleet.catalog.machine_types import MACHINE_TYPES
from fleet.errors import Fault, Path, show
from fleet.schema.machine_class import MachineClass
from fleet.schema.pool import PoolSettings, Standby

MOST_SUSPENDED_GB: Final = 208


def standby_faults(at: Path, pool: PoolSettings, machine_class: MachineClass | None) -> Iterator[Fault]:
    """Faults of a pool's reserve, found at the key path of the pool."""
    standby = pool.standby
    if standby is None:
        return
    path, seen = (*at, "standby"), show(standby.model_dump())
    if pool.scaling.signal != "jobs":
        allowed = (
            f"none with the {pool.scaling.signal} signal: only what grows a group by its size takes from a reserve"
        )
        yield Fault(path, seen, allowed, "remove standby, or choose the signal jobs")
    if machine_class is not None:
        yield from _hardware(path, standby, machine_class)
    for region, size in sorted(pool.regions.items()):
        if 0 < size.max < standby.vms:
            allowed = f"at most {region}'s max, {size.max}, in all: no more are ever used at once"
            yield Fault(path, seen, allowed, f"write {size.max} or less")


def _hardware(path: Path, standby: Standby, machine_class: MachineClass) -> Iterator[Fault]:
    hardware = MACHINE_TYPES.get(machine_class.machine_type)
    if machine_class.accelerator:
        allowed = "none for a class with a GPU: Compute Engine cannot suspend its VMs"
        yield Fault(path, show(standby.model_dump()), allowed, "remove standby")
    if machine_class.local_ssd_count:
        allowed = "none for a class with Local SSDs, which a VM in reserve loses"
        yield Fault(path, show(standby.model_dump()), allowed, "remove standby")
    if hardware is not None and standby.suspended and hardware.memory_gb > MOST_SUSPENDED_GB:
        allowed = f"0 for {hardware.name}: Compute Engine suspends VMs of up to {MOST_SUSPENDED_GB} GB of memory"
        why = f"{standby.suspended} VMs of {hardware.memory_gb:g} GB"
        yield Fault((*path, "suspended"), why, allowed, "write them as stopped, or choose a smaller machine type")
