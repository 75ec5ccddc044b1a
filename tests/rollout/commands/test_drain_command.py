"""VMs that are to leave: which are chosen, that each is marked and waited for, and how many at a time."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from rollout.exits import Exit
from rollout.plans import drain, leaving
from tests.rollout.commands.operated_fleet import DRAIN, EAST, FOR_LONG, HOLD, OVER, POOL, WEST, operated, when_marked

OLD = "2026-11-22"
ARGUMENTS = ("drain", "prod", "--pool", POOL, "--yes")


@pytest.fixture
def fleet(versions, monkeypatch):
    with operated(versions, monkeypatch) as fleet:
        yield fleet


@pytest.fixture
def drained(rollout, fleet, monkeypatch):
    """Runs the command over VMs that leave as soon as they are marked, unless told otherwise."""

    def run(*words, happens=fleet.leaves, code=Exit.DONE):
        when_marked(monkeypatch, happens)
        result = rollout(*ARGUMENTS, *words)
        assert result.exit_code == code, result.output
        return result

    return run


def nothing(_name):
    """A VM stays."""


def test_idle_vms_are_marked_and_leave_and_busy_ones_are_left_alone(fleet, drained):
    idle, busy = fleet.of("idle"), fleet.of("busy")
    result = drained("--idle")
    assert fleet.names() == {busy.name}
    assert DRAIN not in busy.metadata
    assert "1 left" in result.stdout
    assert idle.name in result.stdout


def test_outdated_vms_of_all_regions_leave_and_current_ones_stay(fleet, drained):
    current = fleet.of("idle")
    for region in (WEST, EAST):
        fleet.of("idle", version=OLD, region=region)
    drained("--outdated")
    assert fleet.names() == {current.name}


def test_a_region_and_a_version_narrow_it(fleet, drained):
    stay = [fleet.of("idle", version=OLD, region=EAST), fleet.of("idle")]
    fleet.of("idle", version=OLD)
    drained("--version", OLD, "--region", WEST)
    assert fleet.names() == {vm.name for vm in stay}


def test_other_pools_are_left_alone(fleet, drained):
    other = fleet.of("idle", pool="postsubmit-cpu", version=OLD)
    drained("--outdated")
    assert fleet.names() == {other.name}


def test_a_busy_vm_is_marked_and_not_waited_for(fleet, drained):
    busy = fleet.of("busy", version=OLD)
    result = drained("--outdated", happens=nothing)
    assert fleet.marked() == {busy.name}
    assert "1 leave when their jobs are done" in result.stdout


def test_a_held_vm_is_neither_marked_nor_waited_for(fleet, drained):
    held, over = fleet.of("idle"), fleet.of("idle")
    held.metadata[HOLD], over.metadata[HOLD] = FOR_LONG, OVER
    result = drained("--idle")
    assert (fleet.names(), fleet.marked()) == ({held.name}, set())
    assert "1 left, 1 are held" in result.stdout


def test_a_dry_run_lists_vms_with_version_and_state_and_marks_none(fleet, rollout):
    old, idle = fleet.of("busy", version=OLD), fleet.of("idle", version=OLD)
    result = rollout("drain", "prod", "--pool", POOL, "--outdated", "--dry-run", "--json")
    assert result.exit_code == Exit.DONE
    assert json.loads(result.stdout) == {
        "vms": [
            {"name": old.name, "version": OLD, "state": "busy", "zone": old.zone},
            {"name": idle.name, "version": OLD, "state": "idle", "zone": idle.zone},
        ],
        "marked": False,
    }
    assert fleet.marked() == set()
    assert not list(fleet.site.asked("compute.set_metadata"))


def test_nobody_is_marked_unless_it_is_said_so(fleet, rollout):
    fleet.of("idle")
    result = rollout("drain", "prod", "--pool", POOL, "--idle")
    assert result.exit_code == Exit.DECLINED
    assert fleet.marked() == set()


def test_no_vm_to_drain_is_done(fleet, rollout):  # noqa: ARG001 - the fleet that is asked
    result = rollout(*ARGUMENTS, "--outdated")
    assert (result.exit_code, "no VM of presubmit-cpu is to leave" in result.stdout) == (Exit.DONE, True)


def test_no_more_of_a_group_are_marked_at_once_than_may_be(fleet, drained):
    for _ in range(8):
        fleet.of("idle")
    seen = []

    def leaves_late(_name):
        """Nobody leaves before as many are marked as may be."""
        seen.append(len(fleet.marked()))
        if len(fleet.marked()) == 2 or len(fleet.names()) == 1:
            for marked in fleet.marked():
                fleet.leaves(marked)

    drained("--idle", "--rate", "1000/s", happens=leaves_late)
    assert fleet.names() == set()
    assert max(seen) == 2, "a quarter of eight"


def test_the_number_at_once_can_be_said_and_each_group_has_its_own(fleet, drained):
    for region in (WEST, WEST, EAST):
        fleet.of("idle", region=region)
    seen = []

    def leaves_late(name):
        seen.append(name)
        if len(seen) == 3 or (len(seen) == 2 and len({fleet.named(each).region for each in seen}) == 2):
            for marked in fleet.marked():
                fleet.leaves(marked)

    drained("--idle", "--most", "1", happens=leaves_late)
    assert fleet.names() == set()
    assert {fleet_name.rpartition("-")[0] for fleet_name in seen[:2]} == {
        fleet.settings.names.vm_base(POOL, WEST),
        fleet.settings.names.vm_base(POOL, EAST),
    }


def test_a_second_drain_marks_nobody_again_and_waits_for_those_that_are_marked(fleet, drained):
    vm = fleet.of("idle")
    vm.metadata[DRAIN] = "2026-11-25T14:10:00Z"
    look = leaving.Leaving._patiently

    def leaves_then(self, seen):
        fleet.leaves(seen.name)
        return look(self, seen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaving.Leaving, "_patiently", leaves_then)
        drained("--idle")
    assert fleet.names() == set()
    assert not list(fleet.site.asked("compute.set_metadata"))


def test_a_vm_that_another_of_its_name_has_replaced_is_not_marked(fleet, drained, monkeypatch):
    vm = fleet.of("idle")
    choose = drain.choose

    def replaced(*given):
        chosen = choose(*given)
        group = fleet.group(POOL, WEST)
        fleet.leaves(vm.name)
        fleet.site.google.create_instance(group, name=vm.name)
        return chosen

    monkeypatch.setattr(drain, "choose", replaced)
    drained("--idle")
    assert fleet.marked() == set()
    assert fleet.names() == {vm.name}


def test_a_vm_that_is_replaced_between_two_looks_is_not_marked(fleet, drained, monkeypatch):
    vm = fleet.of("idle")
    marked = leaving.Leaving._marked

    def replaced(self, seen, state):
        fleet.leaves(vm.name)
        fleet.site.google.create_instance(fleet.group(POOL, WEST), name=vm.name, zone=vm.zone)
        return marked(self, seen, state)

    monkeypatch.setattr(leaving.Leaving, "_marked", replaced)
    drained("--idle")
    assert (fleet.marked(), fleet.names()) == (set(), {vm.name})


def test_vms_that_do_not_leave_in_time_fail_it_and_no_more_are_marked(fleet, rollout, monkeypatch):
    for _ in range(6):
        fleet.of("idle")
    pace = leaving.Pace
    monkeypatch.setattr(leaving, "Pace", lambda **given: pace(**given, patience_seconds=0.0, most_failures=1))
    result = rollout(*ARGUMENTS, "--idle", "--most", "1")
    assert result.exit_code == Exit.FAILED, result.output
    assert len(fleet.marked()) == 2
    assert "6 VMs did not leave" in result.stderr


def test_an_interrupted_drain_leaves_marks_and_is_gone_on_with(fleet, rollout, versions):
    vm = fleet.of("idle")
    process = subprocess.Popen(
        [sys.executable, "-m", "rollout", *ARGUMENTS, "--idle"],
        cwd=versions,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 30
    while not fleet.marked():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == Exit.INTERRUPTED, said
    assert "VMs that are marked leave all the same; to go on: scripts/rollout resume" in said
    assert (fleet.marked(), "Traceback" in said) == ({vm.name}, False)
    fleet.leaves(vm.name)
    again = rollout("resume", said.split("scripts/rollout resume ")[1].strip())
    assert again.exit_code == Exit.DONE, again.output
    assert len(list(fleet.site.asked("compute.set_metadata"))) == 1


@pytest.mark.parametrize("route", ["github.runners", "compute.managed_instances"])
def test_a_fleet_that_cannot_be_seen_whole_is_not_drained(fleet, rollout, route):
    fleet.of("idle")
    fleet.site.faults.script(route, status=403, times=1000)
    result = rollout(*ARGUMENTS, "--idle")
    assert result.exit_code == Exit.UNREACHABLE, result.output
    assert fleet.marked() == set()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--pool", "no-such", "--idle"), "the pools are"),
        (("--pool", POOL), "exactly one of --idle, --outdated and --version"),
        (("--pool", POOL, "--idle", "--outdated"), "exactly one of --idle, --outdated and --version"),
        (("--pool", POOL, "--idle", "--region", "mars"), "it is in"),
        (("--pool", POOL, "--idle", "--rate", "fast"), "write one such as 5/min"),
    ],
)
def test_a_command_line_that_makes_no_sense_says_what_does(versions, rollout, words, said):  # noqa: ARG001
    result = rollout("drain", "prod", *words)
    assert result.exit_code == Exit.FAULT
    assert said in result.output
