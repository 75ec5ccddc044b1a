from typing import Any

import pytest
from fleet_configuration import (
    CANARY,
    DELETE,
    STABLE,
    TREE_BUNDLE,
    change,
    changed,
    faults,
    paths,
    places,
    settings_of,
    valid,
)
from hypothesis import given
from hypothesis import settings as running
from hypothesis import strategies as st
from pydantic import ValidationError

from fleet.draft import OPTIONAL, SECTIONS
from fleet.errors import ConfigError
from fleet.schema.project import Lifecycle
from fleet.schema.reconciler import ReconcilerSettings
from fleet.settings import Settings, load, read

POOL = "pools.presubmit-cpu"
MAX = f"{POOL}.regions.us-west1.max"


# What a valid configuration becomes --------------------------------------------------------------------------------


def test_the_valid_configuration_loads(settings: Settings):
    assert settings.environment == "prod"
    assert list(settings.pools) == list(valid()["pools"])
    assert settings.pools["presubmit-cpu"].regions["us-west1"].max == 10
    assert settings.rollout.stable == STABLE
    assert settings.newest_version == CANARY


def test_settings_cannot_be_changed(settings: Settings):
    with pytest.raises(AttributeError):
        settings.environment = "testing"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValidationError, match="frozen"):
        settings.google.project = "other"


def test_reading_a_section_at_a_time_gives_the_same_settings(settings: Settings):
    # Pulumi's configuration gives None for a section that no file has.
    sections = valid()
    assert read(sections.get, environment="prod", tree_bundle=TREE_BUNDLE) == settings


def test_only_the_time_limits_and_the_reconcilers_may_be_left_out():
    for section in SECTIONS:
        expected = [] if section in OPTIONAL else [section]
        assert [path for path in paths(changed({section: DELETE})) if path == section] == expected
    bare = settings_of(changed({"lifecycle": DELETE, "reconciler": DELETE}))
    assert (bare.lifecycle, bare.reconciler) == (Lifecycle(), ReconcilerSettings())


def test_a_section_that_is_null_is_not_taken_for_a_missing_one():
    assert [str(fault) for fault in faults(changed({"pools": None}))] == [
        "pools: saw null; allowed: a mapping of names to objects; fix: declare the pools"
    ]


def test_a_pool_has_every_version_with_an_image_for_its_class():
    raw = changed({f"versions.{STABLE}.images.arm64": DELETE, "rollout": {"stable": CANARY, "canary": None}})
    settings = settings_of(raw)
    assert settings.pool_versions("presubmit-arm64") == (CANARY,)
    assert settings.pool_versions("presubmit-a100") == (STABLE, CANARY), "the a100 class boots the gpu image"


def test_a_pools_boot_images_are_those_of_its_classs_key(settings: Settings):
    assert settings.pool_images("presubmit-a100") == (("gpu", STABLE), ("gpu", CANARY))


def test_nobody_who_says_nothing_has_a_reconciler_that_acts():
    assert settings_of(changed({"reconciler": {}})).reconciler.dry_run is True


def test_images_are_made_for_keys_that_a_pool_uses():
    settings = settings_of(changed({"pools.presubmit-arm64": DELETE}))
    assert [(key, version) for key, version, _ in settings.images()] == [
        ("cpu", STABLE),
        ("gpu", STABLE),
        ("cpu", CANARY),
        ("gpu", CANARY),
    ]


def test_groups_of_the_whole_fleet_come_by_pool_and_region(settings: Settings):
    assert [group.base_instance_name for group, _ in settings.sized_groups()] == [
        "gh-runner-postsubmit-cpu-us-central1",
        "gh-runner-presubmit-a100-us-central1",
        "gh-runner-presubmit-a100-us-east1",
        "gh-runner-presubmit-arm64-us-central1",
        "gh-runner-presubmit-cpu-us-central1",
        "gh-runner-presubmit-cpu-us-west1",
        "gh-runner-presubmit-gpu-us-central1",
        "gh-runner-presubmit-gpu-us-west1",
    ]


# All faults at once ------------------------------------------------------------------------------------------------


def test_all_faults_are_reported_at_once():
    raw = changed(
        {
            "google.project": "X",
            "network.regions.us-east1": "10.30.0.0/20",
            "machine_classes.cpu.disk_gb": "1000GB",
            "trust_levels.basic.allowed_events": ["pull_request"],
            "rollout.canary": STABLE,
            MAX: None,  # a value of the wrong type in one pool …
            "pools.presubmit-gpu.regions.us-west1.min": 1,  # … hides no broken rule of another
            "pool": {},
        }
    )
    assert sorted(paths(raw)) == sorted(
        [
            "google.project",
            "network.regions.us-east1",
            "machine_classes.cpu.disk_gb",
            "trust_levels.basic.allowed_events",
            "rollout.canary",
            MAX,
            "pools.presubmit-gpu.regions.us-west1.min",
            "pool",
        ]
    )


def test_the_text_of_the_error_is_a_line_for_each_fault():
    raw = changed({MAX: "10", "lifecycle.boot_deadline_seconds": 5})
    with pytest.raises(ConfigError) as caught:
        settings_of(raw)
    assert str(caught.value).splitlines() == [
        "lifecycle.boot_deadline_seconds: saw 5; allowed: seconds, 60 to 3000; fix: write seconds, 60 to 3000",
        f'{MAX}: saw "10"; allowed: VMs, 0 to 2000; fix: write 10, a number without quotes or unit',
    ]


def test_two_faults_of_one_pool_are_two_lines():
    assert paths(changed({MAX: "10", f"{POOL}.scaling.target": 2})) == [MAX, f"{POOL}.scaling.target"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("machine_classes.cpu.disk_gb", "1000GB"),
        ("trust_levels.minimal.runner_group", 5),
        (f"versions.{STABLE}.runner", "latest"),
        ("runner_releases.2.337.0.released", "soon"),
    ],
)
def test_a_faulty_entry_is_no_dangling_reference_elsewhere(path: str, value: Any):
    # Pools, the rollout and versions name these entries.
    assert paths(changed({path: value})) == [path]


# Each mistake an operator makes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("pool", "pools"),
        ("machine_clases", "machine_classes"),
        ("google.name_prefx", "name_prefix"),
        ("lifecycle.max_run_secs", "max_run_seconds"),
        (f"{POOL}.machine_clas", "machine_class"),
        (f"{POOL}.regions.us-west1.zone", "zones"),
        (f"{POOL}.scaling.cool_down", "cool_down_seconds"),
        (f"{POOL}.canary.instance", "instances"),
        ("machine_classes.gpu.accelerator.counts", "count"),
        (f"versions.{STABLE}.boot_bundel", "boot_bundle"),
        ("trust_levels.basic.artifacts.retention", "retention_days"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest_known_one(path: str, nearest: str):
    [fault] = faults(changed({path: 1}))
    assert ".".join(fault.path) == path
    assert fault.seen == f"the unknown key {path.rpartition('.')[2]}"
    assert nearest in fault.allowed
    assert fault.fix == f"did you mean {nearest}?"


def test_an_unknown_key_like_no_other_is_to_be_removed():
    [fault] = faults(changed({"weather": "fair"}))
    assert fault.fix == "remove weather"


def test_a_key_of_another_signal_is_not_proposed():
    [fault] = faults(changed({"pools.presubmit-gpu.scaling.target": 0.6}))
    assert fault.fix == "remove target"


@pytest.mark.parametrize("path", ["google.project", f"{POOL}.trust", f"{POOL}.scaling", "rollout.canary"])
def test_a_missing_key_is_to_be_added(path: str):
    [fault] = faults(changed({path: DELETE}))
    assert ".".join(fault.path) == path
    assert fault.seen == "nothing"
    assert fault.fix == f"add {path.rpartition('.')[2]}"


@pytest.mark.parametrize(
    ("path", "value", "fix"),
    [
        pytest.param("machine_classes.cpu.disk_gb", "1000GB", "write 1000, a number", id="a unit"),
        pytest.param(f"{POOL}.scaling.cool_down_seconds", "60s", "write 60, a number", id="a unit of time"),
        pytest.param(MAX, "10", "write 10, a number", id="a quoted number"),
        pytest.param(f"{POOL}.scaling.target", "0.6", "write 0.6, a number", id="a quoted fraction"),
        pytest.param(MAX, 10.0, "write VMs, 0 to 2000", id="a fraction where a whole number stands"),
        pytest.param(MAX, 1.5, "write VMs, 0 to 2000", id="a fraction"),
        pytest.param(MAX, True, "write VMs, 0 to 2000", id="a truth for a number"),
        pytest.param("machine_classes.gpu.secure_boot", "no", "write true, or false", id="a word for a truth"),
        pytest.param("github.app_id", 4711, 'put it in quotes: "4711"', id="a number for text"),
        pytest.param(f"{POOL}.regions.us-west1.zones", "abc", "write zone letters", id="text for a list"),
        pytest.param(f"versions.{STABLE}.images", [], "write", id="a list for a mapping"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_what_to_write(path: str, value: Any, fix: str):
    [fault] = faults(changed({path: value}))
    assert ".".join(fault.path) == path
    assert fault.fix.startswith(fix)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(f"{POOL}.canary", {"instances": 1, "percent": 2}, id="two kinds of canary"),
        pytest.param(f"{POOL}.canary", {"instanecs": 1}, id="no kind of canary"),
        pytest.param(POOL, None, id="an empty pool"),
        pytest.param(f"{POOL}.regions", {}, id="no region"),
        pytest.param(f"{POOL}.regions.us-west1", None, id="an empty region"),
        pytest.param("machine_classes.gpu.accelerator", "T4", id="text for a GPU"),
        pytest.param("google.labels.team", 5, id="a number for a label"),
    ],
)
def test_what_is_allowed_is_said_in_the_words_of_the_file(path: str, value: Any):
    [fault] = faults(changed({path: value}))
    assert not [word for word in ("Input", "instance of", "discriminator", "Dictionary") if word in str(fault)]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("trust_levels.basic.allowed_events", "push", id="one event without a list"),
        pytest.param("machine_classes.a100.reservation", "some", id="a word nobody has"),
        pytest.param(f"{POOL}.regions.us-west1.zones", [1], id="a number in a list"),
    ],
)
def test_one_mistake_is_one_fault(path: str, value: Any):
    assert len(faults(changed({path: value}))) == 1


@pytest.mark.parametrize("path", [f"{POOL}.trust", f"{POOL}.machine_class"])
def test_a_line_break_in_a_value_makes_no_second_line(path: str):
    assert all(len(str(fault).splitlines()) == 1 for fault in faults(changed({path: "one\ntwo"})))


# Whatever stands there ---------------------------------------------------------------------------------------------

_PRINTABLE = st.text(st.characters(exclude_categories=("C", "Z")), max_size=70)
_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | _PRINTABLE
JUNK = st.recursive(
    _PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_PRINTABLE, inner, max_size=3),
    max_leaves=6,
)
PLACES = places(valid())


def test_there_are_places_for_junk_in_every_section():
    assert {place[0] for place in PLACES} == set(SECTIONS)
    assert max(len(place) for place in PLACES) == 6, "as deep as a schedule's cron"


@running(max_examples=300, deadline=None, database=None, derandomize=True)
@given(place=st.sampled_from(PLACES), junk=JUNK)
def test_junk_in_place_of_any_value_is_told_in_faults_and_nothing_else(place: tuple[Any, ...], junk: Any):
    raw = valid()
    above: Any = raw
    for key in place[:-1]:
        above = above[key]
    above[place[-1]] = junk
    try:
        load(raw, environment="prod", tree_bundle=TREE_BUNDLE)
    except ConfigError as error:
        found = error.faults
    else:
        return  # junk that is valid there
    assert found
    assert all(fault.path for fault in found)
    assert all(len(str(fault).splitlines()) == 1 for fault in found)


def test_changing_a_configuration_leaves_the_original_alone(raw: dict[str, Any]):
    assert change(raw, "runner_releases.2.337.0.released", "2026-09-01") != raw
    assert raw == valid()


def test_a_machine_type_like_no_other_is_not_guessed_at():
    [fault] = faults(changed({"machine_classes.cpu.machine_type": "???"}))
    assert fault.fix == "name another one. If ??? exists, add its series to fleet/catalog/machine_types.py"
