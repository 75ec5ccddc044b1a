"""VMs that end, and those that never do: over HTTP, against stand-ins of GitHub and Google Cloud."""

from __future__ import annotations

import json

import pytest

from tests.functions.reconciler.reconciler_world import (
    CPU,
    FIXED,
    GRANTS,
    INTERVAL_SECONDS,
    JOBS,
    JOBS_EAST,
    MAX_RUN_SECONDS,
    TOO_OLD,
    ReconcilerWorld,
)

PAST_AGE = MAX_RUN_SECONDS + 901


def test_a_vm_that_never_got_a_configuration_ends_in_the_second_run(world):
    vm = world.vm()
    first = world.run()
    assert (first["done"], world.changed(), world.only("unregistered_vm")["action"]) == (0, [], "none")
    world.pass_time()
    second = world.run()
    assert (second["done"], vm.action, world.group().target_size) == (1, "DELETING", 0)
    entry = world.only("unregistered_vm")
    assert (entry["subject"], entry["action"], entry["runs"], entry["proved"]) == (vm.id, "ordered to end", 2, True)
    assert "was given none" in entry["because"]


def test_two_runs_within_a_minute_are_one_look(world):
    vm = world.vm()
    world.run()
    world.pass_time(60)
    assert world.run()["done"] == 0
    assert vm.action == "NONE"
    assert "it is proved for 6" in world.only("unregistered_vm")["why_not"]


def test_a_look_of_long_ago_does_not_count(world):
    vm = world.vm()
    world.run()
    world.pass_time(2000)
    assert (world.run()["done"], vm.action) == (0, "NONE")
    assert world.only("unregistered_vm")["runs"] == 1


def test_a_vm_that_can_still_register_is_no_disagreement(world):
    vm = world.vm(age=TOO_OLD - INTERVAL_SECONDS - 60)
    world.runs()
    assert (world.found("unregistered_vm"), vm.action) == ([], "NONE")


@pytest.mark.parametrize("labelled", [True, False])
def test_a_registered_vm_stays_whether_it_is_known_by_label_or_by_name(world, labelled):
    vm = world.vm(CPU if labelled else JOBS)
    world.register(vm, labelled=labelled)
    world.runs(3)
    assert (world.found("unregistered_vm"), vm.action) == ([], "NONE")


def test_a_long_name_that_was_cut_off_still_says_whose_it_is(tmp_path):
    long = "gh-runner-testing-postsubmit-arm64-northamerica-northeast1-eeee"
    with ReconcilerWorld(tmp_path, groups={long: ("postsubmit-arm64", "jobs")}) as world:
        vm = world.vm(long, name=f"{long.removesuffix('eeee')}ab1z")
        runner = world.register(vm)
        assert len(runner.name) == 64
        world.runs(2)
        assert (world.found("unregistered_vm"), world.gauge("runners_online", "postsubmit-arm64")) == ([], 1)
        # Its own VM is gone: the cut name alone says no instance's name, the grant does.
        world.github.disconnect(runner.name)
        world.google.delete_instance(vm)
        world.group(long).target_size = 0
        world.runs(3)
        assert world.github.runners == {}


def test_a_vm_whose_registration_vanished_under_its_job_stays(world):
    vm = world.vm(age=5000)
    runner = world.register(vm)
    world.github.start_job(runner.name)
    world.github.remove(runner)
    world.runs(4)
    assert (vm.action, world.changed()) == ("NONE", [])
    entry = world.only("unregistered_vm")
    assert (entry["proved"], entry["runs"]) == (False, 4)
    assert "its job may run" in entry["because"]


def test_a_grant_whose_end_the_broker_never_wrote_may_have_led_to_a_job(world):
    vm = world.vm()
    world.grant(vm, state="registering")
    world.runs(3)
    assert (vm.action, world.only("unregistered_vm")["proved"]) == ("NONE", False)


def test_a_vm_whose_grant_ended_unknown_has_no_configuration(world):
    vm = world.vm()
    world.grant(vm, age=TOO_OLD, state="unknown")
    world.runs()
    assert vm.action == "DELETING"


def test_a_fresh_grant_keeps_its_vm_whatever_it_says(world):
    vm = world.vm()
    world.grant(vm, state="unknown")
    world.run()
    assert "its grant is fresh" in world.only("unregistered_vm")["because"]
    assert vm.action == "NONE"


def test_a_grant_that_appears_between_plan_and_order_keeps_its_vm(world):
    vm = world.vm()
    world.run()
    world.before_acting(lambda: world.grant(vm))
    world.pass_time()
    assert (world.run()["failed"], vm.action) == (1, "NONE")
    assert world.only("unregistered_vm")["why_not"] == "its grant has changed"


def test_a_vm_that_was_replaced_between_plan_and_order_does_not_take_its_successor_along(world):
    vm = world.vm(FIXED)
    world.run()

    def replaced() -> None:
        world.google.delete_instance(vm)
        world.google.create_instance(world.group(FIXED), name=vm.name, zone=vm.zone)

    world.before_acting(replaced)
    world.pass_time()
    assert world.run()["failed"] == 1
    assert world.changed() == []


def test_a_vm_that_its_group_means_to_suspend_may_register_any_day(world):
    vm = world.vm(age=50_000)
    original = world.group().managed_document
    world.group().managed_document = lambda vm: {**original(vm), "targetStatus": "SUSPENDED"}
    world.runs(3)
    assert (vm.action, world.only("unregistered_vm")["proved"]) == ("NONE", False)
    assert "reserve" in world.only("unregistered_vm")["because"]


def test_a_group_that_keeps_a_reserve_has_no_vm_that_is_too_old_to_register(world):
    vm = world.vm(age=50_000)
    original = world.group().document
    world.group().document = lambda **how: {**original(**how), "standbyPolicy": {"mode": "SCALE_OUT_POOL"}}
    world.runs(3)
    assert (vm.action, world.only("unregistered_vm")["proved"]) == ("NONE", False)


def test_of_a_vm_that_was_ever_suspended_nobody_knows_the_age(world):
    vm = world.vm(age=50_000)
    original = vm.document
    vm.document = lambda: {**original(), "lastSuspendedTimestamp": "2026-11-24T10:00:00.000-08:00"}
    world.runs(3)
    assert (vm.action, world.only("unregistered_vm")["proved"]) == ("NONE", False)


@pytest.mark.parametrize(("status", "action"), [("STOPPING", "NONE"), ("RUNNING", "DELETING"), ("SUSPENDED", "NONE")])
def test_a_vm_that_is_going_or_asleep_is_left_alone(world, status, action):
    vm = world.vm()
    vm.status, vm.action = status, action
    world.runs(3)
    assert (world.found("unregistered_vm"), world.changed()) == ([], [])


def test_a_fixed_pool_has_its_vm_made_anew(world):
    vm = world.vm(FIXED)
    world.runs()
    assert (vm.action, world.group(FIXED).target_size) == ("RECREATING", 1)
    assert world.changed() == ["compute.recreate_instances"]


def test_a_run_ends_a_fifth_of_a_pool_and_the_oldest_finding_first(world):
    early = [world.vm() for _ in range(5)]
    world.run()
    world.pass_time()
    late = [world.vm(JOBS_EAST) for _ in range(5)]
    assert world.run()["done"] == 2
    assert sum(vm.action == "DELETING" for vm in early) == 2
    assert all(vm.action == "NONE" for vm in late)
    kept = [entry["why_not"] for entry in world.found("unregistered_vm") if entry["action"] == "none"]
    assert sum("this run has done its share, which is 2" in why for why in kept) == 3


def test_one_may_always_go(world):
    vms = [world.vm() for _ in range(3)]
    world.runs()
    assert sum(vm.action == "DELETING" for vm in vms) == 1


def test_pools_have_shares_of_their_own(world):
    vms = [world.vm(JOBS), world.vm(CPU), world.vm(FIXED)]
    assert world.runs()["done"] == 3
    assert all(vm.action != "NONE" for vm in vms)


def test_a_dry_run_says_what_it_would_do_and_does_nothing(tmp_path):
    with ReconcilerWorld(tmp_path, RECONCILER_DRY_RUN="true") as world:
        vm = world.vm()
        gone = world.vm(CPU)
        runner = world.register(gone, labelled=True, online=False)
        world.google.delete_instance(gone)
        world.group(CPU).target_size = 0
        counted = world.runs(3)
        assert (counted["would"], counted["done"], counted["dry_run"]) == (2, 0, True)
        assert (vm.action, world.changed(), list(world.github.runners)) == ("NONE", [], [runner.name])
        assert world.only("unregistered_vm")["action"] == "would delete"
        assert world.only("orphan_registration")["action"] == "would deregister"


def test_a_vm_past_its_age_ends_although_it_is_registered(world):
    vm = world.vm(age=PAST_AGE)
    world.register(vm, age=PAST_AGE)
    world.runs()
    assert (vm.action, world.only("past_age")["action"]) == ("DELETING", "ordered to end")


def test_a_vm_past_its_age_whose_runner_shows_a_job_is_reported_only(world):
    vm = world.vm(age=PAST_AGE)
    runner = world.register(vm, age=PAST_AGE)
    world.github.start_job(runner.name)
    world.runs(3)
    assert (vm.action, world.only("past_age")["proved"]) == ("NONE", False)
    assert "its runner has a job" in world.only("past_age")["because"]


def test_a_vm_whose_own_template_lets_it_run_longer_is_not_past_its_age(world):
    vm = world.vm(age=PAST_AGE)
    vm.metadata["runner-max-run-seconds"] = str(10 * MAX_RUN_SECONDS)
    runner = world.register(vm, age=PAST_AGE)
    world.runs(2)
    assert world.found("past_age") == []
    # Nor is it without a configuration when its old grant has been cleared up and its registration vanished.
    world.github.remove(runner)
    del world.google.objects[GRANTS, f"grants/{vm.id}.json"]
    world.runs(3)
    assert (vm.action, world.only("unregistered_vm")["proved"]) == ("NONE", False)


def test_an_order_that_failed_later_is_given_again_under_another_id(world):
    vm = world.vm()
    world.google.fail_operation("compute.delete_instances")
    world.runs()
    assert vm.action == "NONE"
    world.pass_time()
    world.run()
    assert vm.action == "DELETING"
    first, second = world.site.asked("compute.delete_instances")
    assert first.path != second.path
    assert json.loads(first.body) == json.loads(second.body)


def test_an_order_whose_answer_was_lost_is_given_again_under_the_same_id(world):
    vm = world.vm()
    world.run()
    world.faults.script("compute.delete_instances", "reset")
    world.pass_time()
    counted = world.run()
    assert (counted["failed"], counted["done"], vm.action) == (1, 0, "NONE")
    world.pass_time()
    world.run()
    first, second = world.site.asked("compute.delete_instances")
    assert (first.path, vm.action) == (second.path, "DELETING")


def test_the_first_order_has_the_id_that_the_deleter_would_give_it():
    from deleter import decide
    from reconciler import departure

    for verb in ("deleteInstances", "recreateInstances"):
        assert departure.request_id("12345", verb, 0) == decide.request_id("12345", verb)
        assert departure.request_id("12345", verb, 1) != decide.request_id("12345", verb)


def test_placeholders_beyond_the_demand_are_dropped_and_no_vm_with_them(world):
    vms = [world.vm(age=60) for _ in range(2)]
    stuck = [world.placeholder() for _ in range(3)]
    world.wanted = {JOBS: 4}
    counted = world.runs()
    assert (counted["done"], world.group().target_size) == (1, 4)
    assert all(vm.action == "NONE" for vm in vms)
    assert sum(vm.action == "DELETING" for vm in stuck) == 1
    world.pass_time()
    world.run()
    assert world.group().target_size == 4


def test_a_placeholder_of_the_reserve_is_reported_and_stays_whatever_the_jobs_want(world):
    stuck = [world.placeholder() for _ in range(3)]
    reserve = sorted(stuck, key=lambda vm: vm.name)[:2]
    for vm in reserve:
        vm.target_status = "SUSPENDED"
    world.group().target_size = 3
    world.wanted = {JOBS: 0}
    assert world.runs()["done"] == 1
    assert [vm.action for vm in reserve] == ["CREATING"] * 2
    assert [entry["because"].count("it is for the reserve") for entry in world.found("placeholder")] == [1, 1, 0]


def test_placeholders_that_the_jobs_want_are_reported(world):
    world.placeholder()
    world.wanted = {JOBS: 1}
    world.runs(3)
    assert (world.only("placeholder")["proved"], world.changed()) == (False, [])
    assert world.gauge("placeholders") == 1


def test_without_a_valid_demand_no_placeholder_goes(world):
    world.placeholder()
    world.runs(3)
    assert "nobody says validly" in world.only("placeholder")["because"]
    world.wanted = {JOBS: 0}
    world.listen()
    world.listening = False
    world.pass_time()
    world.run()
    assert world.changed() == []


@pytest.mark.parametrize("group", [CPU, FIXED])
def test_no_other_signal_loses_a_placeholder(world, group):
    world.placeholder(group)
    world.wanted = {group: 0}
    world.runs(3)
    assert (len(world.found("placeholder")), world.changed()) == (1, [])


def test_a_placeholder_that_was_made_between_plan_and_order_stays(world):
    vm = world.placeholder()
    world.wanted = {JOBS: 0}
    world.run()

    def made() -> None:
        vm.action, vm.status, vm.errors, vm.created = "NONE", "RUNNING", [], world.site.clock.now()

    world.before_acting(made)
    world.pass_time()
    assert world.run()["failed"] == 1
    assert (vm.action, world.changed()) == ("NONE", [])


HOLD = "runner-hold-until"
FOR_LONG, OVER = "2999-01-01T00:00:00Z", "2000-01-01T00:00:00Z"


def test_a_vm_that_an_operator_holds_is_reported_and_stays(world):
    vm = world.vm()
    vm.metadata[HOLD] = FOR_LONG
    world.runs(3)
    assert (world.only("unregistered_vm")["action"], vm.action) == ("none", "NONE")
    assert "an operator holds it" in world.only("unregistered_vm")["because"]


def test_a_hold_that_is_over_is_none(world):
    vm = world.vm()
    vm.metadata[HOLD] = OVER
    world.runs(2)
    assert vm.action == "DELETING"


def test_a_held_vm_past_its_age_stays_too(world):
    vm = world.vm(age=PAST_AGE)
    world.register(vm, age=PAST_AGE)
    vm.metadata[HOLD] = FOR_LONG
    world.runs(3)
    assert vm.action == "NONE"
    assert "an operator holds it" in world.only("past_age")["because"]


def test_a_hold_that_is_written_after_the_look_is_seen_right_before_the_order(world, monkeypatch):
    vm = world.vm()
    world.run()
    world.pass_time()
    departure = world.reconciler._departure
    carry_out = departure.carry_out

    def held_first(*given):
        vm.metadata[HOLD] = FOR_LONG
        return carry_out(*given)

    monkeypatch.setattr(departure, "carry_out", held_first)
    assert world.run()["done"] == 0
    assert (vm.action, world.changed()) == ("NONE", [])
