"""What `judge` would do to random fleets, seen through sources that lie: nothing wrong, and in time all that is due.

Every guard is taken away once: then something wrong is found, so the model can see what it looks for.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from reconciler import decide, doubt, runners, vms
from reconciler.findings import Kind
from reconciler.limits import Limits
from reconciler.memory import Memory, Sighting, parse

from tests.functions.reconciler.reconciler_model import LIMITS, Sources, Truth, clear_up, play

WORLDS = 50


def wrongs(count: int = WORLDS, limits: Limits = LIMITS) -> list[str]:
    """What is wrong, up to the first world in which anything is."""
    for seed in range(count):
        if found := play(seed, limits=limits).wrongs:
            return found
    return []


def test_nothing_alive_is_ever_ended_and_every_remedy_is_used():
    used = Counter()
    for seed in range(WORLDS):
        verdict = play(seed)
        assert verdict.wrongs == []
        used += verdict.used
    for kind in (Kind.UNREGISTERED, Kind.ORPHAN, Kind.PAST_AGE, Kind.GRANT, Kind.PLACEHOLDER):
        assert used[kind] > 5, used


def test_a_dry_run_acts_in_no_world():
    for seed in range(10):
        assert play(seed, limits=replace(LIMITS, dry_run=True)).used == Counter()


@pytest.mark.parametrize("seed", range(5))
def test_when_nobody_lies_and_nothing_happens_all_that_is_due_is_done(seed):
    plan = clear_up(seed, 60)
    assert [decision.finding.because for decision in plan.decisions if decision.finding.remedy is not None] == []


def no_doubts(*_):
    return doubt.Doubts(groups={})


def proved_at_once(*_):
    return Sighting(since=0.0, runs=2, proved_since=0.0, proofs=2)


original_group = Sources._group


GUARDS = {
    "proof": [(vms._Judge, "_unproved", lambda *_: "")],
    "doubt": [(decide, "doubts", no_doubts)],
    "two runs": [(decide, "_sighting", proved_at_once)],
    "a look at the instance": [(runners, "gone", lambda *_: True)],
    "share": [(Limits, "share_of", lambda _, count: count)],
    "boot deadline": [(Limits, "registered_by_seconds", 0)],
    "age": [(vms, "AGE_MARGIN_SECONDS", -3600)],
    "reserve": [(Sources, "_group", lambda self, name: replace(original_group(self, name), keeps_reserve=False))],
}


@pytest.mark.parametrize("guard", GUARDS)
def test_without_any_guard_something_wrong_is_found(monkeypatch, guard):
    for owner, name, without in GUARDS[guard]:
        monkeypatch.setattr(owner, name, without)
    assert wrongs()


def test_a_proof_counts_only_while_it_lasts():
    seen = Sighting(since=0.0, runs=5, proved_since=None, proofs=0)
    memory = Memory(finished=1000.0, sightings={"unregistered_vm/7": seen})
    finding = decide.Finding(kind=Kind.UNREGISTERED, pool="p", subject="7", because="")
    proved = replace(finding, remedy=decide.Remedy(verb=decide.Verb.END_VM))
    first = decide._sighting(memory, proved, 1300.0)
    assert (first.runs, first.proofs, first.proved_since) == (6, 1, 1300.0)
    memory = Memory(finished=1300.0, sightings={"unregistered_vm/7": first})
    second = decide._sighting(memory, proved, 1600.0)
    assert (second.proofs, second.proved_since) == (2, 1300.0)
    lost = decide._sighting(Memory(finished=1600.0, sightings={"unregistered_vm/7": second}), finding, 1900.0)
    assert (lost.runs, lost.proofs, lost.proved_since) == (8, 0, None)


def test_a_memory_is_stored_and_read_back_whole():
    sighting = Sighting(since=1.5, runs=3, proved_since=2.5, proofs=2, orders=1)
    memory = Memory(finished=10.0, sightings={"a/b": sighting, "c/d": Sighting(since=3.0, runs=1)}, counts={"x": 4})
    assert parse(memory.text()) == memory


def test_the_model_can_tell_a_worker_that_runs():
    truth = Truth(dice=random.Random(1))
    truth.pass_time(9000)
    assert any(machine.had_job for machine in truth.machines)
    assert any(machine.gone for machine in truth.machines)
