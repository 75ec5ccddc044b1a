from __future__ import annotations

import pytest

from rollout.engine.states import BAD_ENDS, ENDS, TRANSITIONS, IllegalTransitionError, State, check


def test_every_state_is_in_the_table_and_nothing_else():
    assert set(TRANSITIONS) == set(State)
    assert set().union(*TRANSITIONS.values()) <= set(State)


def test_every_state_can_be_reached_and_from_each_an_end_can():
    reached, edge = {State.SCHEDULED}, {State.SCHEDULED}
    while edge := set().union(*(TRANSITIONS[state] for state in edge)) - reached:
        reached |= edge
    assert reached == set(State)
    for state in set(State) - ENDS:
        below, edge = {state}, {state}
        while edge := set().union(*(TRANSITIONS[one] for one in edge)) - below:
            below |= edge
        assert below & ENDS


def test_nothing_follows_an_end():
    assert {
        State.PASSED,
        State.FAILED,
        State.TIMED_OUT,
        State.KILLED,
        State.CANCELLED,
        State.SKIPPED,
    } == ENDS
    assert BAD_ENDS < ENDS


def test_what_never_ran_and_what_was_killed_are_told_apart():
    """DVSim's KILLED meant both."""
    running_first = {state for state in ENDS if state in TRANSITIONS[State.RUNNING]}
    before = {state for state in ENDS if state in TRANSITIONS[State.SCHEDULED]}
    assert running_first & before == set()
    assert State.KILLED in running_first
    assert before == {State.SKIPPED, State.CANCELLED}


@pytest.mark.parametrize("old", State)
@pytest.mark.parametrize("new", State)
def test_a_change_is_checked_against_the_table(old, new):
    if new in TRANSITIONS[old]:
        check("a", old, new)
        return
    with pytest.raises(IllegalTransitionError, match=f"step a: {old} to {new}; after {old} there is "):
        check("a", old, new)
