"""The board follows a run by its events alone, and says nothing that it cannot know."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.engine.events import Kind
from rollout.engine.states import ENDS, TRANSITIONS, State
from rollout.observers.board import MOST_LISTED, Board
from rollout.observers.chains import Way, members, ways
from tests.rollout.observers.recorded_run import Recorder, canary, describe, finished_canary, wide


def folded(run: Recorder, until: float = float("inf")) -> Board:
    board = Board()
    for event in run.events:
        if event.elapsed_seconds <= until:
            board.fold(event)
    return board


def test_groups_count_their_steps_by_state():
    view = folded(canary()).view()
    counted = {group.name: dict(+group.counts) for group in view.groups}
    assert counted == {
        "": {State.PASSED: 1, State.SCHEDULED: 1},
        "us-west1/cpu": {State.PASSED: 1, State.BLOCKED_ON_GATE: 1},
        "us-east1/cpu": {State.FAILED: 1, State.SKIPPED: 1},
    }
    assert view.counts == {
        State.PASSED: 2,
        State.SCHEDULED: 1,
        State.BLOCKED_ON_GATE: 1,
        State.FAILED: 1,
        State.SKIPPED: 1,
        State.QUEUED: 0,
        State.RUNNING: 0,
        State.RETRY_WAIT: 0,
    }
    assert (view.ended, view.total) == (4, 6)


def test_what_runs_is_listed_with_its_progress_and_a_step_between_tries_is_among_it():
    running = folded(canary(), until=45).view(45).running
    assert [(line.id, line.state, line.attempt, line.text) for line in running] == [
        ("west/update", State.RUNNING, 1, "3 of 8 VMs"),
        ("east/update", State.RETRY_WAIT, 1, ""),
    ]


def test_a_new_try_forgets_the_progress_of_the_one_before():
    run = Recorder()
    run.begin([{"id": "a"}])
    run.state(0, "a", State.QUEUED)
    run.state(0, "a", State.RUNNING, attempt=1)
    run.add(1, Kind.PROGRESS, step="a", data={"text": "nearly there"})
    run.state(2, "a", State.RETRY_WAIT, attempt=1)
    run.state(3, "a", State.QUEUED)
    run.state(3, "a", State.RUNNING, attempt=2)
    assert [line.text for line in folded(run).view().running] == [""]


def test_a_failure_stays_pinned_with_its_reason_its_link_and_its_last_words():
    (failure,) = folded(finished_canary()).view().failures
    assert failure.reason
    assert (failure.id, failure.reason.code) == ("east/update", "quota")
    assert failure.link == "https://console.cloud.google.com/quotas"
    assert failure.tail[0] == "limit: 960"
    assert failure.ran_seconds() == 90.5 - 18.5


def test_a_gate_is_listed_so_long_as_it_is_closed():
    assert [line.id for line in folded(canary()).view().gates] == ["west/verify"]
    assert folded(finished_canary()).view().gates == ()


def test_a_groups_time_stops_with_its_last_step():
    view = folded(finished_canary()).view()
    elapsed = {group.name: group.elapsed_seconds(view.elapsed_seconds) for group in view.groups}
    assert elapsed["us-east1/cpu"] == 90.5 - 18.5
    assert elapsed["us-west1/cpu"] == pytest.approx(151.0 - 18.4)


def test_time_goes_on_between_events_and_ends_with_the_run():
    assert folded(canary()).view(200.0).elapsed_seconds == 200.0
    assert folded(canary()).view(1.0).elapsed_seconds == 90.5, "a clock of ours behind the newest event is wrong"
    assert folded(finished_canary()).view(1000.0).elapsed_seconds == 158.1


def test_a_stop_says_how_hard_it_is_and_an_undoing_how_it_went():
    run = canary()
    run.add(91, Kind.STOPPING, data={"stage": 2, "why": "second SIGINT"})
    assert folded(run).view().stopping == "killing what runs: second SIGINT"
    assert folded(finished_canary()).view().undoing == (("west/update", "passed"),)


def test_steps_that_are_added_later_join_their_groups_and_open_them_again():
    run = Recorder()
    run.begin([{"id": "find", "group": "west"}])
    run.run(0, 1, "find")
    run.grow(1, "find", [{"id": "find/1", "group": "west"}, {"id": "find/2", "group": "east"}])
    view = folded(run).view()
    assert [(group.name, group.ended, group.total, group.ended_seconds) for group in view.groups] == [
        ("west", 1, 2, None),
        ("east", 0, 1, None),
    ]


@pytest.mark.parametrize("left_out", range(3, 18))
def test_whatever_one_event_is_missed_the_sums_stay_true_and_the_loss_is_said(left_out):
    events = finished_canary().events
    board = Board()
    for event in [*events[:left_out], *events[left_out + 1 :]]:
        board.fold(event)
    board.fold(Recorder().add(200, Kind.MISSED, data={"count": 1}))
    view = board.view()
    assert view.total == 6
    assert min(view.counts.values()) == 0
    assert sum(group.total for group in view.groups) == 6
    assert view.missed == 1


def test_a_resumed_run_begins_where_the_one_before_it_ended():
    run = Recorder()
    run.begin(
        [
            {"id": "done", "group": "one", "state": State.PASSED},
            {"id": "broken", "group": "two", "state": State.FAILED},
            {"id": "open", "group": "two", "state": State.BLOCKED_ON_GATE, "needs": ["done"]},
            {"id": "going", "group": "two", "state": State.RUNNING},
        ],
        resumed=True,
    )
    view = folded(run).view()
    assert (view.ended, view.total) == (2, 4)
    assert [line.id for line in (*view.failures, *view.gates, *view.running)] == ["broken", "open", "going"]
    assert [(group.name, group.ended, group.ended_seconds) for group in view.groups] == [
        ("one", 1, 0.0),
        ("two", 1, None),
    ]
    assert view.longest_left == Way(1, 1)


def test_a_step_that_was_never_heard_of_is_shown_all_the_same():
    run = canary()
    board = Board()
    for event in run.events[1:]:
        board.fold(event)
    assert [line.id for line in board.view().failures] == ["east/update"]


def test_the_longest_way_left_gets_shorter_as_steps_end():
    board, left = Board(), {}
    events = finished_canary().events
    for until in (0.05, 20, 80, 160):
        while events and events[0].elapsed_seconds <= until:
            board.fold(events.pop(0))
        left[until] = board.view().longest_left
    assert left[0.05] == Way(20 + 60 + 90 + 1, 4)
    assert left[20] == Way(60 + 90 + 1, 3)
    assert left[80] == Way(60 + 90 + 1, 3), "east's update still runs"
    assert left[160] is None


def test_weights_that_nobody_gave_are_not_taken_for_seconds():
    run = Recorder()
    run.begin([{"id": "a"}, {"id": "b", "needs": ["a"]}])
    assert not folded(run).view().is_weighed
    assert folded(canary()).view().is_weighed


def test_a_view_does_not_change_with_the_board():
    run = canary()
    board = folded(run, until=45)
    view = board.view(45)
    before = [(line.id, line.state) for line in view.running], [dict(group.counts) for group in view.groups]
    for event in run.events:
        if event.elapsed_seconds > 45:
            board.fold(event)
    assert ([(line.id, line.state) for line in view.running], [dict(group.counts) for group in view.groups]) == before


def test_a_view_lists_no_more_than_a_terminal_could_show():
    run = Recorder()
    run.begin([{"id": f"step-{i}"} for i in range(500)])
    for i in range(500):
        run.state(0, f"step-{i}", State.QUEUED)
        run.state(0, f"step-{i}", State.RUNNING, attempt=1)
    view = folded(run).view()
    assert len(view.running) == MOST_LISTED
    assert view.counts[State.RUNNING] == 500


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_counts_of_any_run_agree_with_counting(seed, size):
    draw = random.Random(seed)
    run = Recorder()
    run.begin([{"id": f"s{i}", "group": f"g{i % 3}"} for i in range(size)])
    board = Board()
    board.fold(run.events[0])
    for at in range(3 * size):
        step = draw.choice(list(run.states))
        after = sorted(TRANSITIONS[run.states[step]])
        if after:
            board.fold(run.state(at, step, draw.choice(after)))
        view = board.view()
        states = list(run.states.values())
        assert {state: view.counts.get(state, 0) for state in State} == {s: states.count(s) for s in State}
        assert {line.id for line in view.running} == {
            step for step, state in run.states.items() if state in {State.RUNNING, State.RETRY_WAIT}
        }
        assert view.ended == sum(state in ENDS for state in states)


@given(st.integers(0, 2**32), st.integers(1, 25))
def test_the_longest_ways_agree_with_looking_at_every_way(seed, size):
    draw = random.Random(seed)
    described = {
        f"s{i}": describe(
            id=f"s{i}", needs=[f"s{j}" for j in range(i) if draw.random() < 0.2], weight=draw.randint(1, 9)
        )
        for i in range(size)
    }

    def longest(step: str) -> Way:
        after = [longest(each) for each, facts in described.items() if step in facts["needs"]]
        best = max(after, default=Way(0, 0))
        return Way(best.seconds + described[step]["weight"], best.steps + 1)

    assert ways(described) == {step: longest(step) for step in described}


def test_a_need_of_all_below_a_step_means_it_and_them_and_no_neighbour():
    ordered = sorted(["a", "a-b", "a/1", "a/1/x", "a/2", "a0", "b"])
    assert members("a/*", ordered) == ["a", "a/1", "a/1/x", "a/2"]
    found = ways({step: describe(id=step, needs=["a/*"] if step == "b" else []) for step in ordered})
    assert found["a/1"] == Way(2, 2)
    assert found["a-b"] == Way(1, 1)


def test_ways_of_a_chain_of_100_000_steps_need_no_recursion():
    chain = {f"s{i}": describe(id=f"s{i}", needs=[f"s{i - 1}"] if i else []) for i in range(100_000)}
    assert ways(chain)["s0"] == Way(100_000, 100_000)


def test_a_big_run_ends_with_every_step_counted():
    run = wide(2_000)
    view = folded(run).view()
    assert view.verdict == "failed"
    assert view.ended == view.total == 2_000
    assert {group.total for group in view.groups} == {50}
