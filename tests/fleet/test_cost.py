"""Costs compare configurations at list prices, and are unknown rather than too small."""

from __future__ import annotations

import pytest
from fleet_configuration import changed, settings_of

from fleet import cost
from fleet.catalog import prices
from fleet.catalog.accelerators import ATTACHABLE, BUILT_IN
from fleet.catalog.machine_types import MACHINE_TYPES
from fleet.catalog.regions import ZONES


def test_a_vm_costs_its_cpus_its_disk_and_its_gpus():
    settings = settings_of(changed({"machine_classes.gpu.disk_gb": 730}))
    # 16 vCPUs of N1, 730 GB for an hour of a 730-hour month, one T4: Google's sheet of 2025-04, us-central1.
    expected = 16 * 0.04749975 + prices.DISK_GB_MONTH[settings.machine_classes["gpu"].disk_type]["us-central1"] + 0.35
    assert cost.vm_hour(settings.machine_classes["gpu"], "us-central1") == pytest.approx(expected)


def test_local_ssds_are_paid_for():
    without = cost.vm_hour(settings_of(changed({})).machine_classes["cpu"], "us-west1")
    with_two = cost.vm_hour(
        settings_of(changed({"machine_classes.cpu.local_ssd_count": 2})).machine_classes["cpu"], "us-west1"
    )
    assert with_two == pytest.approx((without or 0) + 2 * 375 * 0.08 / 730)


def test_prices_differ_by_region():
    settings = settings_of(changed({}))
    cpu = settings.machine_classes["cpu"]
    assert (cost.vm_hour(cpu, "us-west2") or 0) > (cost.vm_hour(cpu, "us-west1") or 0)


def test_hardware_without_a_known_price_makes_the_sum_unknown():
    settings = settings_of(changed({}))
    cpu = settings.machine_classes["cpu"]
    assert cost.vm_hour(cpu, "asia-east1") is None
    assert cost.total([1.0, None]) is None


def test_groups_that_hold_nothing_cost_nothing_whatever_one_vm_would():
    region = "pools.presubmit-arm64.regions.us-central1"
    settings = settings_of(changed({f"{region}.max": 0, "pools.presubmit-arm64.scaling.idle": 0, f"{region}.min": 0}))
    arm64 = [(group, hardware) for group, hardware in settings.sized_groups() if hardware.arch == "arm64"]
    assert cost.by_region(arm64, "max") == {"us-central1": 0.0}


def test_the_sum_of_regions_is_the_sum_of_groups():
    settings = settings_of(changed({}))
    groups = settings.sized_groups()
    each = [group.max * (cost.vm_hour(hardware, group.region) or 0) for group, hardware in groups]
    assert cost.total(cost.by_region(groups, "max").values()) == pytest.approx(sum(each))


def test_a_peak_costs_no_less_than_a_rest():
    groups = settings_of(changed({})).sized_groups()
    least, most = cost.by_region(groups, "rest"), cost.by_region(groups, "max")
    assert all((least[region] or 0) <= (most[region] or 0) for region in most)


@pytest.mark.parametrize("table", [prices.VCPU_HOUR, prices.GPU_HOUR, prices.DISK_GB_MONTH])
def test_every_price_is_of_a_region_that_exists_and_above_nothing(table):
    for by_region in table.values():
        assert by_region.keys() <= ZONES.keys()
        assert all(0 < price < 10 for price in by_region.values())


def test_every_priced_thing_can_be_configured():
    assert prices.VCPU_HOUR.keys() <= {machine_type.series for machine_type in MACHINE_TYPES.values()}
    assert prices.GPU_HOUR.keys() <= ATTACHABLE.keys() | BUILT_IN
