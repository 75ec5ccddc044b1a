"""Who may leave, over HTTP: as many as are surplus, one after the other, whatever is slow, lost or garbled."""

from __future__ import annotations

import datetime
import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from deleter.clients import compute, storage

from tests.functions.deleter.deleter_world import BUCKET, CPU, DEMAND_BUCKET, FIXED, JOBS, SCHEDULE

LOOKS = ["compute.instance", "storage.get", "compute.managed_instances", "compute.group", "compute.autoscaler"]
WRITE = "storage.insert"


def three(world, recommended=2, group=CPU):
    vms = world.vms(group, 3)
    world.recommend(recommended, group)
    return vms


def asks(world, vm):
    reply = world.call("POST", "/retire", vm)
    return reply.status_code, reply.json().get("permit", reply.json().get("error"))


@pytest.mark.parametrize("group", [CPU, SCHEDULE])
def test_a_surplus_vm_may_leave_and_the_next_may_not(world, group):
    first, second, third = three(world, 2, group)
    assert world.ask(first) == (True, "granted")
    assert world.ask(second) == (False, "all_given")
    assert world.ask(third) == (False, "all_given")
    assert world.holders(group) == {first.id}


def test_the_same_vm_keeps_its_permit_when_it_asks_again_whatever_has_changed(world):
    first, second, _ = three(world)
    world.ask(first)
    world.recommend(None)
    world.google.groups[CPU].stable = False
    assert world.ask(first) == (True, "held")
    assert world.ask(second) == (False, "group_unstable")


@pytest.mark.parametrize(
    ("arrange", "reason"),
    [
        (lambda world, _: world.recommend(None), "no_recommendation"),
        (lambda _, group: setattr(group, "autoscaler", None), "no_recommendation"),
        (lambda _, group: setattr(group.autoscaler, "status", "PENDING"), "no_recommendation"),
        (lambda _, group: setattr(group, "stable", False), "group_unstable"),
        (lambda _, group: setattr(group, "target_size", 1), "at_minimum"),
        (lambda world, _: world.recommend(3), "no_surplus"),
        (lambda world, _: world.recommend(4), "no_surplus"),
        (lambda _, group: [setattr(vm, "action", "ABANDONING") for vm in group.instances], "not_a_member"),
    ],
)
def test_in_any_doubt_nobody_may_leave(world, arrange, reason):
    vm, *_ = three(world)
    group = world.google.groups[CPU]
    group.stable = True
    arrange(world, group)
    assert world.ask(vm) == (False, reason)
    assert world.changed() == []


def test_the_minimum_is_kept_though_less_is_recommended(world):
    vms = three(world, 0)
    assert [world.ask(vm)[0] for vm in vms] == [True, True, False]


def test_a_fixed_pool_has_no_surplus_and_asks_nobody(world):
    vm, *_ = world.vms(FIXED, 9)
    assert world.ask(vm) == (False, "fixed_pool")
    assert {request.route for request in world.site.requests} == {"certs.keys", "compute.instance"}


def demand(world, desired, seconds, bucket=DEMAND_BUCKET):
    until = datetime.datetime.fromtimestamp(world.now() + seconds, datetime.UTC).isoformat()
    world.google.put_object(bucket, f"demand/{JOBS}.json", json.dumps({"desired": desired, "expires": until}).encode())


def test_a_reserve_adds_no_surplus_and_while_it_is_made_nobody_may_leave(world):
    running = world.vms(JOBS, 3)
    group = world.google.groups[JOBS]
    group.target_suspended = 2
    reserve = [world.google.create_instance(group) for _ in range(2)]
    for vm in reserve:
        vm.target_status = "SUSPENDED"
    demand(world, 2, 60)
    assert world.ask(running[0]) == (False, "group_unstable")
    for vm in reserve:
        vm.status = "SUSPENDED"
    assert world.ask(running[0]) == (True, "granted")
    assert [world.ask(vm) for vm in running[1:]] == [(False, "all_given")] * 2


def test_a_pool_of_jobs_shrinks_only_by_a_demand_that_is_fresh(world):
    vms = world.vms(JOBS, 3)
    assert world.ask(vms[0]) == (False, "no_demand")
    demand(world, 1, -1)
    assert world.ask(vms[0]) == (False, "demand_stale")
    world.google.put_object(DEMAND_BUCKET, f"demand/{JOBS}.json", b"garbage")
    assert world.ask(vms[0]) == (False, "demand_stale")
    demand(world, 3, 60)
    assert world.ask(vms[0]) == (False, "no_surplus")
    demand(world, 1, 60)
    assert [world.ask(vm)[0] for vm in vms] == [True, True, False]
    assert world.site.asked("compute.autoscaler") == []


def test_a_demand_counts_only_in_the_bucket_that_the_listener_alone_writes(world):
    vms = world.vms(JOBS, 3)
    demand(world, 1, 60, bucket=BUCKET)
    assert world.ask(vms[0]) == (False, "no_demand")


def test_a_clock_that_is_ahead_takes_a_demand_for_stale_never_for_fresh(world):
    vm, *_ = world.vms(JOBS, 3)
    demand(world, 1, 60)
    world.skew = 61
    assert world.ask(vm) == (False, "demand_stale")


def test_a_permit_given_back_is_the_next_ones(world):
    first, second, _ = three(world)
    world.ask(first)
    world.give_back(first)
    assert world.ask(second) == (True, "granted")


def test_giving_back_may_be_repeated_and_takes_nobody_elses(world):
    first, second, _ = three(world)
    world.ask(first)
    for _ in range(3):
        world.give_back(second)
    assert world.holders() == {first.id}
    for _ in range(3):
        world.give_back(first)
    assert world.holders() == set()


def test_a_vm_that_stops_can_still_give_back(world):
    vm, *_ = three(world)
    world.ask(vm)
    vm.status = "STOPPING"
    world.give_back(vm)
    assert world.holders() == set()


def test_a_permit_ends_with_its_vm_that_left(world):
    first, second, third = three(world, 1)
    assert world.ask(first)[0]
    assert world.call("DELETE", "/", first).status_code == 200
    assert world.ask(second) == (False, "group_unstable")
    world.site.clock.advance(31)
    assert world.ask(second) == (True, "granted")
    assert world.holders() == {second.id}
    assert world.ask(third) == (False, "all_given")


def test_a_permit_ends_with_its_vm_that_died_even_if_its_name_lives_on(world):
    first, second, _ = three(world)
    world.ask(first)
    world.google.delete_instance(first)
    world.google.create_instance(world.google.groups[CPU], name=first.name)
    assert world.ask(second) == (True, "granted")


@pytest.mark.parametrize("surplus", [1, 3])
def test_of_fifty_that_ask_at_once_exactly_the_surplus_get_one(world, surplus):
    vms = world.vms(CPU, 50)
    world.recommend(50 - surplus)
    once = world.deleter._permits._storage.write

    def slowly(*arguments):
        time.sleep(0.003)  # between the looks and the write, so that they do overlap
        return once(*arguments)

    world.deleter._permits._storage.write = slowly
    start, apart = threading.Barrier(50), random.Random(surplus)

    def ask(vm):
        start.wait()
        # A VM whose answer is no answer gives back, as its script does, and asks another time.
        while (answer := asks(world, vm))[0] == 503:
            time.sleep(apart.uniform(0, 0.3))  # a VM's timer is minutes apart; all at once again would never end
            while world.call("DELETE", "/retire", vm).status_code == 503:
                time.sleep(apart.uniform(0, 0.3))
        return answer[1]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, vms))
    given = {vm.id for vm, permit in zip(vms, answers, strict=True) if permit is True}
    assert len(given) == surplus
    assert world.holders() == given
    conflicts = [request for request in world.site.asked(WRITE) if request.status == 412]
    assert conflicts, "nobody ever lost a race; this test shows nothing"


def test_groups_do_not_share_a_surplus(world):
    for group in (CPU, SCHEDULE):
        assert world.ask(three(world, 2, group)[0])[0]


def test_a_write_executed_whose_answer_is_lost_is_read_back(world):
    first, second, _ = three(world)
    world.faults.script(WRITE, "reset", after=True)
    assert world.ask(first) == (True, "held")
    assert len(world.site.asked(WRITE)) == 1
    assert world.ask(second) == (False, "all_given")


def test_a_write_not_executed_is_made_again(world):
    first, *_ = three(world)
    world.faults.script(WRITE, "reset")
    assert world.ask(first) == (True, "granted")
    assert world.holders() == {first.id}


def test_when_every_answer_to_a_write_is_lost_the_ledger_heals_by_giving_back(world):
    first, second, _ = three(world)
    world.faults.script(WRITE, "reset", after=True)
    once = world.deleter._permits._storage.read
    reads = []

    def broken_after_the_first(*arguments):
        reads.append(1)
        if len(reads) > 1:
            world.faults.script("storage.get", status=503, times=1000)
        return once(*arguments)

    world.deleter._permits._storage.read = broken_after_the_first
    assert asks(world, first) == (503, "google_unavailable")
    world.deleter._permits._storage.read = once
    world.faults.clear("storage.get")
    assert world.holders() == {first.id}
    assert world.ask(second) == (False, "all_given")
    world.give_back(first)
    assert world.ask(second) == (True, "granted")


def test_a_grant_that_lands_after_it_was_given_back_lands_nowhere(world):
    first, second, _ = three(world)
    world.ask(second)
    world.give_back(second)
    stored = world.deleter._permits._storage.read(f"permits/{CPU}.json", world.session.deadline(10))
    world.give_back(first)
    late = json.dumps({"permits": {first.id: "late"}, "suspects": []}).encode()
    took = world.deleter._permits._storage.write(
        f"permits/{CPU}.json", late, stored.generation, world.session.deadline(10)
    )
    assert not took
    assert world.holders() == set()


GARBAGE = [b"", b"{", b"null", b'{"permits": {}}', b'{"permits": {"x": "y"}, "suspects": []}', b"\xff" * 100]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_an_unreadable_ledger_grants_nothing_and_heals_as_vms_ask(world, garbage):
    first, second, third = three(world)
    world.ask(first)
    world.google.put_object(BUCKET, f"permits/{CPU}.json", garbage)
    assert asks(world, second) == (503, "ledger_unreadable")
    assert world.ledger() == {"permits": {}, "suspects": sorted(vm.id for vm in (first, second, third))}
    world.give_back(second)
    assert world.ask(second) == (False, "all_given")
    assert world.ask(third) == (False, "all_given")
    assert world.ledger()["suspects"] == [first.id]
    world.call("DELETE", "/", first)
    world.site.clock.advance(31)
    world.recommend(1)
    assert world.ask(second) == (True, "granted")
    assert world.ledger()["suspects"] == []


@pytest.mark.parametrize("garbage", GARBAGE)
def test_giving_back_to_an_unreadable_ledger_clears_the_one_who_does(world, garbage):
    first, second, third = three(world)
    world.google.put_object(BUCKET, f"permits/{CPU}.json", garbage)
    world.give_back(first)
    assert world.ledger() == {"permits": {}, "suspects": sorted([second.id, third.id])}


def test_garbage_that_cannot_be_healed_now_is_healed_later(world):
    first, *_ = three(world)
    world.google.put_object(BUCKET, f"permits/{CPU}.json", b"{")
    world.faults.script("compute.managed_instances", status=403, times=2)
    assert asks(world, first) == (502, "google_refused")
    assert world.call("DELETE", "/retire", first).status_code == 502
    world.give_back(first)
    assert len(world.ledger()["suspects"]) == 2


@pytest.mark.parametrize("route", [*LOOKS, WRITE])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failure_that_passes_is_waited_out(world, route, status):
    vm, *_ = three(world)
    world.faults.script(route, status=status, times=2)
    assert world.ask(vm)[0] is True


@pytest.mark.parametrize("route", [*LOOKS, WRITE])
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failure_that_stays_is_no_answer_within_the_vms_patience(world, route, status):
    vm, *_ = three(world)
    world.faults.script(route, status=status, times=1000)
    reply = world.call("POST", "/retire", vm)
    assert reply.status_code == 503
    assert reply.json()["error"] == ("ledger_contended" if route == WRITE else "google_unavailable")
    assert "must-not-leak" not in reply.text
    assert world.time.seconds <= 25
    assert world.holders() == set()


@pytest.mark.parametrize("route", [*LOOKS, WRITE])
def test_a_refusal_of_googles_is_no_answer_either(world, route):
    vm, *_ = three(world)
    world.google.deny(route)
    assert asks(world, vm) == (502, "google_refused")
    assert world.holders() == set()


@pytest.mark.parametrize("route", ["compute.managed_instances", "compute.group"])
def test_a_group_that_is_not_there_is_no_reason_to_leave(world, route):
    vm, *_ = three(world)
    world.faults.script(route, status=404)
    assert asks(world, vm) == (502, "google_refused")


def test_an_autoscaler_that_is_not_there_recommends_nothing(world):
    vm, *_ = three(world)
    world.faults.script("compute.autoscaler", status=404)
    assert world.ask(vm) == (False, "no_recommendation")


@pytest.mark.parametrize("route", [*LOOKS, WRITE])
@pytest.mark.parametrize("fault", ["reset", "garbage"])
def test_garbage_and_resets_never_grant_what_is_not_in_the_ledger(world, route, fault):
    vm, *_ = three(world)
    world.faults.script(route, fault, times=2)
    status, permit = asks(world, vm)
    assert status in (200, 503)
    assert (vm.id in world.holders()) or permit is not True


@pytest.mark.parametrize("route", [*LOOKS, WRITE])
@pytest.mark.parametrize("after", [False, True])
def test_a_call_that_hangs_is_given_up_and_tried_again(world, monkeypatch, route, after):
    for module in (compute, storage):
        monkeypatch.setattr(module, "_TRY_SECONDS", 0.15)
    vm, other, _ = three(world)
    world.faults.script(route, "timeout", after=after)
    assert world.ask(vm)[0] is True
    assert world.ask(other) == (False, "all_given")


@pytest.mark.parametrize("route", ["compute.instance", "compute.managed_instances", "compute.delete_instances"])
def test_a_deletion_that_hangs_is_given_up_and_tried_again(world, monkeypatch, route):
    monkeypatch.setattr(compute, "_TRY_SECONDS", 0.15)
    vm, *_ = three(world)
    world.faults.script(route, "timeout")
    assert world.call("DELETE", "/", vm).status_code == 200
    assert vm.action == "DELETING"


def test_a_holder_that_leaves_between_two_looks_of_another_does_not_leave_room_for_it(world):
    """The trace that the search finds for a size read before the members, here over HTTP."""
    first, second, _ = three(world)
    assert world.ask(first)[0]
    google = world.google.groups[CPU]
    once = world.deleter._compute.members

    def members(*arguments):
        found = once(*arguments)
        if first in google.instances:
            world.google.delete_instance(first)
            google.target_size -= 1
        return found

    world.deleter._compute.members = members
    assert world.ask(second) == (False, "no_surplus")


def test_too_many_conflicts_are_no_answer(world):
    vm, *_ = three(world)
    world.faults.script(WRITE, status=412, times=1000)
    assert asks(world, vm) == (503, "ledger_contended")
    reply = world.call("DELETE", "/retire", vm)
    assert (reply.status_code, reply.json()["error"]) == (503, "ledger_contended")


def test_one_write_a_second_is_enough_for_a_group(world):
    world.google.storage.mutations_per_second = 1
    vms = world.vms(CPU, 6)
    world.recommend(3)
    once = world.time.sleep
    world.session._sleep = lambda seconds: (once(seconds), world.site.clock.advance(seconds))
    assert sorted(world.ask(vm)[1] for vm in vms) == ["all_given"] * 3 + ["granted"] * 3


# --- an operator's marks

HOLD = {"runner-hold-until": "2999-01-01T00:00:00Z"}
OVER = {"runner-hold-until": "2000-01-01T00:00:00Z"}
DRAIN = {"runner-drain": "2026-11-25T14:10:00Z"}


def marked(vms, mark):
    for vm in vms:
        vm.metadata.update(mark)
    return vms


def test_a_held_vm_may_not_leave_though_it_is_surplus_until_its_hold_is_over(world):
    vm, *_ = three(world, 1)
    vm.metadata.update(HOLD)
    assert world.ask(vm) == (False, "on_hold")
    vm.metadata.update(OVER)
    assert world.ask(vm) == (True, "granted")


def test_a_held_vm_can_give_its_permit_back(world):
    vm, *_ = three(world, 1)
    world.ask(vm)
    vm.metadata.update(HOLD)
    world.give_back(vm)
    assert world.holders() == set()


def test_a_drained_vm_may_leave_though_it_is_wanted_but_only_so_many_at_once(world):
    vms = marked(world.vms(CPU, 8), DRAIN)
    world.recommend(8)
    assert [world.ask(vm) for vm in vms[:3]] == [(True, "granted"), (True, "granted"), (False, "most_missing")]
    assert world.holders() == {vms[0].id, vms[1].id}
    assert "drained" in world.lines[-1]


def test_the_next_may_leave_when_another_runs_in_the_place_of_the_last(world):
    first, second = marked(world.vms(CPU, 2), DRAIN)
    world.recommend(2)
    assert world.ask(first) == (True, "granted")
    assert world.call("DELETE", "/", first).status_code == 200
    assert world.ask(second) == (False, "most_missing")
    world.google.delete_instance(first)
    assert world.ask(second) == (False, "most_missing")
    (replacement,) = world.vms(CPU, 1)
    replacement.status, replacement.action = "STAGING", "CREATING"
    assert world.ask(second) == (False, "most_missing")
    replacement.status, replacement.action = "RUNNING", "NONE"
    assert world.ask(second) == (True, "granted")


def test_a_group_that_cannot_make_its_vms_is_not_drained_empty(world):
    vm, *_ = marked(world.vms(CPU, 3), DRAIN)
    world.google.groups[CPU].target_size = world.google.groups[CPU].autoscaler.recommended = 10
    assert world.ask(vm) == (False, "most_missing")


def test_a_group_that_changes_all_the_time_can_be_drained(world):
    vm, *_ = marked(three(world, 3), DRAIN)
    world.google.groups[CPU].stable = False
    assert world.ask(vm) == (True, "granted")


def test_a_groups_minimum_counts_as_wanted_when_it_is_drained(world, monkeypatch):
    groups = world.deleter._settings.fleet.groups
    monkeypatch.setitem(groups, CPU, replace(groups[CPU], min=4))
    vms = marked(world.vms(CPU, 4), DRAIN)
    world.recommend(0)
    assert [world.ask(vm) for vm in vms[:2]] == [(True, "granted"), (False, "most_missing")]


def test_a_drained_vm_of_a_fixed_pool_may_leave_for_it_is_made_anew(world):
    first, second, _ = marked(world.vms(FIXED, 3), DRAIN)
    assert world.ask(first) == (True, "granted")
    assert world.ask(second) == (False, "most_missing")
    assert world.call("DELETE", "/", first).status_code == 200
    assert world.changed()[-1] == "compute.recreate_instances"


def test_without_a_word_of_what_is_wanted_nobody_is_drained(world):
    vm, *_ = marked(world.vms(JOBS, 3), DRAIN)
    assert world.ask(vm) == (False, "no_demand")
    demand(world, 3, -1)
    assert world.ask(vm) == (False, "demand_stale")
    demand(world, 3, 60)
    assert world.ask(vm) == (True, "granted")


def test_a_reserve_does_not_stand_in_for_a_drained_vm(world):
    running = marked(world.vms(JOBS, 2), DRAIN)
    group = world.google.groups[JOBS]
    for vm in [world.google.create_instance(group) for _ in range(2)]:
        vm.target_status = vm.status = "SUSPENDED"
    demand(world, 2, 60)
    assert [world.ask(vm) for vm in running] == [(True, "granted"), (False, "most_missing")]


def test_a_drained_vm_counts_among_those_who_leave_as_surplus(world):
    drained, other, _ = world.vms(CPU, 3)
    world.recommend(2)
    assert world.ask(other) == (True, "granted")
    drained.metadata.update(DRAIN)
    assert world.ask(drained) == (True, "granted")
    assert world.ask(world.vms(CPU, 1)[0]) == (False, "all_given")


def test_a_hold_outweighs_a_drain(world):
    vm, *_ = marked(three(world), HOLD | DRAIN)
    assert world.ask(vm) == (False, "on_hold")


def test_no_mark_of_the_project_or_of_another_vm_counts(world):
    vm, other, _ = three(world, 3)
    other.metadata.update(DRAIN)
    assert world.ask(vm) == (False, "no_surplus")
