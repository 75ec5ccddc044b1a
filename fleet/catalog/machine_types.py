"""Compute Engine machine types: vCPU, memory, architecture, GPUs, and what each series can be combined with.

Sources: Google Cloud documentation, the pages of the general-purpose (2026-04), compute-optimized and
accelerator-optimized families, GPUs for N1, and Local SSD (2026-04); sizes cross-checked with Google's price sheet of
2025-04; read 2026-11-22. A type that is not here is refused: add its series.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fleet.catalog.disk_types import HYPERDISK, PERSISTENT, PERSISTENT_SSD
from fleet.schema.machine_class import Arch

_NO_LOCAL_SSD: Final = frozenset({0})
_N1_LOCAL_SSDS: Final = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 24})


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What all sizes of a series share."""

    vcpus: tuple[int, ...]
    memory_gb_per_vcpu: float
    arch: Arch = "x64"
    boot_disks: frozenset[str] = PERSISTENT
    local_ssd_counts: frozenset[int] = _NO_LOCAL_SSD
    attachable_gpus: bool = False
    needs_gvnic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineType:
    """One machine type."""

    name: str
    series: str
    vcpu: int
    memory_gb: float
    arch: Arch
    boot_disks: frozenset[str]
    local_ssd_counts: frozenset[int]
    gpu: tuple[str, int] | None = None
    """Built-in GPUs: type and count."""
    attachable_gpus: bool = False
    needs_gvnic: bool = False


def _n1(memory_gb_per_vcpu: float, *vcpus: int) -> Series:
    return Series(
        vcpus=vcpus,
        memory_gb_per_vcpu=memory_gb_per_vcpu,
        local_ssd_counts=_N1_LOCAL_SSDS,
        attachable_gpus=True,
    )


def _c3(memory_gb_per_vcpu: float, *vcpus: int) -> Series:
    return Series(
        vcpus=vcpus,
        memory_gb_per_vcpu=memory_gb_per_vcpu,
        boot_disks=PERSISTENT_SSD | HYPERDISK,
        needs_gvnic=True,
    )


def _hyperdisk(memory_gb_per_vcpu: float, *vcpus: int, arch: Arch = "x64") -> Series:
    return Series(vcpus=vcpus, memory_gb_per_vcpu=memory_gb_per_vcpu, arch=arch, boot_disks=HYPERDISK, needs_gvnic=True)


_N2D: Final = (2, 4, 8, 16, 32, 48, 64, 80, 96)
_C2D: Final = (2, 4, 8, 16, 32, 56, 112)
_C3: Final = (4, 8, 22, 44, 88, 176)
_N4: Final = (2, 4, 8, 16, 32, 48, 64, 80)
_C4A: Final = (1, 2, 4, 8, 16, 32, 48, 64, 72)
_N4A: Final = (1, 2, 4, 8, 16, 32, 48, 64)

SERIES: Final[Mapping[str, Series]] = {
    "n1-standard": _n1(3.75, 1, 2, 4, 8, 16, 32, 64, 96),
    "n1-highmem": _n1(6.5, 2, 4, 8, 16, 32, 64, 96),
    "n1-highcpu": _n1(0.9, 2, 4, 8, 16, 32, 64, 96),
    "n2-standard": Series(vcpus=(*_N2D, 128), memory_gb_per_vcpu=4),
    "n2-highmem": Series(vcpus=_N2D, memory_gb_per_vcpu=8),
    "n2-highcpu": Series(vcpus=_N2D, memory_gb_per_vcpu=1),
    "n2d-standard": Series(vcpus=(*_N2D, 128, 224), memory_gb_per_vcpu=4),
    "n2d-highmem": Series(vcpus=_N2D, memory_gb_per_vcpu=8),
    "n2d-highcpu": Series(vcpus=(*_N2D, 128, 224), memory_gb_per_vcpu=1),
    "e2-standard": Series(vcpus=(2, 4, 8, 16, 32), memory_gb_per_vcpu=4),
    "e2-highmem": Series(vcpus=(2, 4, 8, 16), memory_gb_per_vcpu=8),
    "e2-highcpu": Series(vcpus=(2, 4, 8, 16, 32), memory_gb_per_vcpu=1),
    "c2-standard": Series(vcpus=(4, 8, 16, 30, 60), memory_gb_per_vcpu=4),
    "c2d-standard": Series(vcpus=_C2D, memory_gb_per_vcpu=4),
    "c2d-highmem": Series(vcpus=_C2D, memory_gb_per_vcpu=8),
    "c2d-highcpu": Series(vcpus=_C2D, memory_gb_per_vcpu=2),
    "c3-standard": _c3(4, *_C3),
    "c3-highmem": _c3(8, *_C3),
    "c3-highcpu": _c3(2, *_C3),
    "c3d-standard": _c3(4, 4, 8, 16, 30, 60, 90, 180, 360),
    "c3d-highmem": _c3(8, 4, 8, 16, 30, 60, 90, 180, 360),
    "c4-highcpu": _hyperdisk(2, 2, 4, 8, 16, 24, 32, 48, 96, 144, 192, 288),
    "n4-standard": _hyperdisk(4, *_N4),
    "n4-highmem": _hyperdisk(8, *_N4),
    "n4-highcpu": _hyperdisk(2, *_N4),
    "t2d-standard": Series(vcpus=(1, 2, 4, 8, 16, 32, 48, 60), memory_gb_per_vcpu=4),
    "t2a-standard": Series(vcpus=(1, 2, 4, 8, 16, 32, 48), memory_gb_per_vcpu=4, arch="arm64", needs_gvnic=True),
    "c4a-standard": _hyperdisk(4, *_C4A, arch="arm64"),
    "c4a-highmem": _hyperdisk(8, *_C4A, arch="arm64"),
    "c4a-highcpu": _hyperdisk(2, *_C4A, arch="arm64"),
    "n4a-standard": _hyperdisk(4, *_N4A, arch="arm64"),
    "n4a-highmem": _hyperdisk(8, *_N4A, arch="arm64"),
    "n4a-highcpu": _hyperdisk(2, *_N4A, arch="arm64"),
}

# Sizes whose memory follows no ratio: series, vCPU, memory GB.
_UNEVEN: Final = [
    ("c4-standard", vcpu, memory_gb)
    for vcpu, memory_gb in (
        (2, 7), (4, 15), (8, 30), (16, 60), (24, 90), (32, 120),
        (48, 180), (96, 360), (144, 540), (192, 720), (288, 1080),
    )
]  # fmt: skip

# Machine types with GPUs inside: name, series, vCPU, memory GB, GPU type, GPUs, boot disks, Local SSD counts.
_A2: Final = PERSISTENT
_WITH_GPUS: Final = (
    ("a2-highgpu-1g", "a2-highgpu", 12, 85, "nvidia-tesla-a100", 1, _A2, {0, 1, 2, 4, 8}),
    ("a2-highgpu-2g", "a2-highgpu", 24, 170, "nvidia-tesla-a100", 2, _A2, {0, 2, 4, 8}),
    ("a2-highgpu-4g", "a2-highgpu", 48, 340, "nvidia-tesla-a100", 4, _A2, {0, 4, 8}),
    ("a2-highgpu-8g", "a2-highgpu", 96, 680, "nvidia-tesla-a100", 8, _A2, {0, 8}),
    # The ultra types bring their Local SSDs themselves.
    ("a2-ultragpu-1g", "a2-ultragpu", 12, 170, "nvidia-a100-80gb", 1, _A2, {0}),
    ("a2-ultragpu-2g", "a2-ultragpu", 24, 340, "nvidia-a100-80gb", 2, _A2, {0}),
    ("a2-ultragpu-4g", "a2-ultragpu", 48, 680, "nvidia-a100-80gb", 4, _A2, {0}),
    ("a2-ultragpu-8g", "a2-ultragpu", 96, 1360, "nvidia-a100-80gb", 8, _A2, {0}),
    ("g2-standard-4", "g2-standard", 4, 16, "nvidia-l4", 1, PERSISTENT_SSD, {0, 1}),
    ("g2-standard-8", "g2-standard", 8, 32, "nvidia-l4", 1, PERSISTENT_SSD, {0, 1}),
    ("g2-standard-12", "g2-standard", 12, 48, "nvidia-l4", 1, PERSISTENT_SSD, {0, 1}),
    ("g2-standard-16", "g2-standard", 16, 64, "nvidia-l4", 1, PERSISTENT_SSD, {0, 1}),
    ("g2-standard-24", "g2-standard", 24, 96, "nvidia-l4", 2, PERSISTENT_SSD, {0, 2}),
    ("g2-standard-32", "g2-standard", 32, 128, "nvidia-l4", 1, PERSISTENT_SSD, {0, 1}),
    ("g2-standard-48", "g2-standard", 48, 192, "nvidia-l4", 4, PERSISTENT_SSD, {0, 4}),
    ("g2-standard-96", "g2-standard", 96, 384, "nvidia-l4", 8, PERSISTENT_SSD, {0, 8}),
)


def _sized(name: str, series: Series, vcpu: int, memory_gb: float) -> MachineType:
    return MachineType(
        name=f"{name}-{vcpu}",
        series=name,
        vcpu=vcpu,
        memory_gb=memory_gb,
        arch=series.arch,
        boot_disks=series.boot_disks,
        local_ssd_counts=series.local_ssd_counts,
        attachable_gpus=series.attachable_gpus,
        needs_gvnic=series.needs_gvnic,
    )


def _all() -> list[MachineType]:
    even = [
        _sized(name, series, vcpu, vcpu * series.memory_gb_per_vcpu)
        for name, series in SERIES.items()
        for vcpu in series.vcpus
    ]
    uneven = [_sized(name, SERIES["c4-highcpu"], vcpu, memory_gb) for name, vcpu, memory_gb in _UNEVEN]
    with_gpus = [
        MachineType(
            name=name,
            series=series,
            vcpu=vcpu,
            memory_gb=memory_gb,
            arch="x64",
            boot_disks=boot_disks,
            local_ssd_counts=frozenset(local_ssd_counts),
            gpu=(gpu, gpus),
        )
        for name, series, vcpu, memory_gb, gpu, gpus, boot_disks, local_ssd_counts in _WITH_GPUS
    ]
    return even + uneven + with_gpus


MACHINE_TYPES: Final[Mapping[str, MachineType]] = {machine_type.name: machine_type for machine_type in _all()}
"""Every machine type a class may name."""
