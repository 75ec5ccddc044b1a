"""Grants, permits, and what the listener wrote."""

from __future__ import annotations

import json

import pytest

from tests.functions.reconciler.reconciler_world import (
    FOREIGN,
    GRANTS,
    INTERVAL_SECONDS,
    JOBS,
    LISTENER,
    MAX_RUN_SECONDS,
    OWN,
    PERMITS,
    TOO_OLD,
)

LEFT_OVER = MAX_RUN_SECONDS + TOO_OLD + 86_400
"""An age at which nobody can ask for a grant any more."""


def leftover(world, age=LEFT_OVER):
    """A grant whose VM is gone."""
    vm = world.vm()
    world.grant(vm, age=age)
    world.google.delete_instance(vm)
    world.group().target_size -= 1
    return GRANTS, f"grants/{vm.id}.json"


def test_a_grant_whose_vm_is_long_gone_goes(world):
    key = leftover(world)
    world.run()
    assert key in world.google.objects
    world.pass_time()
    assert world.run()["done"] == 1
    assert key not in world.google.objects
    assert world.only("leftover_grant")["action"] == "removed"


def test_a_grant_younger_than_that_is_none_of_its_business(world):
    key = leftover(world, LEFT_OVER - 2 * INTERVAL_SECONDS - 60)
    world.runs(2)
    assert (world.found("leftover_grant"), key in world.google.objects) == ([], True)


def test_a_grant_of_a_vm_that_exists_stays_though_its_group_lost_it(world):
    vm = world.vm()
    world.grant(vm, age=LEFT_OVER)
    world.group().instances.remove(vm)
    world.group().target_size -= 1
    world.google.compute.loose.append(vm)
    world.runs(3)
    assert (world.found("leftover_grant"), world.changed()) == ([], [])


def test_a_grant_that_a_runner_is_of_stays(world):
    vm = world.vm()
    world.register(vm, age=LEFT_OVER)
    world.google.delete_instance(vm)
    world.group().target_size -= 1
    world.runs(3)
    assert world.changed() == []


def test_a_grant_that_names_a_runner_which_is_there_stays_whatever_that_is_called(world):
    vm = world.vm()
    runner = world.github.add_runner("renamed")
    world.grant(vm, age=LEFT_OVER, runner_id=runner.id)
    world.google.delete_instance(vm)
    world.group().target_size -= 1
    world.runs(3)
    assert (world.found("leftover_grant"), world.changed()) == ([], [])


def test_a_grant_that_was_written_anew_stays(world):
    key = leftover(world)
    world.run()
    # The listing's generation is not the object's any more.
    world.before_acting(lambda: world.google.put_object(*key, b"{}"))
    world.pass_time()
    assert (world.run()["failed"], key in world.google.objects) == (1, True)


def test_while_any_group_cannot_be_read_no_grant_goes(world):
    key = leftover(world)
    world.run()
    world.pass_time()
    world.google.deny("compute.managed_instances")
    assert (world.run()["done"], key in world.google.objects) == (0, True)


def test_a_fifth_of_all_grants_goes_in_one_run(world):
    keys = [leftover(world, LEFT_OVER + number) for number in range(10)]
    assert world.runs()["done"] == 2
    assert [key in world.google.objects for key in keys].count(False) == 2


def test_permits_of_dead_vms_are_reported_and_the_ledger_is_the_deleters(world):
    vm = world.vm(age=0)
    ledger = json.dumps({"permits": {vm.id: "then", "12345": "then"}, "suspects": ["77"]}).encode()
    world.google.put_object(PERMITS, f"permits/{JOBS}.json", ledger)
    world.runs(2)
    assert world.only("leftover_permit")["evidence"] == {"instance_ids": ["12345"]}
    assert world.google.objects[PERMITS, f"permits/{JOBS}.json"].data == ledger


@pytest.mark.parametrize("data", [b"", b"[]", b'{"permits": []}', b"\xff"])
def test_a_ledger_that_cannot_be_read_is_said_to_be_so(world, data):
    world.google.put_object(PERMITS, f"permits/{JOBS}.json", data)
    world.run()
    assert world.only("source_in_doubt")["subject"] == f"permits/{JOBS}"


def test_a_listener_that_writes_is_not_silent(world):
    world.runs(2)
    assert (world.found("listener_silent"), world.gauge("listener_silent")) == ([], 0)


def test_a_listener_that_stopped_writing_is_silent(world):
    world.run()
    world.listening = False
    world.pass_time()
    world.run()
    assert "expired" in world.only("listener_silent")["because"]
    assert (world.gauge("listener_silent"), world.gauge("listener_silent", "a100")) == (1, None)


def test_a_listener_that_never_wrote_is_silent(world):
    world.listening = False
    world.run()
    assert world.only("listener_silent")["because"] == "the listener has never written of it"


@pytest.mark.parametrize(
    ("lease", "because"),
    [
        (b'{"state": "released", "renewed": "2026-11-25T09:00:00+00:00"}', "no listener holds the lease"),
        (b'{"state": "held", "renewed": "2026-11-20T09:00:00+00:00"}', "the lease was last renewed "),
        (b'{"state": "held", "renewed": 5}', "no listener holds the lease"),
    ],
)
def test_a_lease_that_lapsed_silences_every_pool(world, lease, because):
    world.listen()
    world.listening = False
    world.google.put_object(LISTENER, "lease.json", lease)
    world.run()
    assert because in world.only("listener_silent")["because"]


def test_a_pool_that_follows_jobs_no_more_is_reported_with_its_scale_set(world):
    world.google.put_object(LISTENER, "pools/renamed.json", b'{"pool": "renamed"}')
    world.runs(2)
    assert world.only("unknown_pool")["pool"] == "renamed"


@pytest.mark.parametrize("data", [b"", b"[1]", b'{"expires": "soon"}', b'{"expires": "2026-11-25T09:00:00"}'])
def test_a_record_that_cannot_be_read_is_silence(world, data):
    world.listen()
    world.listening = False
    world.google.put_object(LISTENER, "pools/presubmit-cpu.json", data)
    world.run()
    assert world.only("listener_silent")["because"] == "what the listener wrote of it cannot be read"


def test_only_its_own_records_and_three_other_functions_are_ever_asked_for(world):
    world.google.put_object(FOREIGN, "artifact", b"x")
    leftover(world)
    world.vm()
    world.placeholder()
    world.wanted = {JOBS: 0}
    world.runs(3)
    paths = [request.path for request in world.site.requests if request.route.startswith("storage.")]
    assert len(paths) > 30
    assert all(f"/b/{bucket}/" not in path for path in paths for bucket in (FOREIGN,))
    allowed = {GRANTS: "grants/", PERMITS: "permits/", LISTENER: ("demand/", "pools/", "lease.json"), OWN: ""}
    for path in paths:
        bucket = path.split("/b/")[1].split("/")[0]
        name = path.split("/o/")[1].replace("%2F", "/") if "/o/" in path else ""
        assert not name or bucket == OWN or name.startswith(allowed[bucket])
    changing = [request for request in world.site.requests if request.route in ("storage.insert", "storage.delete")]
    assert {request.path.split("/b/")[1].split("/")[0] for request in changing} == {OWN, GRANTS}
    written = [request for request in changing if request.route == "storage.insert"]
    assert all(f"/b/{OWN}/" in request.path for request in written)
