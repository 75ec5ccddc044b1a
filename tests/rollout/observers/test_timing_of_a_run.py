"""The timing adds up: every second of a step is in one account, and the path is a chain without a hole of its own."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.engine.events import Event, Kind
from rollout.engine.states import TRANSITIONS, State
from rollout.observers.masking import Secrets
from rollout.observers.run_folder import RunFolder
from rollout.observers.timeline import TimingReport
from rollout.observers.timing import Clock, Timing
from rollout.observers.utilisation import Curve, Meter
from tests.rollout.observers.recorded_run import BEGAN_AT, Recorder, finished_canary, wide


def timed(events: list[Event]) -> Timing:
    clock = Clock()
    for event in events:
        clock.fold(event)
    return clock.timing("run-1")


def test_a_steps_seconds_are_told_apart():
    steps = {step.id: step for step in timed(finished_canary().events).steps}
    east = steps["east/update"]
    parts = (State.BLOCKED_ON_GATE, State.QUEUED, State.RUNNING, State.RETRY_WAIT)
    assert [east.seconds_in(state) for state in parts] == pytest.approx([0, 0.1, 21.5 + 38.5, 12])
    assert steps["west/verify"].seconds_in(State.BLOCKED_ON_GATE) == 60
    assert (east.attempts, east.allowed, east.started, east.ended) == (2, 18.4, 18.5, 90.5)
    assert steps["promote"].spans == []


def test_wall_time_stands_beside_the_clock_that_never_jumps():
    events = finished_canary().events
    # Somebody set the clock back by an hour in the middle of the run.
    events = [replace(each, at=each.at - 3600 * (each.elapsed_seconds > 60)) for each in events]
    told = timed(events).as_json()
    west = next(step for step in told["steps"] if step["id"] == "west/update")
    assert west["started_at"] == BEGAN_AT + 18.4
    assert west["ended_at"] == BEGAN_AT + 75 - 3600, "as the machine's other logs have it"
    assert west["run_seconds"] == 56.6
    assert told["started"] == "2026-11-25T12:00:00.000Z"
    assert told["seconds"] == 158.1


def test_the_path_taken_is_the_chain_that_ended_last_not_the_heaviest():
    timing = timed(finished_canary().events)
    assert [step.id for step in timing.path] == ["templates", "west/update", "west/verify"]
    assert [step.id for step in timing.steps if step.is_on_path] == ["templates", "west/update", "west/verify"]


def test_the_path_goes_through_what_was_skipped_to_who_skipped_it():
    run = Recorder()
    run.begin([{"id": "a"}, {"id": "b", "needs": ["a"]}, {"id": "clean", "needs": ["b"]}])
    run.run(0, 10, "a", State.FAILED)
    run.state(10, "b", State.SKIPPED)
    run.run(10, 15, "clean")
    run.end(15, "failed")
    assert [step.id for step in timed(run.events).path] == ["a", "b", "clean"]


def test_a_dependency_that_ended_later_is_not_what_a_step_waited_for():
    run = Recorder()
    run.begin([{"id": "fast"}, {"id": "slow"}, {"id": "any", "needs": ["fast", "slow"]}])
    for step in ("fast", "slow"):
        run.state(0, step, State.QUEUED)
        run.state(0, step, State.RUNNING, attempt=1)
    run.state(2, "fast", State.PASSED)
    run.state(2, "any", State.QUEUED)
    run.state(2, "any", State.RUNNING, attempt=1)
    run.state(25, "slow", State.PASSED)
    run.state(30, "any", State.PASSED)
    run.end(30, "passed")
    assert [step.id for step in timed(run.events).path] == ["fast", "any"]


def test_a_need_of_all_that_a_step_adds_is_followed_to_the_last_of_them():
    run = Recorder()
    run.begin([{"id": "find"}, {"id": "after", "needs": ["find/*"]}])
    run.run(0, 1, "find")
    run.grow(1, "find", [{"id": "find/1", "needs": ["find"]}, {"id": "find/2", "needs": ["find"]}])
    run.run(1, 3, "find/1")
    run.run(3, 9, "find/2")
    run.run(9, 10, "after")
    assert [step.id for step in timed(run.events).path] == ["find", "find/2", "after"]


def test_a_run_that_ended_in_nothing_has_no_path():
    run = Recorder()
    run.begin([{"id": "a"}])
    run.state(0, "a", State.CANCELLED)
    assert timed(run.events).path == ()
    assert timed([]).as_json()["steps"] == []


def test_a_step_that_still_runs_counts_until_now():
    run = Recorder()
    run.begin([{"id": "a"}])
    run.state(0, "a", State.QUEUED)
    run.state(1, "a", State.RUNNING, attempt=1)
    run.add(5, Kind.STOPPING, data={"stage": 3, "why": "third signal"})
    (step,) = timed(run.events).steps
    assert step.seconds_in(State.RUNNING) == 4


def test_a_resumed_run_counts_its_own_time_alone():
    run = Recorder()
    run.begin(
        [{"id": "done", "state": State.PASSED}, {"id": "going", "state": State.RUNNING, "needs": ["done"]}],
        resumed=True,
    )
    run.state(7, "going", State.PASSED, attempt=1)
    run.end(7, "passed")
    timing = timed(run.events)
    assert [step.seconds_in(State.RUNNING) for step in timing.steps] == [0, 7]
    assert [step.id for step in timing.path] == ["going"]
    assert timing.curves[0].unit_seconds == 7


@given(st.integers(0, 2**32))
def test_every_second_from_allowed_to_ended_is_in_one_account(seed):
    draw = random.Random(seed)
    run = Recorder()
    run.begin([{"id": f"s{i}"} for i in range(6)])
    at = 0.0
    for _ in range(60):
        at += draw.choice([0, 0, 1, 2.5])
        step = draw.choice(list(run.states))
        if after := sorted(TRANSITIONS[run.states[step]]):
            run.state(at, step, draw.choice(after), attempt=1)
    for step in timed(run.events).steps:
        assert sum(span.seconds for span in step.spans) == pytest.approx(
            (step.ended if step.ended is not None else at) - step.allowed if step.allowed is not None else 0
        )
        for one, other in zip(step.spans, step.spans[1:], strict=False):
            assert one.end == other.begin


def test_utilisation_follows_limits_that_change():
    run = Recorder()
    run.begin([{"id": f"s{i}", "uses": {"cpus": 3}} for i in range(3)], limits={"total": 2, "resources.cpus": 6})
    run.run(0, 4, "s0")
    run.run(4, 8, "s1")
    run.add(8, Kind.LIMIT, data={"name": "total", "units": 1})
    run.run(8, 10, "s2")
    run.end(10, "passed")
    curves = {curve.name: curve for curve in timed(run.events).curves}
    assert list(curves) == ["total", "backends.google", "resources.cpus"]
    assert curves["total"].unit_seconds == 10
    assert curves["total"].share == pytest.approx(10 / (2 * 8 + 1 * 2))
    assert (curves["resources.cpus"].most, curves["resources.cpus"].mean, curves["resources.cpus"].share) == (3, 3, 0.5)
    assert curves["backends.google"].share is None, "nothing bounds it"


def test_what_was_unbounded_for_a_while_has_no_share():
    curve = Curve(name="total", used=((0, 1),), allowed=((0, 4), (5, None)), seconds=10)
    assert curve.share is None
    assert curve.mean == 1


def test_units_that_change_hands_in_one_moment_are_one_point():
    meter = Meter()
    for at, units in ((0, 1), (2, -1), (2, 1), (3, -1)):
        meter.take("total", at, units)
    assert meter.curves(4)[0].used == ((0, 1), (2, 1), (3, 0))


def test_the_files_are_written_when_the_run_is_over_and_hold_no_secret(tmp_path):
    async def play(folder):
        report = TimingReport(folder, secrets=Secrets(["operation-7"]))
        for event in finished_canary().events:
            await report.on_event(event)
        assert not folder.timing.exists()
        await report.close()

    with RunFolder.create(tmp_path, "one") as folder:
        asyncio.run(play(folder))
        told = json.loads(folder.timing.read_text(encoding="utf-8"))
        assert (told["run_id"], told["verdict"], told["critical_path"][-1]) == ("one", "failed", "west/verify")
        assert "operation-7" not in folder.timing.read_text() + folder.page.read_text()
        assert folder.page.read_text().startswith("<!doctype html>")


def test_missed_events_are_said_in_the_report():
    run = finished_canary()
    run.add(159, Kind.MISSED, data={"count": 5})
    assert timed(run.events).as_json()["missed_events"] == 5


def test_the_longest_steps_are_those_that_ran_longest():
    timing = timed(wide(500).events)
    longest = [step.seconds_in(State.RUNNING) for step in timing.longest(5)]
    assert longest == sorted((step.seconds_in(State.RUNNING) for step in timing.steps), reverse=True)[:5]
