from fleet_configuration import changed, settings_of

from fleet.capacity import Capacity, by_region
from fleet.settings import Settings


def test_the_peak_is_every_group_at_its_maximum(settings: Settings):
    peak = by_region(settings.sized_groups(), "max")
    assert peak["us-west1"] == Capacity(
        vms=10 + 2,
        vcpu=10 * 96 + 2 * 16,
        memory_gb=10 * 360 + 2 * 60,
        gpu=peak["us-west1"].gpu,
        disk_gb=10 * 1000 + 2 * 500,
    )
    assert dict(peak["us-west1"].gpu) == {"nvidia-tesla-t4": 2}


def test_pools_of_one_region_add_up(settings: Settings):
    central = by_region(settings.sized_groups(), "max")["us-central1"]
    assert central.vms == 10 + 2 + 1 + 5 + 8
    assert central.vcpu == 10 * 96 + 2 * 16 + 12 + 5 * 8 + 8 * 96
    assert dict(central.gpu) == {"nvidia-tesla-t4": 2, "nvidia-tesla-a100": 1}


def test_at_rest_every_group_has_its_minimum_and_a_pool_that_follows_jobs_its_idle_vms(settings: Settings):
    floor = by_region(settings.sized_groups(), "rest")
    assert {region: capacity.vms for region, capacity in floor.items()} == {
        "us-central1": 1 + 2 + 1 + 1,
        "us-east1": 1,
        "us-west1": 3,
    }


def test_a_reserve_counts_at_the_peak_since_its_vms_boot_as_any_other_and_not_at_rest():
    raw = changed({"pools.presubmit-arm64.standby": {"suspended": 2, "stopped": 1}})
    groups = list(settings_of(raw).sized_groups())
    assert by_region(groups, "max")["us-central1"].vms == 10 + 2 + 1 + (5 + 2 + 1) + 8
    assert by_region(groups, "rest")["us-central1"].vms == 1 + 2 + 1 + 1


def test_regions_come_sorted(settings: Settings):
    assert list(by_region(settings.sized_groups(), "max")) == ["us-central1", "us-east1", "us-west1"]


def test_gpus_are_counted_and_not_vms():
    raw = changed({"machine_classes.gpu.accelerator.count": 4})
    assert by_region(settings_of(raw).sized_groups(), "max")["us-west1"].gpu["nvidia-tesla-t4"] == 2 * 4


def test_a_region_that_holds_nothing_stands_with_zeros_and_no_gpu():
    region = "pools.presubmit-a100.regions.us-east1"
    parked = settings_of(changed({f"{region}.min": 0, f"{region}.max": 0}))
    assert by_region(parked.sized_groups(), "max")["us-east1"] == Capacity()


def test_no_group_needs_nothing():
    assert by_region([], "max") == {}
