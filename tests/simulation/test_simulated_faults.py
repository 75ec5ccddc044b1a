"""Each fault by itself: it has a name and says what it does, it strikes, and the fleet gets over it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from simulation.assumptions import HASTY
from simulation.faults import FAULTS, FaultError, chosen
from simulation.world import Scenario, run

EAGER = replace(HASTY, preempted_share=0.5, boot_failure_share=0.5, host_error_share=0.3)


def test_all_are_chosen_or_none_or_those_named_or_those_that_the_seed_draws():
    chance = random.Random(1)
    assert chosen("none", chance) == []
    assert len(chosen("all", chance)) == len(FAULTS) > 20
    assert [fault.name for fault in chosen("quota,messages", chance)] == ["quota", "messages"]
    drawn = [fault.name for fault in chosen("some", random.Random(5))]
    assert drawn == [fault.name for fault in chosen("some", random.Random(5))]
    assert 0 < len(drawn) < len(FAULTS)


def test_an_unknown_name_is_refused_with_those_that_there_are():
    with pytest.raises(FaultError, match="no fault is called 'locusts'; there are none, all, some, github-errors"):
        chosen("locusts", random.Random(1))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_strikes_alone_and_every_job_runs_once_all_the_same(name):
    outcome = run(Scenario(seed=11, jobs=16, faults=name, assumed=EAGER, signed=False))
    assert sum(outcome.truth.faults.values()) > 0, "it never struck"
    assert outcome.truth.violations == []
