from typing import Any

import pytest
from fleet_configuration import CANARY, DELETE, STABLE, changed, settings_of

from fleet.group import Group, default_canary, zone_name
from fleet.schema.pool import CanaryInstances, CanaryPercent, CanaryRegions
from fleet.settings import Settings


def groups(pool: str, **edits: Any) -> dict[str, Group]:
    """The groups of one pool by region, with keys of that pool edited."""
    raw = changed({f"pools.{pool}.{key}": value for key, value in edits.items()})
    return {group.region: group for group in settings_of(raw).groups(pool)}


def test_a_group_has_full_zone_names_in_order():
    west = groups("presubmit-cpu", **{"regions.us-west1.zones": ["c", "us-west1-a"]})["us-west1"]
    assert west.zones == ("us-west1-a", "us-west1-c")


def test_the_way_a_zone_is_written_makes_no_other_group(settings: Settings):
    written = groups("presubmit-cpu", **{"regions.us-west1.zones": ["us-west1-c", "b", "a"]})["us-west1"]
    assert written in settings.groups("presubmit-cpu")


def test_a_group_that_is_taken_over_keeps_its_name(settings: Settings):
    taken = groups("presubmit-cpu", **{"regions.us-west1.group": "gh-runner-presubmit-cpu-us-west1"})
    assert taken["us-west1"].name == "gh-runner-presubmit-cpu-us-west1"
    assert taken["us-central1"] in settings.groups("presubmit-cpu")


def test_a_zone_may_be_a_letter_or_a_full_name():
    assert zone_name("us-west1", "a") == zone_name("us-west1", "us-west1-a") == "us-west1-a"


def test_groups_come_by_region(settings: Settings):
    assert [group.region for group in settings.groups("presubmit-cpu")] == ["us-central1", "us-west1"]


# Canaries ------------------------------------------------------------------------------------------------------------


def test_a_canary_by_instances_is_in_every_group_beside_stable():
    for group in groups("presubmit-cpu").values():
        assert (group.stable, group.canary) == (STABLE, CANARY)
        assert group.canary_share == CanaryInstances(instances=1)


def test_a_canary_by_percent_is_in_every_group_beside_stable():
    for group in groups("presubmit-gpu").values():
        assert (group.stable, group.canary) == (STABLE, CANARY)
        assert group.canary_share == CanaryPercent(percent=50)


def test_a_canary_by_region_is_a_group_that_runs_one_version():
    a100 = groups("presubmit-a100")
    east, central = a100["us-east1"], a100["us-central1"]
    assert (east.stable, east.canary, east.canary_share) == (None, CANARY, None)
    assert (central.stable, central.canary, central.canary_share) == (STABLE, None, None)


def test_a_canary_for_some_pools_leaves_every_other_pool_on_stable():
    settings = settings_of(changed({"rollout.canary_pools": ["presubmit-arm64", "presubmit-a100"]}))
    trying = {pool for pool in settings.pools for group in settings.groups(pool) if group.canary}
    assert trying == {"presubmit-arm64", "presubmit-a100"}
    assert all(group.stable == STABLE for group in settings.groups("presubmit-cpu"))


@pytest.mark.parametrize("canary", [None, CANARY])
def test_every_group_runs_some_version(canary: str | None):
    for group, _ in settings_of(changed({"rollout.canary": canary})).sized_groups():
        assert group.stable or group.canary


def test_a_balanced_group_never_holds_two_versions(settings: Settings):
    balanced = [group for group, _ in settings.sized_groups() if group.shape == "balanced"]
    assert balanced
    assert all((group.stable is None) != (group.canary is None) for group in balanced)
    assert all(group.canary_share is None for group in balanced)


@pytest.mark.parametrize("pool", ["presubmit-cpu", "presubmit-gpu", "presubmit-a100", "presubmit-arm64"])
def test_without_a_canary_version_every_group_is_stable_alone(pool: str):
    for group in settings_of(changed({"rollout.canary": None})).groups(pool):
        assert (group.stable, group.canary, group.canary_share) == (STABLE, None, None)


def test_an_even_pool_that_says_nothing_tries_the_canary_on_one_vm_of_each_group():
    assert default_canary("even", ("us-west1",)) == CanaryInstances(instances=1)
    shares = [group.canary_share for group in groups("presubmit-cpu", canary=DELETE).values()]
    assert shares == [CanaryInstances(instances=1)] * 2


def test_a_balanced_pool_that_says_nothing_tries_the_canary_in_its_first_region():
    assert default_canary("balanced", ("us-east1", "us-central1")) == CanaryRegions(regions=("us-central1",))
    stable = {region: group.stable for region, group in groups("presubmit-a100", canary=DELETE).items()}
    assert stable == {"us-central1": None, "us-east1": STABLE}


def test_an_even_pool_may_try_a_whole_region_too():
    cpu = groups("presubmit-cpu", canary={"regions": ["us-west1"]})
    assert (cpu["us-west1"].stable, cpu["us-west1"].canary) == (None, CANARY)
    assert (cpu["us-central1"].stable, cpu["us-central1"].canary) == (STABLE, None)


# Who sizes a group ---------------------------------------------------------------------------------------------------

SCHEDULE = {"workday": {"cron": "0 8 * * 1-5", "duration_seconds": 3600, "min": 1}}


@pytest.mark.parametrize(
    ("scaling", "autoscaled"),
    [
        pytest.param({"signal": "cpu"}, True, id="cpu"),
        pytest.param({"signal": "schedule", "schedules": SCHEDULE}, True, id="schedule"),
        pytest.param({"signal": "jobs"}, False, id="jobs"),
    ],
)
def test_an_autoscaler_sizes_groups_by_cpu_or_the_clock_only(scaling: dict[str, Any], *, autoscaled: bool):
    smallest = 0 if scaling["signal"] == "jobs" else 1
    sizes = {f"regions.{region}.min": smallest for region in ("us-central1", "us-west1")}
    for group in groups("presubmit-cpu", **sizes, scaling=scaling).values():
        assert group.autoscaled is autoscaled
        assert group.fixed_size is None, "a size that Pulumi keeps would fight with whoever sizes the group"


def test_a_fixed_group_has_its_size_and_no_autoscaler():
    for group in groups("presubmit-gpu").values():
        assert group.fixed_size == 2
        assert not group.autoscaled


def test_a_fixed_group_may_be_parked_at_zero():
    parked = groups("presubmit-gpu", **{"regions.us-west1": {"zones": ["a"], "min": 0, "max": 0}})["us-west1"]
    assert parked.fixed_size == 0, "0 is a size, and not the absence of one"


# Demand --------------------------------------------------------------------------------------------------------------

NONE = {"regions.us-central1.min": 0, "regions.us-west1.min": 0}


def by_jobs(**scaling: Any) -> dict[str, Group]:
    """The groups of presubmit-cpu, two regions of 10 VMs, when it follows jobs."""
    return groups("presubmit-cpu", **NONE, scaling={"signal": "jobs", **scaling})


def test_demand_grows_the_regions_that_a_pool_orders_first_and_the_others_by_name():
    ranks = {region: group.rank for region, group in by_jobs(region_order=["us-west1"]).items()}
    assert ranks == {"us-west1": 0, "us-central1": 1}


def test_without_an_order_regions_grow_by_name():
    assert [group.rank for group in by_jobs().values()] == [0, 1]


@pytest.mark.parametrize(
    ("idle", "west", "central"),
    [
        pytest.param(0, 0, 0, id="none"),
        pytest.param(3, 3, 0, id="within the first region"),
        pytest.param(10, 10, 0, id="as many as the first region holds"),
        pytest.param(13, 10, 3, id="more than the first region holds"),
        pytest.param(20, 10, 10, id="all that the pool may have"),
    ],
)
def test_idle_vms_rest_in_the_regions_that_grow_first(idle: int, west: int, central: int):
    made = by_jobs(idle=idle, region_order=["us-west1", "us-central1"])
    assert {region: group.at_rest for region, group in made.items()} == {"us-west1": west, "us-central1": central}


def test_a_group_that_follows_no_jobs_rests_at_its_minimum():
    assert [group.at_rest for group in groups("presubmit-cpu").values()] == [1, 1]
    assert [group.at_rest for group in groups("presubmit-gpu").values()] == [2, 2]
