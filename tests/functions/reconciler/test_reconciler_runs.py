"""Runs: one at a time, remembered, reported, and over HTTP for nobody but the clock."""

from __future__ import annotations

import json
import threading

import pytest
from reconciler import memory
from reconciler.app import CLAIM_SECONDS

from tests.functions.reconciler.reconciler_world import CPU, JOBS, LISTENER, OWN, ReconcilerWorld

MEMORY = OWN, "sightings.json"


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/", 405, "method_wrong"),
        ("PUT", "/", 405, "method_wrong"),
        ("DELETE", "/", 405, "method_wrong"),
        ("POST", "/run", 404, "no_such_path"),
    ],
)
def test_only_its_one_operation_is_served(world, method, path, status, error):
    reply = world.call(method, path)
    assert (reply.status_code, reply.json()["error"]) == (status, error)
    assert world.site.requests == []


def test_a_run_says_what_it_found_in_answer_report_log_and_gauges(world):
    vm = world.vm()
    world.register(world.vm(CPU), labelled=True)
    counted = world.runs()
    assert (counted["outcome"], counted["disagreements"], counted["done"]) == ("done", 1, 1)
    assert (counted["reported"], counted["measured"], counted["kinds"]) == (True, True, {"unregistered_vm": 1})
    [line] = [line for line in world.lines if line["message"] == "disagreement" and line["action"] != "none"]
    assert (line["pool"], line["kind"], line["subject"]) == ("presubmit-cpu", "unregistered_vm", vm.id)
    assert (line["action"], "was given none" in line["because"]) == ("ordered to end", True)
    assert world.lines[-1]["message"] == "reconciled"
    dated = [name for bucket, name in world.google.objects if bucket == OWN and name.startswith("reports/2")]
    assert len(dated) == 2
    assert world.report()["pools"]["postsubmit-cpu"]["runners_online"] == 1
    assert (world.gauge("unregistered"), world.gauge("runners_online", "postsubmit-cpu")) == (1, 1)


def test_of_two_runs_at_once_one_does_nothing(world):
    vm = world.vm()
    world.run()
    world.pass_time()
    world.listen()
    entered, leave = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        assert leave.wait(30)

    world.before_acting(wait)
    first = threading.Thread(target=world.call)
    first.start()
    assert entered.wait(30)
    second = world.call()
    leave.set()
    first.join()
    assert second.json() == {"outcome": "another_run"}
    assert (vm.action, len(world.site.asked("compute.delete_instances"))) == ("DELETING", 1)


def test_of_two_that_claim_at_once_the_second_finds_its_generation_gone(world):
    reconciler = world.reconciler
    original = reconciler._own.read

    def read(name, deadline):
        stored = original(name, deadline)
        reconciler._own.read = original
        assert world.another().run()["outcome"] == "done"
        return stored

    reconciler._own.read = read
    assert world.call().json() == {"outcome": "another_run"}


def test_a_run_that_died_keeps_the_next_one_away_and_no_more(world):
    vm = world.vm()
    world.run()
    stored = memory.parse(world.google.objects[MEMORY].data)
    claim = memory.Claim(holder="died", until=world.site.clock.now() + CLAIM_SECONDS)
    world.google.put_object(*MEMORY, memory.Memory(**{**_fields(stored), "claim": claim}).text())
    assert world.run() == {"outcome": "another_run"}
    world.pass_time()
    assert (world.run()["done"], vm.action) == (1, "DELETING")


def test_a_claim_of_a_clock_that_was_far_ahead_keeps_nobody_away(world):
    world.run()
    claim = memory.Claim(holder="ahead", until=world.site.clock.now() + 10 * CLAIM_SECONDS)
    world.google.put_object(*MEMORY, memory.Memory(claim=claim).text())
    assert world.run()["outcome"] == "done"


def _fields(stored):
    return {name: getattr(stored, name) for name in ("claim", "finished", "sightings", "counts")}


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b'{"claim": 5}', b"\xff", b'{"claim": null, "finished": "then"}']
)
def test_a_memory_that_cannot_be_read_is_begun_anew(world, data):
    vm = world.vm()
    world.run()
    world.google.put_object(*MEMORY, data)
    world.pass_time()
    assert (world.run()["done"], vm.action) == (0, "NONE")
    world.pass_time()
    assert (world.run()["done"], vm.action) == (1, "DELETING")


@pytest.mark.parametrize(("route", "status"), [("storage.get", 403), ("storage.insert", 403), ("storage.get", 503)])
def test_without_its_memory_it_asks_nothing_and_does_nothing(world, route, status):
    vm = world.vm()
    world.run()
    world.pass_time()
    world.site.requests.clear()
    world.faults.script(route, status=status, times=5000)
    reply = world.call()
    assert (reply.status_code, reply.json()["error"]) == (503, "memory_unavailable")
    assert ({request.service for request in world.site.requests}, vm.action) == ({"storage"}, "NONE")
    assert world.lines[-1]["message"] == "not reconciled"


def test_what_was_seen_is_kept_before_anything_is_done(world):
    world.vm()
    world.run()
    kept = []
    world.before_acting(lambda: kept.append(memory.parse(world.google.objects[MEMORY].data)))
    world.pass_time()
    world.run()
    [sighting] = kept[0].sightings.values()
    assert (sighting.runs, sighting.orders, kept[0].claim is not None) == (2, 0, True)
    after = memory.parse(world.google.objects[MEMORY].data)
    assert ([seen.orders for seen in after.sightings.values()], after.claim) == ([1], None)


def test_a_memory_whose_write_was_answered_by_nobody_is_read_back(world):
    vm = world.vm()
    world.run()
    world.pass_time()
    original = world.reconciler._own.write
    lost = []

    def write(*args):
        generation = original(*args)
        if len(lost) == 1:
            lost.append("the plan's")
            return None
        lost.append("")
        return generation

    world.reconciler._own.write = write
    assert (world.run()["done"], vm.action) == (1, "DELETING")


def test_a_memory_that_another_wrote_meanwhile_ends_the_run_before_it_acts(world):
    vm = world.vm()
    world.run()
    world.pass_time()
    original = world.reconciler._sources.compute.look

    def look(group, deadline):
        if group.name == JOBS:
            world.google.put_object(*MEMORY, b"{}")
        return original(group, deadline)

    world.reconciler._sources.compute.look = look
    world.listen()
    assert world.call().json()["error"] == "memory_unavailable"
    assert vm.action == "NONE"


@pytest.mark.parametrize("status", [403, 429, 500])
def test_gauges_that_are_not_taken_disturb_nothing(world, status):
    vm = world.vm()
    world.faults.script("monitoring.create_time_series", status=status, times=10)
    counted = world.runs()
    assert (counted["measured"], counted["reported"], vm.action) == (False, True, "DELETING")


def test_a_report_that_cannot_be_written_disturbs_nothing(world):
    vm = world.vm()
    world.run()
    world.pass_time()
    world.reconciler._own.replace = lambda *_: False
    counted = world.run()
    assert (counted["reported"], counted["measured"], vm.action) == (False, True, "DELETING")


@pytest.mark.parametrize("skew", [3600, -3600, 90, -90])
def test_with_a_clock_that_is_wrong_nothing_is_proved(world, skew):
    booting, dead = world.vm(age=60), world.vm(CPU, age=5000)
    world.skew = skew
    world.runs(3)
    assert (booting.action, dead.action, world.changed()) == ("NONE", "NONE", [])
    [entry] = [entry for entry in world.found("source_in_doubt") if entry["subject"] == "clock"]
    assert not any(entry["proved"] for entry in world.report()["disagreements"])
    assert f"it differs from Cloud Storage's by {abs(skew)} s" in entry["because"]
    world.skew = 0.0
    world.runs(3)
    assert dead.action == "DELETING"


def test_a_clock_that_goes_wrong_while_it_looks_ends_nothing(world):
    booting = world.vm(age=-200)
    world.run()
    world.pass_time()
    original = world.reconciler._sources.github.runner_groups

    def jump(deadline):
        world.skew = 150.0
        return original(deadline)

    world.reconciler._sources.github.runner_groups = jump
    world.vm(CPU, age=5000)
    for _ in range(3):
        world.skew = 0.0
        world.run()
        world.pass_time()
    assert (booting.action, world.changed()) == ("NONE", [])


def test_a_clock_within_a_minute_is_right(world):
    vm = world.vm()
    world.skew = 50.0
    world.runs()
    assert vm.action == "DELETING"


def test_without_threads_it_does_the_same(tmp_path):
    with ReconcilerWorld(tmp_path) as world:
        vm = world.vm()
        alone = world.another(workers=1)
        before = set(threading.enumerate())
        world.listen()
        alone.run()
        world.pass_time()
        world.listen()
        assert alone.run()["done"] == 1
        assert vm.action == "DELETING"
        assert {thread for thread in set(threading.enumerate()) - before if "Pool" in thread.name} == set()


def test_a_bug_has_a_reply_of_its_own_and_no_words(world):
    def burst(*_):
        raise RuntimeError("a secret")

    world.reconciler._sources.compute.look = burst
    reply = world.call()
    assert (reply.status_code, reply.json()["error"]) == (500, "internal")
    assert "a secret" not in json.dumps(world.lines)
    assert "RuntimeError at burst" in world.lines[-1]["because"]


def test_a_run_out_of_time_leaves_the_rest_for_another(world):
    vms = [world.vm(), world.vm(CPU)]
    world.run()
    world.pass_time()
    world.before_acting(lambda: world.pass_time(230))
    counted = world.run()
    assert (counted["done"], counted["failed"]) == (0, 2)
    assert {entry["why_not"] for entry in world.found("unregistered_vm")} >= {"this run's time is over"}
    assert all(vm.action == "NONE" for vm in vms)


def test_the_listeners_records_are_read_and_never_written(world):
    world.runs(2)
    written = [request.path for request in world.site.asked("storage.insert")]
    assert written
    assert all(f"/b/{LISTENER}/" not in path for path in written)
