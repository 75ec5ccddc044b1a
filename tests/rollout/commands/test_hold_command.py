"""A hold on one VM: written, warned about, refused where it comes too late; and taken away again."""

from __future__ import annotations

import json
import time

import pytest

from rollout.exits import Exit
from rollout.plans.marks import moment, written
from tests.rollout.commands.operated_fleet import DRAIN, FOR_LONG, HOLD, operated


@pytest.fixture
def fleet(versions, monkeypatch):
    with operated(versions, monkeypatch) as fleet:
        yield fleet


def hold(rollout, vm, *words, lasting="2h"):
    return rollout("hold", vm.name, "--for", lasting, "--stack", "prod", "--yes", *words)


def release(rollout, vm, *words):
    return rollout("release", vm.name, "--stack", "prod", "--yes", *words)


def test_a_vm_is_held_for_as_long_as_is_said(fleet, rollout):
    vm, other = fleet.of("busy"), fleet.of("busy")
    before = time.time()
    result = hold(rollout, vm, "--json")
    assert result.exit_code == Exit.DONE, result.output
    until = moment(vm.metadata[HOLD])
    assert until is not None
    assert before + 7199 <= until <= time.time() + 7200
    assert json.loads(result.stdout)["until"] == vm.metadata[HOLD]
    assert HOLD not in other.metadata


def test_everything_else_in_its_metadata_stays(fleet, rollout):
    vm = fleet.of("busy")
    before = dict(vm.metadata)
    hold(rollout, vm)
    assert {key: value for key, value in vm.metadata.items() if key != HOLD} == before
    release(rollout, vm)
    assert vm.metadata == before


def test_a_longer_hold_replaces_a_shorter_one(fleet, rollout):
    vm = fleet.of("busy")
    hold(rollout, vm, lasting="30m")
    shorter = vm.metadata[HOLD]
    hold(rollout, vm, lasting="1d")
    assert vm.metadata[HOLD] > shorter


def test_a_hold_that_outlasts_the_vm_is_written_with_a_warning(fleet, rollout):
    vm = fleet.of("busy", age_seconds=1800)
    vm.max_run_seconds = 3600
    result = hold(rollout, vm, lasting="2h")
    assert result.exit_code == Exit.DONE
    assert "warning: Compute Engine deletes it at its maximum age, in " in result.stderr
    assert HOLD in vm.metadata
    assert "warning" not in hold(rollout, vm, lasting="10m").stderr


@pytest.mark.parametrize(("field", "value"), [("action", "DELETING"), ("action", "RECREATING"), ("status", "STOPPING")])
def test_a_vm_that_goes_already_cannot_be_held(fleet, rollout, field, value):
    vm = fleet.of("busy")
    setattr(vm, field, value)
    result = hold(rollout, vm)
    assert (result.exit_code, HOLD in vm.metadata) == (Exit.REFUSED, False)
    assert "taken away already" in result.stderr


def test_a_hold_that_came_too_late_says_so(fleet, rollout, monkeypatch):
    vm = fleet.of("busy")
    from rollout.plans import holding

    mark = holding.mark

    async def meanwhile(*given):
        vm.action = "DELETING"
        return await mark(*given)

    monkeypatch.setattr(holding, "mark", meanwhile)
    result = hold(rollout, vm)
    assert (result.exit_code, "it came too late" in result.stderr) == (Exit.FAILED, True)


def test_a_dry_run_holds_and_releases_nobody(fleet, rollout):
    vm = fleet.of("busy")
    assert hold(rollout, vm, "--dry-run").exit_code == Exit.DONE
    assert HOLD not in vm.metadata
    vm.metadata[HOLD] = FOR_LONG
    assert release(rollout, vm, "--dry-run").exit_code == Exit.DONE
    assert vm.metadata[HOLD] == FOR_LONG


def test_a_release_twice_is_done_and_says_that_nobody_was_held(fleet, rollout):
    vm = fleet.of("busy")
    vm.metadata[HOLD] = FOR_LONG
    assert "is released" in release(rollout, vm).stdout
    assert HOLD not in vm.metadata
    second = release(rollout, vm)
    assert (second.exit_code, "is not held" in second.stdout) == (Exit.DONE, True)


def test_a_release_leaves_a_drain_alone_unless_told_otherwise(fleet, rollout):
    vm = fleet.of("idle")
    vm.metadata |= {HOLD: FOR_LONG, DRAIN: FOR_LONG}
    release(rollout, vm)
    assert (HOLD in vm.metadata, DRAIN in vm.metadata) == (False, True)
    release(rollout, vm, "--drained")
    assert DRAIN not in vm.metadata


@pytest.mark.parametrize("command", [("hold", "--for", "2h"), ("release",)])
def test_a_vm_that_is_not_there_is_a_fault_and_one_that_cannot_be_asked_for_is_none(fleet, rollout, command):
    name, *words = command
    absent = rollout(name, "gh-runner-presubmit-cpu-us-west1-none", *words, "--stack", "prod", "--yes")
    assert (absent.exit_code, "has such a VM" in absent.output) == (Exit.FAULT, True)
    vm = fleet.of("busy")
    fleet.site.faults.script("compute.managed_instances", status=403, times=100)
    unknown = rollout(name, vm.name, *words, "--stack", "prod", "--yes")
    assert unknown.exit_code == Exit.UNREACHABLE
    assert HOLD not in vm.metadata


@pytest.mark.parametrize("lasting", ["2", "h", "0h", "-1h", "1w", "8d", "2 h", "1.5h"])
def test_a_duration_has_a_unit_and_an_end(versions, rollout, lasting):  # noqa: ARG001 - the project it works in
    result = rollout("hold", "vm", "--for", lasting, "--stack", "prod")
    assert result.exit_code == Exit.FAULT
    assert "90m, 2h or 1d" in result.output or "7d at most" in result.output


def test_a_moment_is_written_as_vms_read_it():
    assert written(1_795_615_800.9) == "2026-11-25T14:10:00Z"
    assert moment("2026-11-25T14:10:00Z") == 1_795_615_800
