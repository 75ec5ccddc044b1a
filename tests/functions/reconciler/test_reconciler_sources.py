"""A source that fails, is cut short or says too little: nothing that depends on it is done, and that is said."""

from __future__ import annotations

import json

import pytest
from reconciler.budget import MOST_REQUESTS, Budget

from emulators.route import json_reply
from tests.functions.reconciler.reconciler_world import (
    BUCKETS,
    CPU,
    GRANTS,
    JOBS,
    JOBS_EAST,
    OWN,
    TOO_OLD,
    ReconcilerWorld,
)


def doubted(world):
    return {entry["subject"]: entry["because"] for entry in world.found("source_in_doubt")}


@pytest.mark.parametrize("outage", ["status", "reset"])
def test_while_github_is_down_nothing_ends_and_the_rest_is_reported(world, outage):
    vm = world.vm()
    stuck = world.placeholder()
    world.wanted = {JOBS: 1}
    world.run()
    world.github.outage = outage
    world.pass_time()
    counted = world.run()
    assert (vm.action, stuck.action, counted["done"]) == ("NONE", "DELETING", 1)
    assert doubted(world)["GitHub's list of runners"].startswith("github answered with ")
    assert (world.gauge("vms"), world.found("unregistered_vm")) == (1, [])
    # A run without a look is no run that follows: the count begins anew.
    world.github.outage = ""
    world.pass_time()
    assert (world.run()["done"], world.only("unregistered_vm")["runs"]) == (0, 1)
    world.pass_time()
    assert (world.run()["done"], vm.action) == (1, "DELETING")


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
@pytest.mark.parametrize("route", ["github.runners", "github.access_token"])
def test_no_status_of_githubs_is_an_empty_list(world, route, status):
    vm = world.vm()
    runner = world.register(world.vm(CPU), labelled=True)
    world.run()
    world.pass_time(4000)
    world.run()
    world.pass_time()
    world.reconciler._sources.github._installation.drop_token(world.reconciler._sources.github._installation._token)
    world.faults.script(route, status=status, times=200)
    world.run()
    assert (vm.action, runner.removed, world.changed()) == ("NONE", False, [])
    assert "GitHub's list of runners" in doubted(world)


@pytest.mark.parametrize("kind", ["garbage", "reset"])
def test_no_garbage_of_githubs_is_an_empty_list(world, kind):
    vm = world.vm()
    world.run()
    world.pass_time()
    world.faults.script("github.runners", kind, times=200)
    world.run()
    assert vm.action == "NONE"
    assert "GitHub's list of runners" in doubted(world)


def test_a_list_that_lost_most_of_its_runners_is_not_believed_for_a_few_runs(world):
    vms = [world.vm() for _ in range(8)]
    for vm in vms:
        world.register(vm)
    world.run()
    runners = dict(world.github.runners)
    world.github.runners.clear()
    for key in [key for key in world.google.objects if key[0] == GRANTS]:
        del world.google.objects[key]
    for _ in range(3):
        world.pass_time()
        world.run()
        assert all(vm.action == "NONE" for vm in vms)
        assert "GitHub's list of runners" in doubted(world)
    world.github.runners.update(runners)
    for vm in vms:
        world.grant(vm)
    world.pass_time()
    world.run()
    assert doubted(world) == {}


def test_a_runner_that_one_of_two_listings_skips_is_there(world):
    vm = world.vm()
    runner = world.register(vm)
    del world.google.objects[GRANTS, f"grants/{vm.id}.json"]
    others = [world.vm(CPU, age=60) for _ in range(3)]
    for other in others:
        world.register(other, labelled=True)
    number = 0
    original = world.github.document

    def hide_every_second():
        nonlocal number
        number += 1
        shown = [original(one) for one in world.github.runners.values() if number % 2 or one is not runner]
        return json_reply(200, {"total_count": len(shown), "runners": shown})

    replace(world, "github.runners", hide_every_second)
    world.runs(4)
    assert (world.found("unregistered_vm"), vm.action) == ([], "NONE")


def test_a_runner_in_the_second_listing_alone_is_no_orphan(world):
    # It was made after the groups were listed, perhaps for a VM that they did not have yet.
    vm = world.vm()
    runner = world.register(vm, online=False)
    world.google.delete_instance(vm)
    world.group().target_size = 0
    number = 0

    def hide_first():
        nonlocal number
        number += 1
        shown = [] if number % 2 else [world.github.document(runner)]
        return json_reply(200, {"total_count": len(shown), "runners": shown})

    replace(world, "github.runners", hide_first)
    world.runs(4)
    assert (world.found("orphan_registration"), runner.removed) == ([], False)


def test_a_listing_shorter_than_it_says_is_no_listing(world):
    vm = world.vm()
    world.register(world.vm(CPU), labelled=True)

    def cut_short():
        return json_reply(200, {"total_count": 3, "runners": []})

    replace(world, "github.runners", cut_short)
    world.runs(3)
    assert (vm.action, doubted(world)["GitHub's list of runners"]) == ("NONE", "github answered with HTTP 200")


@pytest.mark.parametrize(
    "entry", [None, {}, {"id": "1", "name": "x"}, {"id": 1, "name": "x", "status": "offline"}, {"id": 1, "busy": False}]
)
def test_a_listing_with_an_entry_that_cannot_be_read_is_no_listing(world, entry):
    replace(world, "github.runners", lambda: json_reply(200, {"total_count": 1, "runners": [entry]}))
    vm = world.vm()
    world.runs(3)
    assert (vm.action, "GitHub's list of runners" in doubted(world)) == ("NONE", True)


def test_runners_are_listed_page_by_page(world):
    vms = [world.vm(CPU, age=TOO_OLD) for _ in range(230)]
    for vm in vms:
        world.register(vm, labelled=True)
    world.runs(2)
    assert (world.gauge("runners_online", "postsubmit-cpu"), world.found("unregistered_vm")) == (230, [])
    assert len(world.site.asked("github.runners")) == 2 * 2 * 3


def test_one_groups_failure_hides_no_other(world):
    hidden, seen = world.vm(JOBS_EAST), world.vm(JOBS)
    world.run()
    world.pass_time()
    missing = world.google.groups.pop(JOBS_EAST)
    counted = world.run()
    assert (counted["done"], seen.action, hidden.action) == (1, "DELETING", "NONE")
    assert doubted(world) == {f"group {JOBS_EAST}": "there is no such group"}
    assert missing.instances == [hidden]


def test_a_group_deleted_by_hand_is_reported_and_its_registrations_stay(world):
    runner = world.register(world.vm(JOBS), online=False)
    world.run()
    world.google.compute.remove_group(JOBS)
    world.pass_time()
    world.runs(3)
    assert f"group {JOBS}" in doubted(world)
    assert (runner.removed, world.only("orphan_registration")["proved"]) == (False, False)
    assert world.gauge("vms", "a100") == 0


@pytest.mark.parametrize("status", [401, 403, 500, 503])
@pytest.mark.parametrize("route", ["compute.group", "compute.managed_instances"])
def test_no_status_of_googles_is_an_empty_group(world, route, status):
    vm = world.vm()
    runner = world.register(world.vm(), online=False)
    world.run()
    world.pass_time()
    world.faults.script(route, status=status, times=2000)
    world.run()
    assert (vm.action, runner.removed, world.changed()) == ("NONE", False, [])
    assert doubted(world).keys() >= {f"group {JOBS}"}


def test_a_group_that_lists_nothing_and_wants_vms_is_not_believed(world):
    vm = world.vm()
    runner = world.register(vm, online=False)
    world.group().instances.remove(vm)  # the listing is empty, and instances.get says 404: two that agree
    world.runs(4)
    assert (runner.removed, f"group {JOBS}" in doubted(world)) == (False, True)


def test_a_group_of_many_pages_is_read_whole(world):
    for _ in range(501):
        world.vm(CPU, age=60)
    world.run()
    assert world.gauge("vms", "postsubmit-cpu") == 501


def test_a_list_of_grants_that_does_not_know_the_registered_vms_is_another_list(tmp_path):
    # As when the reconciler is pointed at a bucket that is not the broker's.
    with ReconcilerWorld(tmp_path, RECONCILER_GRANTS_BUCKET=BUCKETS["deleter"]) as world:
        busy = world.vm()
        runner = world.register(busy)
        world.github.remove(runner)
        world.register(world.vm())
        world.runs(4)
        assert "it lists nothing, and there are 2 VMs" in doubted(world)["the broker's list of grants"]
        world.google.put_object(BUCKETS["deleter"], "grants/1.json", b"{}")
        world.pass_time()
        world.runs(4)
        assert busy.action == "NONE"
        assert "it knows 0 of 1 VMs that are registered" in doubted(world)["the broker's list of grants"]


@pytest.mark.parametrize("route", ["storage.list", "storage.get"])
def test_without_its_records_nothing_ends(world, route):
    vm = world.vm()
    world.grant(vm, age=5000, state="unknown")
    world.run()
    world.pass_time()
    world.listen()
    world.google.deny(route)
    world.call()
    assert (vm.action, world.changed()) == ("NONE", [])


def test_100_pools_in_three_regions_fit_into_a_run(tmp_path):
    groups = {
        f"gh-runner-pool{number:03}-{region}-aaaa": (f"pool{number:03}", "jobs")
        for number in range(100)
        for region in ("us-west1", "us-east1", "us-central1")
    }
    with ReconcilerWorld(tmp_path, groups=groups) as world:
        vms = [world.vm(name) for name in list(groups)[::30]]
        counted = world.runs()
        assert (counted["done"], counted["failed"], doubted(world)) == (10, 0, {})
        assert all(vm.action == "DELETING" for vm in vms)
        assert counted["asked"]["compute"] < 700
        assert counted["asked"]["storage"] < 800
        assert counted["measured"] is True
        assert world.gauge("vms", "pool000") == 1


def test_what_is_beyond_the_budget_is_not_asked_and_nothing_follows_from_it(tmp_path):
    with ReconcilerWorld(tmp_path, budget=Budget({**MOST_REQUESTS, "compute": 5})) as world:
        vms = [world.vm(name) for name in world.groups]
        world.runs(3)
        assert all(vm.action == "NONE" for vm in vms)
        assert len(doubted(world)) > 1


def test_no_words_of_another_service_are_kept_or_logged(world):
    world.vm()
    world.placeholder()
    for route in ("github.runners", "compute.group", "storage.list", "monitoring.create_time_series"):
        world.faults.script(route, "garbage", times=2, status=500)
    world.runs(2)
    kept = [stored.data for (bucket, _), stored in world.google.objects.items() if bucket == OWN]
    everything = json.dumps(world.lines) + str(kept)
    assert "must-not-leak" not in everything
    assert "words of Google's" not in everything


def replace(world, name, answer) -> None:
    """Have a route of GitHub's answered otherwise."""
    original = world.github.handle
    world.github.handle = lambda route, call: answer() if route.name == name else original(route, call)
