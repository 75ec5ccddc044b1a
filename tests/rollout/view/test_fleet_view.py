"""A snapshot judged against what the stack declares."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace

import pytest

from demo.rollout_fleet import base36
from rollout.view.disagreements import Disagreement, Kind
from rollout.view.fleet_view import view
from rollout.view.matching import Registered, instance_id
from rollout.view.seen import Known, Unknown
from rollout.view.snapshot import GroupSeen, RunnerSeen
from rollout.view.standing import Deployed, Listener, declared
from rollout.view.vm_state import VmState
from tests.rollout.view.seen_fleet import CANARY, CPU_SIZED, NOW, STABLE, SeenFleet, minutes, settings_with

CPU = "presubmit-cpu"


def found(fleet: SeenFleet, kind: Kind) -> list[Disagreement]:
    return [each for each in view(fleet.settings, fleet.snapshot()).disagreements if each.kind is kind]


def state(fleet: SeenFleet) -> VmState:
    """Of the only VM."""
    groups = [group for pool in view(fleet.settings, fleet.snapshot()).pools for group in pool.groups]
    (only,) = [state for group in groups for by_state in group.vms.values() for state in by_state]
    return only


def test_a_fleet_that_is_well_disagrees_with_nothing(fleet: SeenFleet):
    fleet.vm(CPU, "us-west1")
    fleet.vm(CPU, "us-west1", runner="idle", version=CANARY)
    seen = view(fleet.settings, fleet.snapshot())
    assert seen.disagreements == ()
    assert seen.unknown == {}
    assert {group.deployed for pool in seen.pools for group in pool.groups} == {Deployed.YES}


def test_vms_are_counted_by_version_and_state(fleet: SeenFleet):
    for runner in ("busy", "busy", "idle"):
        fleet.vm(CPU, "us-west1", runner=runner)
    fleet.vm(CPU, "us-west1", runner="", age=2, version=CANARY)
    pool = next(pool for pool in view(fleet.settings, fleet.snapshot()).pools if pool.key == CPU)
    west = next(group for group in pool.groups if group.region == "us-west1")
    assert west.vms == {STABLE: {VmState.BUSY: 2, VmState.IDLE: 1}, CANARY: {VmState.STARTING: 1}}


def test_groups_stand_in_the_order_in_which_demand_grows_them(fleet: SeenFleet):
    pool = next(pool for pool in view(fleet.settings, fleet.snapshot()).pools if pool.key == "presubmit-a100")
    assert [group.region for group in pool.groups] == ["us-west1", "us-central1", "us-east1", "us-west4"]


# States of VMs.


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"runner": "busy"}, VmState.BUSY),
        ({"runner": "idle"}, VmState.IDLE),
        ({"runner": "offline"}, VmState.OFFLINE),
        ({"runner": "", "age": 9}, VmState.STARTING),
        ({"runner": "", "age": 12}, VmState.UNREGISTERED),
        ({"runner": "", "age": 12, "action": "RECREATING"}, VmState.STARTING),
        ({"runner": "", "started": None}, VmState.STARTING),
        ({"runner": "", "unread": "compute: answered HTTP 500"}, VmState.UNKNOWN),
        ({"runner": "idle", "action": "DELETING"}, VmState.LEAVING),
        ({"runner": "", "status": "STOPPING"}, VmState.LEAVING),
        ({"runner": "", "status": "TERMINATED"}, VmState.LEAVING),
        ({"runner": "", "status": "SUSPENDED", "target_status": "SUSPENDED"}, VmState.RESERVE),
        ({"runner": "", "target_status": "STOPPED"}, VmState.RESERVE),
        ({"runner": "", "id": "", "status": "", "action": "CREATING"}, VmState.STARTING),
        ({"runner": "", "id": "", "status": "", "action": "CREATING", "errors": ("QUOTA_EXCEEDED",)}, VmState.STUCK),
    ],
)
def test_a_vm_does_what_its_group_and_github_say(fleet: SeenFleet, fields: dict, expected: VmState):
    fleet.vm(CPU, "us-west1", **fields)
    assert state(fleet) is expected


def test_without_github_a_running_vm_is_unknown_and_never_unregistered(fleet: SeenFleet):
    fleet.vm(CPU, "us-west1", runner="", age=999)
    fleet.replaced["runners"] = Unknown("GitHub: answered HTTP 502")
    assert state(fleet) is VmState.UNKNOWN
    assert found(fleet, Kind.VM_WITHOUT_REGISTRATION) == []


# Which runner is whose.


def test_a_runner_of_a_scale_set_is_told_by_the_end_of_its_name():
    assert instance_id(f"gh-runner-presubmit-cpu-us-west1-ab12-{base36(2**63 + 5)}", ()) == str(2**63 + 5)


def test_a_runner_with_labels_is_told_by_them_and_never_by_its_name():
    assert instance_id("gh-runner-x-7", ("self-hosted", "instance-id=123")) == "123"
    assert instance_id("gh-runner-x-7", ("instance-id=123", "instance-id=124")) == ""


@pytest.mark.parametrize("name", ["", "plain name!", "gh-runner-0abc", "gh-" + "z" * 14, "gh-zzzzzzzzzzzzz"])
def test_a_name_that_cannot_hold_an_id_is_of_no_vm(name: str):
    assert instance_id(name, ()) == ""


def test_a_labelled_runner_that_bears_its_vms_name_is_the_vms(fleet: SeenFleet):
    vm = fleet.vm(CPU, "us-west1", runner="")
    runner = RunnerSeen(id=1, name=vm.name.upper(), online=True, busy=False)
    assert Registered([runner]).of(vm) == (runner,)


# What is deployed.


def test_a_group_that_runs_stable_only_is_not_deployed_while_the_stack_has_a_canary(fleet: SeenFleet):
    fleet.change(CPU, "us-west1", versions={STABLE: "rest"})
    (one,) = found(fleet, Kind.NOT_DEPLOYED)
    assert one.says == f"it is set to {STABLE} (rest), the stack says {STABLE} (rest), {CANARY} (1 VM)"


@pytest.mark.parametrize("versions", [{STABLE: "rest", CANARY: "2 VMs"}, {CANARY: "rest"}, {}])
def test_other_shares_and_other_versions_are_not_deployed(fleet: SeenFleet, versions: dict[str, str]):
    fleet.change(CPU, "us-west1", versions=versions)
    assert len(found(fleet, Kind.NOT_DEPLOYED)) == 1


def test_a_foreign_template_is_named(fleet: SeenFleet):
    versions = declared(next(g for g in fleet.settings.groups(CPU) if g.region == "us-west1"))
    fleet.change(CPU, "us-west1", versions=versions, foreign_templates=("by-hand",))
    assert "by-hand" in found(fleet, Kind.NOT_DEPLOYED)[0].says


def test_a_region_that_is_all_canary_is_set_to_it_alone(fleet: SeenFleet):
    group = next(g for g in fleet.settings.groups("presubmit-a100") if g.region == "us-central1")
    assert declared(group) == {CANARY: "rest"}


def test_a_group_that_is_not_there_is_missing_and_one_that_cannot_be_read_is_not(fleet: SeenFleet):
    fleet.groups[fleet.name(CPU, "us-west1")] = Known(None)
    fleet.groups[fleet.name(CPU, "us-central1")] = Unknown("compute: answered HTTP 500")
    assert [each.subject for each in found(fleet, Kind.GROUP_MISSING)] == [fleet.name(CPU, "us-west1")]
    assert found(fleet, Kind.NOT_DEPLOYED) == []
    assert view(fleet.settings, fleet.snapshot()).unknown == {
        f"group {fleet.name(CPU, 'us-central1')}": "compute: answered HTTP 500"
    }


# What disagrees.


def test_a_vm_past_its_boot_deadline_without_a_runner(fleet: SeenFleet):
    vm = fleet.vm(CPU, "us-west1", runner="", age=20)
    (one,) = found(fleet, Kind.VM_WITHOUT_REGISTRATION)
    assert (one.subject, one.pool) == (vm.name, CPU)
    assert "it runs for 20 min" in one.says


def test_a_runner_whose_vm_no_group_lists(fleet: SeenFleet):
    fleet.runners.append(
        RunnerSeen(id=5, name=f"gh-runner-{CPU}-us-west1-zzzz-{base36(10**18)}", online=False, busy=False)
    )
    (one,) = found(fleet, Kind.REGISTRATION_WITHOUT_VM)
    assert (one.pool, str(10**18) in one.says) == (CPU, True)


def test_a_runner_of_another_fleet_is_none_of_ours(fleet: SeenFleet):
    fleet.runners.append(RunnerSeen(id=5, name="somebody-elses-zzzz-1a", online=False, busy=False))
    assert found(fleet, Kind.REGISTRATION_WITHOUT_VM) == []


def test_no_runner_is_without_a_vm_while_a_group_is_unknown(fleet: SeenFleet):
    fleet.runners.append(
        RunnerSeen(id=5, name=f"gh-runner-{CPU}-us-west1-zzzz-{base36(10**18)}", online=False, busy=False)
    )
    fleet.groups[fleet.name("postsubmit-gpu", "us-west1")] = Unknown("no answer")
    assert found(fleet, Kind.REGISTRATION_WITHOUT_VM) == []


def test_a_group_that_nobody_declares_is_a_stranger(fleet: SeenFleet):
    fleet.replaced["strangers"] = Known(("gh-runner-old-pool-us-west1-abcd",))
    assert [each.subject for each in found(fleet, Kind.UNKNOWN_GROUP)] == ["gh-runner-old-pool-us-west1-abcd"]


def test_a_runner_group_that_github_does_not_have(fleet: SeenFleet):
    fleet.replaced["runner_groups"] = Known({})
    assert [each.subject for each in found(fleet, Kind.RUNNER_GROUP_MISSING)] == ["presubmit", "postsubmit"]


def test_a_vm_that_cannot_be_made(fleet: SeenFleet):
    fleet.vm(CPU, "us-west1", runner="", id="", status="", action="CREATING", errors=("QUOTA_EXCEEDED",))
    assert "QUOTA_EXCEEDED" in found(fleet, Kind.CANNOT_BE_MADE)[0].says


def test_a_silent_listener_is_one_disagreement_for_each_pool_that_it_is_silent_of(fleet: SeenFleet):
    fleet.says(CPU, expires=NOW - minutes(1))
    del fleet.words["postsubmit-gpu"]
    silent = found(fleet, Kind.LISTENER_SILENT)
    assert [each.pool for each in silent] == [CPU, "postsubmit-gpu"]
    assert "since 2026-11-28 11:59 UTC" in silent[0].says


def test_a_listener_whose_records_cannot_be_read_is_unknown_and_not_silent(fleet: SeenFleet):
    fleet.replaced["words"] = Unknown("storage: answered HTTP 503")
    assert found(fleet, Kind.LISTENER_SILENT) == []
    assert {pool.listener for pool in view(fleet.settings, fleet.snapshot()).pools} == {Listener.UNKNOWN}


def test_a_pool_that_does_not_follow_jobs_has_no_listener():
    fleet = SeenFleet(settings_with(pools__presubmit_cpu=CPU_SIZED))
    del fleet.words[CPU]
    pool = next(pool for pool in view(fleet.settings, fleet.snapshot()).pools if pool.key == CPU)
    assert pool.listener is Listener.NONE
    assert found(fleet, Kind.LISTENER_SILENT) == []


# Versions.


def test_versions_with_a_role_or_vms_are_listed_the_newest_first(fleet: SeenFleet):
    fleet.vm(CPU, "us-west1", version="2026-10-01")
    seen = view(fleet.settings, fleet.snapshot())
    assert [(v.id, v.role, v.vms) for v in seen.versions] == [
        (CANARY, "canary", 0),
        (STABLE, "stable", 0),
        ("2026-10-01", "unused", 1),
    ]
    assert seen.versions[-1].runner == ""


def test_a_runners_deadline_is_judged_on_the_day_of_the_look():
    releases = {"2.338.0": {"released": "2026-11-01T00:00:00Z", "sha256": {}}}
    fleet = SeenFleet(settings_with(runner_releases=releases))
    (canary, _) = view(fleet.settings, fleet.snapshot()).versions
    assert (canary.due, canary.deadline) == (datetime.date(2026, 12, 1), "near")


def test_every_source_that_failed_is_unknown_in_the_json_and_the_rest_is_there(fleet: SeenFleet):
    fleet.vm(CPU, "us-west1")
    for source in ("runners", "words", "reconciled", "runner_groups", "strangers"):
        fleet.replaced[source] = Unknown(f"{source} failed")
    name = fleet.name(CPU, "us-central1")
    fleet.groups[name] = Unknown("group failed")
    west = fleet.group(CPU, "us-west1")
    vms = (replace(west.vms[0], unread="VM failed"),)
    fleet.groups[west.name] = Known(GroupSeen(name=west.name, target=1, versions=west.versions, vms=vms))
    said = json.loads(json.dumps(view(fleet.settings, fleet.snapshot()).to_json()))
    assert said["complete"] is False
    assert set(said["unknown"].values()) == {
        *(f"{source} failed" for source in ("runners", "words", "reconciled", "runner_groups", "strangers")),
        "group failed",
        "VM failed",
    }
    assert len(said["pools"]) == len(fleet.settings.pools)
