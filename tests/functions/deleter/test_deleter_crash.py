"""kill -9 anywhere in a request: never too many permits afterwards, and nobody is blocked for ever."""

from __future__ import annotations

import threading
import time

import pytest
import requests

from tests.functions.deleter.deleter_process import DeleterProcess
from tests.functions.deleter.deleter_world import CPU, environment, fleet_table

STEPS = [
    ("certs.keys", False),
    ("metadata.token", False),
    ("compute.instance", False),
    ("storage.get", False),
    ("compute.managed_instances", False),
    ("compute.group", False),
    ("compute.autoscaler", False),
    ("storage.insert", False),
    ("storage.insert", True),
]


@pytest.fixture
def start(world, tmp_path):
    table = tmp_path / "fleet.json"
    table.write_text(fleet_table())
    return lambda: DeleterProcess(environment(world.site, table), tmp_path / "log")


def attempt(world, url, method, path, vm):
    """A request whose answer may never come."""

    def send():
        try:
            requests.request(method, url + path, headers=world.bearer(vm), timeout=60)
        except requests.RequestException:
            return

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def until(true):
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def killed_at(world, deleter, route, *, after, call):
    """Let a call reach a step, hang there, and kill the function."""
    world.faults.script(route, "timeout", after=after)
    seen = len(world.site.asked(route))
    thread = attempt(world, deleter.url, *call)
    until(lambda: [one for one in world.site.asked(route)[seen:] if one.executed or not after])
    deleter.kill()
    thread.join()
    world.faults.clear()


@pytest.mark.parametrize(("route", "after"), STEPS)
def test_a_kill_while_asking_leaves_no_permit_too_many_and_nobody_blocked(world, start, route, after):
    first, second, third = world.vms(CPU, 3)
    world.recommend(2)
    with start() as deleter:
        killed_at(world, deleter, route, after=after, call=("POST", "/retire", first))
    assert len(world.holders()) <= 1
    assert (first.id in world.holders()) == after
    # Whoever comes next, by a new function; here the one of this test's world.
    answers = [world.ask(second), world.ask(third)]
    assert sum(permit for permit, _ in answers) == (0 if after else 1)
    assert len(world.holders()) == 1
    # What every VM does whose answer never came.
    for vm in (first, second, third):
        world.give_back(vm)
    assert world.ask(third) == (True, "granted")


@pytest.mark.parametrize(
    ("route", "after"), [("storage.get", False), ("storage.insert", False), ("storage.insert", True)]
)
def test_a_kill_while_giving_back_is_made_good_by_giving_back_again(world, start, route, after):
    first, second, _ = world.vms(CPU, 3)
    world.recommend(2)
    assert world.ask(first)[0]
    with start() as deleter:
        killed_at(world, deleter, route, after=after, call=("DELETE", "/retire", first))
    assert world.ask(second)[0] is after
    world.give_back(first)
    world.give_back(second)
    assert world.ask(second) == (True, "granted")


@pytest.mark.parametrize(
    ("route", "after"),
    [("compute.managed_instances", False), ("compute.delete_instances", False), ("compute.delete_instances", True)],
)
def test_a_kill_while_deleting_deletes_once_or_not_at_all(world, start, route, after):
    vm, other = world.vms(CPU, 2)
    with start() as deleter:
        killed_at(world, deleter, route, after=after, call=("DELETE", "/", vm))
    assert (vm.action == "DELETING") == after
    assert world.call("DELETE", "/", vm).json() == {"deleting": True}
    assert world.google.groups[CPU].target_size == 1
    assert (vm.action, other.action) == ("DELETING", "NONE")
