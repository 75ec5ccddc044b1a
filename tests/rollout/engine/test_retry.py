from __future__ import annotations

import statistics
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.engine.retry import wait_before_next_try, wait_while_busy
from rollout.engine.spec import Retry

RETRY = Retry(tries={"unavailable": 4, "quota": 2}, first_seconds=2.0, most_seconds=30.0)


class AlwaysMost(Random):
    def uniform(self, a, b):
        return max(a, b)


def wait(tries, *, error_class="unavailable", asked=None, random=None, retry=RETRY):
    return wait_before_next_try(
        retry, error_class=error_class, tries=tries, asked_seconds=asked, random=random or AlwaysMost()
    )


@pytest.mark.parametrize(
    ("error_class", "tries", "again"),
    [
        ("unavailable", 1, True),
        ("unavailable", 3, True),
        ("unavailable", 4, False),
        ("quota", 1, True),
        ("quota", 2, False),
        ("permanent", 1, False),
    ],
)
def test_a_class_of_error_has_its_own_number_of_tries_and_one_that_is_not_listed_has_one(error_class, tries, again):
    assert (wait(tries, error_class=error_class) is not None) is again


def test_tries_count_whatever_the_class_of_the_earlier_ones():
    assert wait(3, error_class="quota") is None


def test_waits_double_up_to_the_longest():
    many = Retry(tries={"unavailable": 9999}, first_seconds=2.0, most_seconds=30.0)
    assert [wait(tries, retry=many) for tries in (1, 2, 3, 4, 5, 6, 5000)] == [2, 4, 8, 16, 30, 30, 30]


def test_waits_are_spread_evenly_from_nought_to_the_ceiling():
    random = Random(1)
    waits = [wait(3, random=random) or 0.0 for _ in range(4000)]
    assert min(waits) < 0.1
    assert max(waits) > 7.9
    assert max(waits) <= 8
    assert statistics.mean(waits) == pytest.approx(4, abs=0.1)


def test_the_same_seed_waits_the_same():
    assert wait(2, random=Random(5)) == wait(2, random=Random(5)) != wait(2, random=Random(6))


@given(
    asked=st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)),
    tries=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_a_wait_is_never_shorter_than_what_was_asked_for_and_always_a_time(asked, tries, seed):
    waited = wait(tries, asked=asked, random=Random(seed))
    assert waited is not None
    least = asked if asked is not None and 0 < asked < float("inf") else 0.0
    assert least <= waited <= least + 30


def test_those_that_were_told_the_same_time_do_not_come_back_together():
    random = Random(1)
    assert len({wait(1, asked=60.0, random=random) for _ in range(50)}) == 50


def test_a_busy_backend_is_asked_ever_more_rarely_and_takes_no_try():
    """A busy backend made the loop spin (weakness 4)."""
    never = Retry(first_seconds=1.0, most_seconds=8.0)
    waits = [wait_while_busy(never, times=times, asked_seconds=None, random=AlwaysMost()) for times in range(1, 7)]
    assert waits == [1, 2, 4, 8, 8, 8]
    assert wait_while_busy(never, times=1, asked_seconds=5.0, random=AlwaysMost()) == 6
