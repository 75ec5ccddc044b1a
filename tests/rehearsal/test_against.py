"""What changes is said by pool, as an engine would do it, with what it means for running VMs."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from rehearsal.against import compare
from rehearsal.inventory import Inventory
from rehearsal.render import changes_sheet


@pytest.fixture
def against_prod(prod, rehearse_edited):
    """The comparison of an edited prod configuration with prod."""
    return lambda config: compare(prod, rehearse_edited(config), "main")


@pytest.fixture
def against_mixed(mixed, rehearse_edited):
    """The comparison of an edited configuration with the one that has other signals besides jobs."""
    return lambda config: compare(mixed, rehearse_edited(config), "main")


ROLES = ("broker", "deleter", "listener", "reconciler")
FUNCTIONS = {*(("changed", f"{role}-function") for role in ROLES), *(("replaced", f"{role}-source") for role in ROLES)}
"""All are deployed with the list of groups, so an edit of a group deploys them anew."""


def said(comparison):
    """Action and name of each change, but for the functions'."""
    return {(change.action, change.resource.name) for change in of_pools(comparison)}


def of_pools(comparison):
    return [change for change in comparison.changes if not change.owner.startswith("ProxyFunction")]


def test_an_edit_of_a_group_deploys_the_functions_anew_and_says_why(prod_config, against_prod):
    prod_config["runner-fleet:pools"]["presubmit-cpu"]["regions"]["us-west1"]["max"] = 12
    changes = [change for change in against_prod(prod_config).changes if change.owner.startswith("ProxyFunction")]
    assert {(change.action, change.resource.name) for change in changes} == FUNCTIONS
    function = next(change for change in changes if change.resource.name == "broker-function")
    assert "its code or its list of groups is another" in function.consequence


def test_nothing_changes_against_itself(prod):
    assert compare(prod, prod, "main").summary() == "no changes against main"


def test_an_edit_of_a_machine_class_is_frozen_and_says_how_to_make_it_real(prod_config, against_prod):
    prod_config["runner-fleet:machine_classes"]["arm64"]["machine_type"] = "t2a-standard-16"
    comparison = against_prod(prod_config)
    assert {change.action for change in of_pools(comparison)} == {"frozen"}
    assert str(of_pools(comparison)[0].properties[0]) == "machineType: t2a-standard-8 → t2a-standard-16"
    assert "scripts/rollout cut" in of_pools(comparison)[0].consequence


def test_another_maximum_of_a_pool_that_follows_jobs_is_said_though_no_resource_has_it(prod_config, against_prod):
    prod_config["runner-fleet:pools"]["presubmit-cpu"]["regions"]["us-west1"]["max"] = 12
    [change] = of_pools(against_prod(prod_config))
    assert (change.action, change.owner) == ("changed", "RunnerPool presubmit-cpu")
    assert [str(edit) for edit in change.properties] == ["demand.max.us-west1: 10 → 12"]
    assert "next call" in change.consequence


def test_an_edit_of_the_size_that_an_autoscaler_keeps_is_frozen_for_the_group(mixed_config, against_mixed):
    edited = copy.deepcopy(mixed_config)
    edited["runner-fleet:pools"]["presubmit-cpu"]["regions"]["us-west1"]["min"] = 2
    assert said(against_mixed(edited)) == {
        ("frozen", "presubmit-cpu-us-west1-group"),
        ("changed", "presubmit-cpu-us-west1-autoscaler"),
    }


def test_other_zones_replace_the_group_and_name_the_one_that_goes(mixed_config, against_mixed):
    edited = copy.deepcopy(mixed_config)
    edited["runner-fleet:pools"]["presubmit-cpu"]["regions"]["us-west1"]["zones"] = ["a", "b"]
    comparison = against_mixed(edited)
    assert said(comparison) == {
        ("replaced", "presubmit-cpu-us-west1-group"),
        ("replaced", "presubmit-cpu-us-west1-autoscaler"),
    }
    assert "drain it" in of_pools(comparison)[1].consequence
    assert comparison.summary() == "6 replaced, 4 changed; groups that go: gh-runner-presubmit-cpu-us-west1-c1yu"


def test_a_step_that_google_refuses_is_said_before_it_is_tried(mixed_config, against_mixed):
    edited = copy.deepcopy(mixed_config)
    pool = edited["runner-fleet:pools"]["presubmit-cpu"]
    pool["scaling"] = {"signal": "fixed"}
    for region in pool["regions"].values():
        region.update(min=3, max=3)
    groups = [change for change in against_mixed(edited).changes if change.resource.name.endswith("-group")]
    assert len(groups) == 2
    assert all("deploy `signal: jobs` before" in change.consequence for change in groups)


def test_the_step_by_way_of_jobs_is_fine(prod_config, prod, mixed, rehearse_edited):
    assert not any(change.stuck for change in compare(mixed, prod, "main").changes)
    pool = prod_config["runner-fleet:pools"]["presubmit-cpu"]
    pool["scaling"] = {"signal": "fixed"}
    for region in pool["regions"].values():
        region.update(min=3, max=3)
    assert not any(change.stuck for change in compare(prod, rehearse_edited(prod_config), "main").changes)


def test_a_pool_that_begins_to_follow_jobs_keeps_its_vms(mixed, prod):
    comparison = compare(mixed, prod, "main")
    assert said(comparison) == {
        *((what, f"presubmit-cpu-{region}-{of}") for region in REGIONS for what, of in (("frozen", "group"), GONE)),
        *(("frozen", f"presubmit-gpu-{region}-group") for region in REGIONS),
        *(("changed", f"presubmit-{kind}") for kind in ("cpu", "gpu")),
        *(
            ("frozen", f"presubmit-{kind}-{region}-template-v2026-11-25")
            for kind in ("cpu", "gpu")
            for region in REGIONS
        ),
    }
    assert not any(change.goes for change in comparison.changes)
    sizes = {change.consequence for change in of_pools(comparison) if change.resource.name.endswith("-group")}
    assert sizes == {"no effect: something else sizes the group once it exists"}


REGIONS = ("us-central1", "us-west1")
GONE = ("removed", "autoscaler")


def test_a_resource_that_is_only_called_otherwise_is_no_change(prod):
    before = tuple(
        replace(resource, urn=resource.urn.replace("::app-key-read-by-broker", "::app-key-read"))
        for resource in prod.resources
    )
    assert before != prod.resources
    former = Inventory(stack="prod", resources=before, exports={})
    assert compare(former, prod, "main").changes == ()


def test_a_removed_pool_takes_its_vms_along(prod_config, against_prod):
    del prod_config["runner-fleet:pools"]["postsubmit-arm64"]
    comparison = against_prod(prod_config)
    assert {change.action for change in of_pools(comparison)} == {"removed"}
    assert {change.owner for change in of_pools(comparison)} == {"RunnerPool postsubmit-arm64"}
    assert "gh-runner-postsubmit-arm64-us-central1" in comparison.summary()


def test_a_canary_changes_groups_in_place_and_no_running_vm(prod_config, rehearse_edited):
    versions = prod_config["runner-fleet:versions"]
    versions["2027-01-05"] = {**copy.deepcopy(versions["2026-11-25"])}
    versions["2026-11-25"]["boot_bundle"] = f"sha256:{'0' * 64}"
    cut = rehearse_edited(prod_config)
    prod_config["runner-fleet:rollout"]["canary"] = "2027-01-05"
    comparison = compare(cut, rehearse_edited(prod_config), "main")
    # One group in each region of the EVEN pools, and the a100 pools' first region.
    assert len(comparison.changes) == 12
    assert {change.action for change in comparison.changes} == {"changed"}
    assert all("finish their job" in change.consequence for change in comparison.changes)


def test_a_grant_says_who_gets_what_where(prod_config, against_prod):
    releaser = {**prod_config["runner-fleet:trust_levels"]["basic"], "runner_group": "release"}
    prod_config["runner-fleet:trust_levels"]["releaser"] = {**releaser, "allowed_events": ["release"]}
    consequences = {change.consequence for change in against_prod(prod_config).changes}
    assert (
        "${releaser-account.member} gets roles/storage.objectCreator on iree-oss-gh-runner-releaser-artifacts"
    ) in consequences


def test_what_is_retained_or_protected_says_so_when_it_goes(prod):
    without = [r for r in prod.resources if r.name not in {"app-key"} and not r.name.endswith(".tar")]
    after = Inventory(stack="prod", resources=tuple(without), exports={})
    consequences = {change.resource.name: change.consequence for change in compare(prod, after, "main").changes}
    assert "protected" in consequences.pop("app-key")
    assert "retained on delete" in consequences.popitem()[1]


def test_two_stacks_merely_differ(prod, testing):
    comparison = compare(testing, prod, "testing")
    assert {change.action for change in comparison.changes} == {"differs"}
    assert not any(change.consequence or change.goes for change in comparison.changes)


def test_the_table_names_each_owner_once(prod_config, against_prod):
    prod_config["runner-fleet:machine_classes"]["cpu"]["disk_gb"] = 500
    rows = changes_sheet(against_prod(prod_config)).rows
    assert [row[0] for row in rows] == ["RunnerPool postsubmit-cpu", "", "RunnerPool presubmit-cpu", ""]
