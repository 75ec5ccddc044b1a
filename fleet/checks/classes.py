"""Machine classes: hardware that exists and parts that fit together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fleet.catalog.accelerators import ATTACHABLE, BUILT_IN
from fleet.catalog.cpu_platforms import CPU_PLATFORMS
from fleet.catalog.machine_types import MACHINE_TYPES, MachineType
from fleet.catalog.regions import ZONES
from fleet.draft import Draft
from fleet.errors import Fault, Path, did_you_mean, nearest, not_in_the_world, one_of, show, unknown_name
from fleet.schema.machine_class import MachineClass

_TABLE: Final = "fleet/catalog/machine_types.py"


def quota_faults(draft: Draft) -> Iterator[Fault]:
    """A quota for a place or a GPU that does not exist would be a warning nobody ever gets."""
    for region, quota in sorted(draft.google.quotas.items()) if draft.google else ():
        at = ("google", "quotas", region)
        if region not in ZONES:
            yield not_in_the_world(at, region, ZONES, "a Google Cloud region such as us-west1")
        for gpu in sorted(quota.gpu):
            if gpu not in ATTACHABLE.keys() | BUILT_IN:
                yield unknown_name((*at, "gpu", gpu), gpu, ATTACHABLE.keys() | BUILT_IN, "GPU")


def class_faults(draft: Draft) -> Iterator[Fault]:
    """Faults of every machine class."""
    for name, machine_class in draft.machine_classes.items():
        at = ("machine_classes", name)
        yield from _maintenance(at, machine_class)
        if machine_class.warm_images and not machine_class.docker:
            allowed = "nothing, since docker is false and no job could use them"
            yield Fault((*at, "warm_images"), f"{len(machine_class.warm_images)} images", allowed, "write docker: true")
        if machine_class.min_cpu_platform and machine_class.min_cpu_platform not in CPU_PLATFORMS:
            platform = machine_class.min_cpu_platform
            fix = did_you_mean(platform, CPU_PLATFORMS, "name a platform of the list, or leave it out")
            yield Fault((*at, "min_cpu_platform"), show(platform), one_of(CPU_PLATFORMS), fix)
        hardware = MACHINE_TYPES.get(machine_class.machine_type)
        if hardware is None:
            seen = machine_class.machine_type
            guess = did_you_mean(seen, MACHINE_TYPES, "name another one.")
            fix = f"{guess} If {seen} exists, add its series to {_TABLE}"
            yield Fault((*at, "machine_type"), show(seen), f"a machine type of {_TABLE}", fix)
        else:
            yield from _fit(at, machine_class, hardware)


def _maintenance(at: Path, machine_class: MachineClass) -> Iterator[Fault]:
    if machine_class.maintenance != "migrate":
        return
    if machine_class.accelerator:
        yield Fault(
            (*at, "maintenance"), '"migrate" with a GPU', "terminate: a VM with a GPU cannot migrate", "write terminate"
        )
    elif machine_class.provisioning == "spot":
        yield Fault(
            (*at, "maintenance"), '"migrate" with spot', "terminate: a spot VM cannot migrate", "write terminate"
        )


def _fit(at: Path, machine_class: MachineClass, hardware: MachineType) -> Iterator[Fault]:
    name = hardware.name
    if machine_class.arch != hardware.arch:
        yield Fault(
            (*at, "arch"), show(machine_class.arch), f"{hardware.arch}, which {name} is", f"write {hardware.arch}"
        )
    if machine_class.disk_type not in hardware.boot_disks:
        guess = nearest(machine_class.disk_type, hardware.boot_disks) or min(hardware.boot_disks)
        yield Fault(
            (*at, "disk_type"),
            show(machine_class.disk_type),
            f"a boot disk that {name} takes: {one_of(hardware.boot_disks)}",
            f"write {guess}",
        )
    if machine_class.local_ssd_count not in hardware.local_ssd_counts:
        counts = ", ".join(str(count) for count in sorted(hardware.local_ssd_counts))
        yield Fault(
            (*at, "local_ssd_count"),
            show(machine_class.local_ssd_count),
            f"{counts} on {name}",
            "choose one of these counts, or leave it out",
        )
    if machine_class.threads_per_core and hardware.arch == "arm64":
        yield Fault(
            (*at, "threads_per_core"),
            show(machine_class.threads_per_core),
            f"nothing: {name} has one thread a core",
            "leave it out",
        )
    yield from _accelerator((*at, "accelerator"), machine_class, hardware)


def _accelerator(at: Path, machine_class: MachineClass, hardware: MachineType) -> Iterator[Fault]:
    wanted = machine_class.accelerator
    if hardware.gpu:
        gpu, count = hardware.gpu
        if wanted is None or (wanted.type, wanted.count) != hardware.gpu:
            seen = show(wanted.model_dump()) if wanted else "nothing"
            right = f"{{type: {gpu}, count: {count}}}"
            yield Fault(at, seen, f"{right}, which {hardware.name} has built in", f"write {right}")
        return
    if wanted is None:
        return
    if wanted.type not in ATTACHABLE:
        reason = f"{wanted.type} comes only built into a machine type" if wanted.type in BUILT_IN else "no such GPU"
        fix = did_you_mean(wanted.type, ATTACHABLE, "name a GPU of the list, or choose the machine type that has it")
        yield Fault((*at, "type"), f"{show(wanted.type)} ({reason})", one_of(ATTACHABLE), fix)
        return
    if not hardware.attachable_gpus:
        yield Fault(
            at,
            f"a GPU on {hardware.name}",
            "GPUs can be attached to n1 machine types only",
            "choose an n1 machine type, or leave accelerator out",
        )
        return
    limits = ATTACHABLE[wanted.type]
    fitting = sorted(count for count, most_vcpu in limits.items() if hardware.vcpu <= most_vcpu)
    if wanted.count not in fitting:
        counts = ", ".join(str(count) for count in fitting) or "none"
        yield Fault(
            (*at, "count"),
            show(wanted.count),
            f"{counts} of {wanted.type} on {hardware.name}",
            "choose one of these counts, or a smaller machine type",
        )
