"""Registrations whose VM is gone, runners of no pool, releases whose time is up."""

from __future__ import annotations

import datetime
import json

import pytest

from tests.functions.reconciler.reconciler_world import CPU, GRANTS, GROUPS, JOBS, ReconcilerWorld


def orphan(world, group=JOBS, *, labelled=False, online=False):
    """A runner whose VM is gone."""
    vm = world.vm(group)
    runner = world.register(vm, labelled=labelled, online=online)
    world.google.delete_instance(vm)
    world.group(group).target_size -= 1
    return runner


@pytest.mark.parametrize(("group", "labelled"), [(JOBS, False), (CPU, True)])
def test_a_registration_without_a_vm_goes_in_the_second_run(world, group, labelled):
    runner = orphan(world, group, labelled=labelled)
    world.run()
    assert list(world.github.runners) == [runner.name]
    world.pass_time()
    assert world.run()["done"] == 1
    assert world.github.runners == {}
    entry = world.only("orphan_registration")
    assert (entry["subject"], entry["action"], entry["pool"]) == (runner.name, "deregistered", GROUPS[group][0])


def test_its_grant_need_not_be_there_any_more(world):
    orphan(world)
    for key in [key for key in world.google.objects if key[0] == GRANTS]:
        del world.google.objects[key]
    world.runs()
    assert world.github.runners == {}


def test_a_group_may_say_itself_what_its_vms_are_called(world):
    vm = world.vm(name=f"{JOBS}-ab1z")
    runner = world.register(vm, online=False)
    world.google.delete_instance(vm)
    world.group().target_size -= 1
    world.runs()
    assert runner.removed


def test_an_online_runner_is_no_orphan_whatever_the_groups_say(world):
    orphan(world, online=True)
    world.runs(3)
    assert (world.found("orphan_registration"), len(world.github.runners)) == ([], 1)


def test_a_busy_runner_that_is_offline_is_no_orphan(world):
    runner = orphan(world)
    runner.job, runner.busy_since = "build", 0.0
    world.runs(3)
    assert (world.found("orphan_registration"), len(world.github.runners)) == ([], 1)


def test_a_runner_whose_instance_left_its_group_but_exists_stays(world):
    vm = world.vm()
    world.register(vm, online=False)
    world.group().instances.remove(vm)
    world.group().target_size -= 1
    world.google.compute.loose.append(vm)
    world.runs(3)
    assert "its instance is there" in world.only("orphan_registration")["because"]
    assert len(world.github.runners) == 1


def test_a_runner_whose_instance_was_made_anew_under_its_name_goes(world):
    vm = world.vm()
    runner = world.register(vm, online=False)
    world.google.delete_instance(vm)
    world.google.create_instance(world.group(), name=vm.name, zone=vm.zone)
    world.runs()
    assert runner.removed


def test_without_leave_to_look_instances_up_nothing_is_deregistered(world):
    orphan(world)
    world.google.deny("compute.instance")
    world.runs(3)
    assert "could not be looked up" in world.only("orphan_registration")["because"]
    assert len(world.github.runners) == 1


def test_a_runner_that_connects_between_plan_and_removal_stays(world):
    runner = orphan(world)
    world.run()
    world.before_acting(lambda: world.github.connect(runner.name))
    world.pass_time()
    assert (world.run()["failed"], runner.removed) == (1, False)


def test_what_github_keeps_stays(world):
    runner = orphan(world)
    world.run()
    world.faults.script("github.remove_runner", status=422)
    world.pass_time()
    assert world.run()["failed"] == 1
    assert (world.only("orphan_registration")["why_not"], runner.removed) == (
        "GitHub keeps the runner: it has a job",
        False,
    )


def test_a_fifth_of_a_pools_registrations_goes_in_one_run(world):
    for _ in range(10):
        orphan(world)
    assert world.runs()["done"] == 2
    assert len(world.github.runners) == 8


def test_runners_of_others_are_nobody_that_the_fleet_knows(world):
    for name in ("somebodys-machine", "gh-runner-testing-presubmit-cpu-us-west1-ab1z-3w5e11264sgsf", "a"):
        world.github.add_runner(name)
    world.runs(3)
    assert (world.report()["disagreements"], len(world.github.runners)) == ([], 3)


def test_a_runner_of_a_pool_that_is_no_more_is_reported(world):
    runner = world.github.add_runner("gh-runner-old-pool-us-west1-ab1z-3w5e11264sgsf")
    known = str(int("3w5e11264sgsf", 36))
    world.google.put_object(GRANTS, f"grants/{known}.json", b"{}")
    world.runs(3)
    assert world.only("unknown_pool")["subject"] == f"runner/{runner.name}"
    assert not runner.removed


def test_a_release_is_reported_a_week_before_its_time(tmp_path):
    today = datetime.datetime.now(datetime.UTC).date()
    # It ends 30 days after the first release that came later, not after the newest.
    days = {"2.335.0": 70, "2.336.0": 25, "2.337.0": 2}
    releases = {release: str(today - datetime.timedelta(days=ago)) for release, ago in days.items()}
    with ReconcilerWorld(tmp_path, RECONCILER_RUNNER_RELEASES=json.dumps(releases)) as world:
        for group, version in ((JOBS, "2.335.0"), (JOBS, "2.337.0"), (CPU, "2.336.0")):
            runner = world.register(world.vm(group))
            world.github.connect(runner.name, version=version)
        world.run()
        assert world.only("runner_deadline")["subject"] == "presubmit-cpu/2.335.0"
        assert world.gauge("runner_deadline_days") == 5
        assert world.gauge("runner_deadline_days", "postsubmit-cpu") == 28
        assert world.gauge("runner_deadline_days", "a100") is None


def test_a_runner_group_that_was_renamed_is_reported_for_each_pool(world):
    world.github.groups.clear()
    world.run()
    assert {entry["pool"] for entry in world.found("runner_group_missing")} == {
        "presubmit-cpu",
        "postsubmit-cpu",
        "a100",
    }
