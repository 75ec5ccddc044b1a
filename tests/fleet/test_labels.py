from fleet_configuration import CANARY, changed, settings_of

from fleet.labels import google_labels, version_labels
from fleet.settings import Settings


def test_every_google_resource_says_whose_it_is(settings: Settings):
    assert settings.google_labels() == {
        "cost-center": "ci",
        "fleet": "runner-fleet",
        "managed-by": "runner-fleet",
        "stack": "prod",
    }


def test_a_resource_adds_what_it_is_for(settings: Settings):
    assert settings.google_labels(pool="presubmit-cpu")["pool"] == "presubmit-cpu"


def test_labels_are_sorted_so_that_no_order_is_a_change():
    made = google_labels("prod", {"zebra": "1", "ant": "2"}, pool="p")
    assert list(made) == sorted(made)


def test_no_environment_label_replaces_one_of_ours():
    made = google_labels("prod", {"stack": "testing", "pool": "other"}, pool="mine")
    assert (made["stack"], made["pool"]) == ("prod", "mine")


def test_a_job_asks_for_a_pool_as_in_the_original_fleet(settings: Settings):
    assert settings.addressable_labels("presubmit-cpu") == (
        "self-hosted",
        "Linux",
        "X64",
        "os-family=Linux",
        "runner-group=presubmit",
        "trust=minimal",
        "environment=prod",
        "cpu",
        "machine-type=n1-standard-96",
        "build-farm",
    )


def test_an_arm_pool_is_asked_for_by_githubs_own_word(settings: Settings):
    assert "ARM64" in settings.addressable_labels("presubmit-arm64")


def test_no_label_of_a_pool_names_a_version(settings: Settings):
    # Jobs that ask for a version would find nobody once it is rolled on.
    mine = settings.addressable_labels("presubmit-cpu")
    assert not [label for label in mine if CANARY in label or "2.337.0" in label]


def test_a_runner_also_says_which_version_it_is(settings: Settings):
    extra = settings.runner_labels("presubmit-cpu", CANARY)[len(settings.addressable_labels("presubmit-cpu")) :]
    assert extra == version_labels(CANARY, "2.337.0") == ("runner-version=2.337.0", f"template-version={CANARY}")


def test_a_runner_of_a_scale_set_has_the_sets_labels_and_no_others(settings: Settings):
    # One list for all its runners, so no version stands in it; the set's own name always does.
    mine = settings.runner_labels("presubmit-arm64", CANARY)
    assert mine == (*settings.addressable_labels("presubmit-arm64"), "gh-runner-presubmit-arm64")


def test_no_job_for_one_pool_can_land_on_another(settings: Settings):
    sets = {pool: {label.lower() for label in settings.addressable_labels(pool)} for pool in settings.pools}
    assert not [(one, two) for one in sets for two in sets if one != two and sets[one] <= sets[two]]


def test_two_pools_of_one_trust_and_class_load_when_each_has_a_label_of_its_own():
    raw = changed({"pools.presubmit-cpu.labels": ["large"]})
    raw["pools"]["presubmit-cpu-small"] = {**raw["pools"]["presubmit-cpu"], "labels": ["small"]}
    assert "presubmit-cpu-small" in settings_of(raw).pools
