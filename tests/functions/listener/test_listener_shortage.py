from __future__ import annotations

import datetime

from hypothesis import given
from hypothesis import strategies as st
from listener.shortage import FIRST_SECONDS, MOST_SECONDS, Kind, Shortages

NOW = datetime.datetime(2026, 11, 23, 10, 41, tzinfo=datetime.UTC)


def at(seconds: float) -> datetime.datetime:
    return NOW + datetime.timedelta(seconds=seconds)


def note(shortages: Shortages, seconds: float, zone: str = "a", kind: Kind = Kind.CAPACITY) -> Shortages:
    return shortages.noted(group="g", region="r", zone=zone, kind=kind, now=at(seconds))


def only(shortages: Shortages):
    (found,) = shortages.known.values()
    return found


def test_a_shortage_holds_for_two_minutes_at_first():
    shortages = note(Shortages(), 0)
    assert shortages.current(at(119.9))
    assert not shortages.current(at(120))


def test_seeing_it_again_while_it_holds_changes_nothing():
    shortages = note(Shortages(), 0)
    assert note(shortages, 60) is shortages


def test_each_repeat_doubles_the_time_up_to_half_an_hour_and_keeps_its_beginning():
    shortages, seconds, held = Shortages(), 0.0, []
    for _ in range(7):
        shortages = note(shortages, seconds)
        found = only(shortages)
        held.append((found.until - at(seconds)).total_seconds())
        assert found.since == NOW
        seconds = (found.until - NOW).total_seconds()
    assert held == [120, 240, 480, 960, 1800, 1800, 1800]


def test_one_that_did_not_return_for_half_an_hour_is_forgotten():
    shortages = note(Shortages(), 0)
    again = only(note(shortages, FIRST_SECONDS + MOST_SECONDS))
    assert again.since == at(FIRST_SECONDS + MOST_SECONDS)
    assert again.times == 1
    assert not shortages.swept(at(FIRST_SECONDS + MOST_SECONDS)).known


def test_a_vm_that_was_made_clears_its_zone_and_the_whole_groups_but_no_other_zone():
    shortages = note(note(note(Shortages(), 0, "a"), 0, "b"), 0, "")
    cleared = shortages.cleared("g", "a", frozenset({Kind.CAPACITY}))
    assert [each.zone for each in cleared.known.values()] == ["b"]


def test_only_the_kinds_that_it_proves_are_cleared():
    shortages = note(Shortages(), 0, "", Kind.GROUP)
    assert shortages.cleared("g", "a", frozenset({Kind.CAPACITY})) is shortages


def test_another_groups_shortage_is_not_cleared():
    shortages = note(Shortages(), 0)
    assert shortages.cleared("other", "a", frozenset(Kind)) is shortages


@given(st.lists(st.floats(0, 7200), max_size=30))
def test_whatever_is_seen_when_no_shortage_holds_longer_than_the_maximum_and_none_begins_before_it_was_seen(moments):
    shortages = Shortages()
    for moment in sorted(moments):
        shortages = note(shortages, moment)
        found = only(shortages)
        assert at(moment) < found.until <= at(moment + MOST_SECONDS)
        assert NOW <= found.since <= at(moment)
        assert found.times <= len(moments)
