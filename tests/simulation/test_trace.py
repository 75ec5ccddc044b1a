"""Traces of jobs: the same for the same seed, of the size asked for, and of the pools asked for."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from simulation.assumptions import STANDARD
from simulation.trace import NAMED, bursts, named


def test_as_many_jobs_come_as_asked_for_shared_among_the_pools():
    arrivals = bursts(["cpu", "gpu"], 41, STANDARD, random.Random(1))
    assert Counter(arrival.pool for arrival in arrivals) == {"cpu": 21, "gpu": 20}
    assert [arrival.at for arrival in arrivals] == sorted(arrival.at for arrival in arrivals)


def test_a_seed_draws_its_trace_again_and_another_seed_another():
    first, again, other = (bursts(["cpu"], 20, STANDARD, random.Random(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("name", NAMED)
def test_a_named_trace_is_of_its_pool_in_order_and_repeatable(name):
    arrivals = named(name, STANDARD, 3)
    assert arrivals == named(name, STANDARD, 3)
    assert {arrival.pool for arrival in arrivals} == {NAMED[name][0]}
    assert [arrival.at for arrival in arrivals] == sorted(arrival.at for arrival in arrivals)
    assert len(arrivals) > 5


def test_jobs_of_accelerators_use_hardly_any_cpu():
    assert max(arrival.cpu for arrival in named("gpu-burst", STANDARD, 1)) <= 0.25
    assert min(arrival.cpu for arrival in named("matrix-burst", STANDARD, 1)) >= 0.5
