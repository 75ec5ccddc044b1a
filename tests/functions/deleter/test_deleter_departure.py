"""How a VM is ended through its group, over HTTP, whatever Google answers on the way."""

from __future__ import annotations

import json
import threading

import pytest

from tests.functions.deleter.deleter_world import CPU, FIXED, JOBS

ORDER = "compute.delete_instances"


def test_a_vm_is_deleted_through_its_group_and_the_group_shrinks(world):
    vm, other = world.vms(CPU, 2)
    reply = world.call("DELETE", "/", vm)
    assert (reply.status_code, reply.json()) == (200, {"deleting": True})
    assert (vm.action, other.action) == ("DELETING", "NONE")
    assert world.google.groups[CPU].target_size == 1
    assert world.named(ORDER) == [[f"zones/{vm.zone}/instances/{vm.name}"]]


def test_a_fixed_pools_vm_is_recreated_and_the_group_never_shrinks(world):
    vm, *_ = world.vms(FIXED, 3)
    assert world.call("DELETE", "/", vm).json() == {"deleting": True}
    assert vm.action == "RECREATING"
    assert world.google.groups[FIXED].target_size == 3
    assert world.changed() == ["compute.recreate_instances"]


def test_a_late_copy_of_a_fixed_pools_request_does_not_hit_the_successor(world):
    vm, *_ = world.vms(FIXED, 3)
    headers = world.bearer(vm)
    world.call("DELETE", "/", headers=headers)
    world.site.clock.advance(31)
    assert world.call("DELETE", "/", headers=headers).json()["error"] == "instance_reused"
    assert world.changed() == ["compute.recreate_instances"]


@pytest.mark.parametrize("group", [CPU, JOBS, FIXED])
def test_asking_twice_orders_once(world, group):
    vm, *_ = world.vms(group, 3)
    replies = [world.call("DELETE", "/", vm) for _ in range(3)]
    assert [(reply.status_code, reply.json()) for reply in replies] == [(200, {"deleting": True})] * 3
    assert len(world.changed()) == 1


def test_many_at_once_order_an_end_that_counts_once(world):
    vm, *_ = world.vms(CPU, 3)
    replies = []
    threads = [threading.Thread(target=lambda: replies.append(world.call("DELETE", "/", vm))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [reply.status_code for reply in replies] == [200] * 12
    assert world.google.groups[CPU].target_size == 2


def test_every_order_of_a_vm_has_the_same_request_id(world):
    vm = world.vms(CPU, 1)[0]
    world.faults.script(ORDER, status=503, times=2)
    assert world.call("DELETE", "/", vm).status_code == 200
    ids = {request.path.partition("requestId=")[2] for request in world.site.asked(ORDER)}
    assert len(world.site.asked(ORDER)) == 3
    assert len(ids) == 1
    assert len(ids.pop()) == 36


@pytest.mark.parametrize("action", ["DELETING", "RECREATING"])
def test_a_vm_that_its_group_takes_away_already_is_a_success(world, action):
    vm = world.vms(CPU, 1)[0]
    vm.action = action
    assert world.call("DELETE", "/", vm).json() == {"deleting": True}
    assert world.changed() == []


def test_a_vm_that_stops_already_is_a_success(world):
    vm = world.vms(CPU, 1)[0]
    vm.status = "STOPPING"
    assert world.call("DELETE", "/", vm).json() == {"deleting": True}
    assert world.changed() == []


def test_a_vm_that_is_gone_is_a_success(world):
    vm = world.vms(CPU, 1)[0]
    world.google.delete_instance(vm)
    assert world.call("DELETE", "/", vm).json() == {"deleting": True}
    assert world.changed() == []


def test_an_abandoned_vm_is_told_that_its_group_does_not_have_it(world):
    vm = world.vms(CPU, 1)[0]
    vm.action = "ABANDONING"
    reply = world.call("DELETE", "/", vm)
    assert (reply.status_code, reply.json()["error"]) == (403, "not_a_member")
    assert world.changed() == []


def test_an_order_executed_whose_answer_is_lost_is_found_out(world):
    vm, _ = world.vms(CPU, 2)
    world.faults.script(ORDER, "reset", after=True)
    assert world.call("DELETE", "/", vm).status_code == 200
    assert world.google.groups[CPU].target_size == 1
    assert len(world.site.asked(ORDER)) == 1


def test_a_vm_replaced_between_two_tries_leaves_its_successor_alone(world):
    vm = world.vms(CPU, 1)[0]
    group = world.google.groups[CPU]
    world.faults.script(ORDER, status=503)
    once = world.time.sleep

    def replaced(seconds):
        if vm in group.instances:
            world.google.delete_instance(vm)
            world.google.create_instance(group, name=vm.name)
        once(seconds)

    world.session._sleep = replaced
    assert world.call("DELETE", "/", vm).status_code == 200
    assert [one.action for one in group.instances] == ["NONE"]
    assert len(world.site.asked(ORDER)) == 1


STEPS = ["compute.instance", "compute.managed_instances", ORDER]
PASSING = [429, 500, 502, 503]


@pytest.mark.parametrize("route", STEPS)
@pytest.mark.parametrize("status", PASSING)
def test_a_failure_that_passes_is_waited_out(world, route, status):
    vm = world.vms(CPU, 1)[0]
    world.faults.script(route, status=status, times=2)
    assert world.call("DELETE", "/", vm).status_code == 200


@pytest.mark.parametrize("route", STEPS)
@pytest.mark.parametrize("status", PASSING)
def test_a_failure_that_stays_ends_in_503_within_the_budget(world, route, status):
    vm = world.vms(CPU, 1)[0]
    world.faults.script(route, status=status, times=1000)
    reply = world.call("DELETE", "/", vm)
    assert (reply.status_code, reply.json()["error"]) == (503, "google_unavailable")
    assert int(reply.headers["Retry-After"]) > 0
    assert "must-not-leak" not in reply.text
    assert world.time.seconds <= 45
    assert vm.action == "NONE"


@pytest.mark.parametrize("route", STEPS)
@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refusal_of_googles_ends_in_502_at_once(world, route, status):
    vm = world.vms(CPU, 1)[0]
    world.faults.script(route, status=status, times=1000)
    reply = world.call("DELETE", "/", vm)
    assert (reply.status_code, reply.json()["error"]) == (502, "google_refused")
    assert world.time.seconds == 0


def test_a_group_that_is_not_there_is_googles_refusal(world):
    vm = world.vms(CPU, 1)[0]
    world.faults.script("compute.managed_instances", status=404)
    assert world.call("DELETE", "/", vm).json()["error"] == "google_refused"


@pytest.mark.parametrize("route", STEPS)
@pytest.mark.parametrize("status", [409])
def test_a_conflict_is_no_final_word(world, route, status):
    vm = world.vms(CPU, 1)[0]
    world.faults.script(route, status=status)
    reply = world.call("DELETE", "/", vm)
    expected = 200 if route == ORDER else 503
    assert reply.status_code == expected


@pytest.mark.parametrize("route", [*STEPS, "compute.operation"])
@pytest.mark.parametrize("fault", ["reset", "garbage"])
def test_garbage_and_resets_never_end_in_a_bug(world, route, fault):
    vm = world.vms(CPU, 1)[0]
    world.google.compute.operation_seconds = 1000
    world.faults.script(route, fault, times=3)
    assert world.call("DELETE", "/", vm).status_code in (200, 202, 503)


def test_retry_after_is_obeyed(world):
    vm = world.vms(CPU, 1)[0]
    world.faults.script("compute.managed_instances", status=429, retry_after=7)
    assert world.call("DELETE", "/", vm).status_code == 200
    assert world.time.seconds >= 7


def test_a_request_refused_because_another_was_first_is_a_success(world):
    vm = world.vms(CPU, 1)[0]
    world.google.fail_operation(ORDER, code="INVALID_USAGE", http_status=400)
    once = world.google.compute.operate

    def raced(*arguments, **more):
        vm.action = "DELETING"
        return once(*arguments, **more)

    world.google.compute.operate = raced
    assert world.call("DELETE", "/", vm).json() == {"deleting": True}


def test_an_operation_that_fails_after_it_was_accepted_is_said(world):
    vm = world.vms(CPU, 1)[0]
    world.google.fail_operation(ORDER, message="upstream-text-that-must-not-leak")
    reply = world.call("DELETE", "/", vm)
    assert (reply.status_code, reply.json()["error"]) == (502, "operation_failed")
    assert "must-not-leak" not in reply.text + json.dumps([dict(line) for line in world.lines])


def test_an_operation_that_fails_later_is_said_too(world):
    vm = world.vms(CPU, 1)[0]
    world.google.compute.operation_seconds = 5
    world.google.fail_operation(ORDER)
    once = world.time.sleep
    world.session._sleep = lambda seconds: (once(seconds), world.site.clock.advance(seconds))
    assert world.call("DELETE", "/", vm).json()["error"] == "operation_failed"
    assert 4 < world.time.seconds < 25


def test_an_operation_slower_than_the_budget_is_promised(world):
    vm = world.vms(CPU, 1)[0]
    world.google.compute.operation_seconds = 1000
    reply = world.call("DELETE", "/", vm)
    assert (reply.status_code, reply.json()) == (202, {"deleting": True})
    assert 15 < world.time.seconds <= 25


@pytest.mark.parametrize("status", [403, 404, 500])
def test_an_order_that_was_taken_stays_taken_though_nobody_can_ask_about_it(world, status):
    vm = world.vms(CPU, 1)[0]
    world.google.compute.operation_seconds = 1000
    world.faults.script("compute.operation", status=status, times=1000)
    assert world.call("DELETE", "/", vm).status_code == 202
    assert vm.action == "DELETING"


def test_a_long_list_of_members_is_read_to_its_end(world):
    vms = world.vms(CPU, 501)
    assert world.call("DELETE", "/", vms[-1]).status_code == 200
    assert vms[-1].action == "DELETING"
    assert len(world.site.asked("compute.managed_instances")) == 2


def test_a_held_vm_is_not_ended_until_its_hold_is_over(world):
    vm, *_ = world.vms(CPU, 2)
    vm.metadata["runner-hold-until"] = "2999-01-01T00:00:00Z"
    reply = world.call("DELETE", "/", vm)
    assert (reply.status_code, reply.json()["error"]) == (423, "on_hold")
    assert (vm.action, world.changed()) == ("NONE", [])
    vm.metadata["runner-hold-until"] = "2000-01-01T00:00:00Z"
    assert world.call("DELETE", "/", vm).json() == {"deleting": True}
    assert vm.action == "DELETING"


def test_a_hold_holds_up_no_vm_that_stops_already(world):
    vm, *_ = world.vms(CPU, 2)
    vm.metadata["runner-hold-until"] = "2999-01-01T00:00:00Z"
    vm.status = "STOPPING"
    assert world.call("DELETE", "/", vm).json() == {"deleting": True}
