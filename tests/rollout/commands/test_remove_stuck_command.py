"""Stuck VMs go after proof, a question, and one more look; what cannot be seen whole ends it before anything goes."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest

from rollout.commands import remove_stuck
from rollout.exits import Exit
from rollout.plans import removal
from tests.rollout.commands.operated_fleet import FOR_LONG, HOLD, POOL, operated

DELETE, RECREATE = "compute.delete_instances", "compute.recreate_instances"


@pytest.fixture
def fleet(versions, monkeypatch):
    with operated(versions, monkeypatch) as fleet:
        for _ in range(5):
            fleet.of("busy")
        yield fleet


def remove(rollout, *words):
    return rollout("remove-stuck", "prod", *words)


def ordered(fleet):
    """The names of all VMs whose end was asked for."""
    asked = [*fleet.site.asked(DELETE), *fleet.site.asked(RECREATE)]
    return [name.rpartition("/")[2] for request in asked for name in json.loads(request.body)["instances"]]


def test_a_stuck_vm_is_removed_through_its_group_and_nobody_else(fleet, rollout):
    vm = fleet.of("")
    result = remove(rollout, "--yes")
    assert result.exit_code == Exit.DONE, result.output
    assert ordered(fleet) == [vm.name]
    assert vm.action == "DELETING"
    assert "1 removed" in result.stdout


def test_the_list_comes_first_and_without_a_yes_nobody_goes(fleet, rollout):
    vm = fleet.of("")
    result = remove(rollout)
    assert (result.exit_code, ordered(fleet)) == (Exit.DECLINED, [])
    (line,) = [line for line in result.stdout.splitlines() if vm.name in line]
    assert line.endswith("30 m old  stuck: it never registered")


def test_a_stack_that_is_never_asked_is_asked_all_the_same(versions, fleet, rollout):
    path = versions / "Pulumi.prod.yaml"
    text = path.read_text()
    assert "confirm: true" in text
    path.write_text(text.replace("confirm: true", "confirm: false"))
    fleet.of("")
    result = remove(rollout)
    assert (result.exit_code, ordered(fleet)) == (Exit.DECLINED, []), result.output


def test_a_dry_run_removes_nobody(fleet, rollout):
    vm, given = fleet.of(""), fleet.of("")
    fleet.grant(given)
    result = remove(rollout, "--dry-run", "--json")
    assert (result.exit_code, ordered(fleet)) == (Exit.DONE, [])
    said = json.loads(result.stdout)
    assert [one["name"] for one in said["stuck"]] == [vm.name]
    assert [one["name"] for one in said["spared"]] == [given.name]


def test_without_a_stuck_vm_it_is_done(fleet, rollout):
    fleet.of("", age_seconds=60)
    result = remove(rollout, "--yes")
    assert (result.exit_code, ordered(fleet)) == (Exit.DONE, [])
    assert "no VM is proved to be stuck" in result.stdout


@pytest.mark.parametrize(
    "route", ["github.runners", "compute.managed_instances", "compute.group", "compute.instance", "storage.list"]
)
@pytest.mark.parametrize("fault", [{"status": 403}, {"kind": "garbage", "status": 200}])
def test_a_query_that_fails_removes_nobody(fleet, rollout, route, fault):
    """The original removed every VM that was older than five minutes when its query of GitHub failed."""
    fleet.of("")
    fleet.site.faults.script(route, times=1000, **fault)
    result = remove(rollout, "--yes")
    assert (result.exit_code, ordered(fleet)) == (Exit.UNREACHABLE, []), result.output


def test_an_empty_answer_of_github_removes_nobody(fleet, rollout):
    fleet.of("")
    fleet.site.github.runners.clear()
    result = remove(rollout, "--yes")
    assert (result.exit_code, ordered(fleet)) == (Exit.UNREACHABLE, [])
    assert "0 of 5 VMs that were given a configuration are listed; nothing is removed" in result.stderr


def test_a_wrong_clock_removes_nobody(fleet, rollout, monkeypatch):
    fleet.of("", age_seconds=60)
    ahead = SimpleNamespace(time=lambda: time.time() + 3600)
    for module in (removal, remove_stuck):
        monkeypatch.setattr(module, "time", ahead)
    result = remove(rollout, "--yes")
    assert (result.exit_code, ordered(fleet)) == (Exit.UNREACHABLE, [])
    assert "this machine's clock" in result.stderr


def test_a_run_removes_a_fifth_of_a_pool_and_a_second_run_goes_on(fleet, rollout):
    vms = [fleet.of("", age_seconds=2000 - number) for number in range(5)]
    assert remove(rollout, "--yes").exit_code == Exit.DONE
    assert ordered(fleet) == [vm.name for vm in vms[:2]]
    assert remove(rollout, "--yes").exit_code == Exit.DONE
    assert ordered(fleet) == [vm.name for vm in vms[:4]]


def test_another_pool_is_left_alone(fleet, rollout):
    fleet.of("")
    other = fleet.of("", pool="postsubmit-cpu")
    assert remove(rollout, "--pool", "postsubmit-cpu", "--yes").exit_code == Exit.DONE
    assert ordered(fleet) == [other.name]


def between(monkeypatch, happens):
    """Something happens after the list, and before the first removal."""
    remove = removal.Removal.remove

    async def later(self, params):
        happens()
        return await remove(self, params)

    monkeypatch.setattr(removal.Removal, "remove", later)


@pytest.mark.parametrize("change", ["held", "registered", "granted", "gone", "anew", "deleting"])
def test_what_changes_after_the_list_is_seen_right_before_the_end(fleet, rollout, monkeypatch, change):
    vm = fleet.of("")
    group = next(group for group in fleet.groups.values() if vm in group.instances)
    changes = {
        "held": lambda: vm.metadata.update({HOLD: FOR_LONG}),
        "registered": lambda: fleet.site.github.add_runner(vm.name),
        "granted": lambda: fleet.grant(vm),
        "gone": lambda: fleet.leaves(vm.name),
        "anew": lambda: (fleet.leaves(vm.name), fleet.site.google.create_instance(group, name=vm.name)),
        "deleting": lambda: setattr(vm, "action", "DELETING"),
    }
    between(monkeypatch, changes[change])
    result = remove(rollout, "--yes")
    assert (result.exit_code, ordered(fleet)) == (Exit.DONE, []), result.output
    assert "1 spared" in result.stdout


def test_a_github_that_fails_after_the_list_removes_nobody(fleet, rollout, monkeypatch):
    fleet.of("")
    between(monkeypatch, lambda: fleet.site.faults.script("github.runners", status=403, times=100))
    result = remove(rollout, "--yes")
    assert (result.exit_code, ordered(fleet)) == (Exit.FAILED, []), result.output


def test_an_order_that_is_repeated_has_the_same_id_as_the_vms_own(fleet, rollout, deleter_id):
    vm = fleet.of("")
    assert remove(rollout, "--yes").exit_code == Exit.DONE
    (order,) = fleet.site.asked(DELETE)
    assert f"requestId={deleter_id(vm.id, 'deleteInstances')}" in order.path


@pytest.fixture
def deleter_id():
    """The deleter's own way to make one."""
    from deleter.decide import request_id

    return request_id


def test_a_pool_that_is_none_is_a_fault(versions, rollout):  # noqa: ARG001 - the project it works in
    result = remove(rollout, "--pool", f"{POOL}-x")
    assert (result.exit_code, "the pools are" in result.output) == (Exit.FAULT, True)
