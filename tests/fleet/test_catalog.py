import pytest

from fleet.catalog.accelerators import ATTACHABLE, BUILT_IN
from fleet.catalog.disk_types import HYPERDISK
from fleet.catalog.github_events import EVENTS, OPEN_TO_STRANGERS
from fleet.catalog.machine_types import MACHINE_TYPES
from fleet.catalog.offers import GPU_ZONES, N1_ZONES, SERIES_ZONES, offered_zones
from fleet.catalog.regions import ZONES
from fleet.schema.machine_class import MachineClass
from fleet.settings import Settings

ALL_ZONES = {zone for zones in ZONES.values() for zone in zones}


@pytest.mark.parametrize("what", [*SERIES_ZONES, *GPU_ZONES])
def test_hardware_is_offered_in_zones_that_exist(what: str):
    offered = {**SERIES_ZONES, **GPU_ZONES}[what]
    assert offered
    assert offered <= ALL_ZONES


def test_n1_is_offered_in_zones_that_exist_and_not_in_all():
    assert N1_ZONES < ALL_ZONES


def test_every_zone_is_its_regions_name_and_a_letter():
    assert all(zone == f"{region}-{zone[-1]}" for region, zones in ZONES.items() for zone in zones)
    assert not [region for region, zones in ZONES.items() if len(zones) != len(set(zones)) or len(zones) < 3]


@pytest.mark.parametrize(
    ("name", "vcpu", "memory_gb", "arch", "gpu"),
    [
        ("n1-standard-96", 96, 360, "x64", None),
        ("n1-standard-16", 16, 60, "x64", None),
        ("a2-highgpu-1g", 12, 85, "x64", ("nvidia-tesla-a100", 1)),
        ("t2a-standard-8", 8, 32, "arm64", None),
        ("c4-standard-96", 96, 360, "x64", None),
        ("g2-standard-24", 24, 96, "x64", ("nvidia-l4", 2)),
    ],
)
def test_a_machine_type_has_googles_figures(
    name: str, vcpu: int, memory_gb: float, arch: str, gpu: tuple[str, int] | None
):
    found = MACHINE_TYPES[name]
    assert (found.vcpu, found.memory_gb, found.arch, found.gpu) == (vcpu, memory_gb, arch, gpu)


def test_every_machine_type_is_named_by_its_series_and_size():
    assert all(name == found.name and name.startswith(f"{found.series}-") for name, found in MACHINE_TYPES.items())


def test_only_n1_takes_gpus_and_none_of_it_has_any_inside():
    attachable = [found for found in MACHINE_TYPES.values() if found.attachable_gpus]
    assert {found.series for found in attachable} == {"n1-standard", "n1-highmem", "n1-highcpu"}
    assert not [found for found in attachable if found.gpu]


def test_a_gpu_either_attaches_or_is_built_in():
    built_in = {found.gpu[0] for found in MACHINE_TYPES.values() if found.gpu}
    assert built_in == BUILT_IN
    assert not built_in & set(ATTACHABLE)
    assert set(GPU_ZONES) == built_in | set(ATTACHABLE), "every GPU has its zones"


def test_every_machine_type_boots_from_some_disk_and_may_go_without_local_ssds():
    assert all(found.boot_disks for found in MACHINE_TYPES.values())
    assert all(0 in found.local_ssd_counts for found in MACHINE_TYPES.values())


def test_a_series_without_persistent_disk_needs_the_newer_network_card():
    newer = [found for found in MACHINE_TYPES.values() if found.boot_disks == HYPERDISK]
    assert newer
    assert all(found.needs_gvnic for found in newer)


def test_the_scarcest_part_decides_where_a_class_is_offered(settings: Settings):
    classes = settings.machine_classes
    offers = {name: offered_zones(machine_class) for name, machine_class in classes.items()}
    assert {name: offer.what for name, offer in offers.items() if offer} == {
        "cpu": "n1-standard-96",
        "gpu": "nvidia-tesla-t4",
        "a100": "nvidia-tesla-a100",
        "arm64": "t2a-standard-8",
    }


def test_common_hardware_counts_as_offered_everywhere():
    common = MachineClass(machine_type="e2-standard-8", arch="x64", disk_gb=10, disk_type="pd-ssd")
    assert offered_zones(common) is None


def test_what_a_stranger_can_cause_is_an_event():
    assert OPEN_TO_STRANGERS < EVENTS


@pytest.mark.parametrize("event", ["push", "schedule", "workflow_dispatch", "release", "deployment"])
def test_the_events_of_merged_code_are_closed_to_strangers(event: str):
    assert event in EVENTS - OPEN_TO_STRANGERS
