"""Whole runs of random plans, on a virtual clock, against the sequential model."""

# ruff: noqa: ARG001, ARG005 - backends, observers and callbacks take what they are called with
from __future__ import annotations

import asyncio
from random import Random

from engine_world import Clock, Recorder, Scripted, on_clock, states
from hypothesis import given, settings
from hypothesis import strategies as st
from sequential_model import contradictions, plans, predict

from rollout.engine.limits import Limits
from rollout.engine.run import Run
from rollout.engine.states import ENDS, State

RESOURCES = {"cpus": 4, "licences": 2}


def carried_out(plan, seed, *, limits=None, script=lambda run: None, stop_at=None):
    """The report of a run, its backend and its observer; `script` and `stop_at` disturb it."""
    backend, recorder = Scripted(seed=seed), Recorder()
    backend.look = lambda backend: watch(plan, backend, limits or Limits(resources=RESOURCES), recorder)

    async def main(clock: Clock):
        run = Run(
            plan,
            {"scripted": backend},
            limits=limits or Limits(resources=RESOURCES),
            observers=[recorder],
            wall=clock.wall,
            random=Random(seed),
            grace_seconds=2.0,
            kill_seconds=1.0,
        )
        script(run)
        for seconds, call in stop_at or ():
            clock.call_later(seconds, call, run)
        return await run.execute()

    return on_clock(main), backend, recorder


def watch(plan, backend, limits, recorder):
    """What runs never takes more than there is."""
    known = {step.id: step for step in plan.steps}
    running = [step for step, count in backend.running.items() for _ in range(count)]
    assert max(backend.running.values()) <= 1, "a step ran twice at the same time"
    assert limits.total is None or len(running) <= limits.total
    for name, units in limits.resources.items():
        taken = sum(known[step].uses.get(name, 0) for step in running if step in known)
        assert taken <= units, f"{taken} {name} were taken at once, and there are {units}"


def parents(report):
    """Which step added which: an added one's id begins with its parent's."""
    return {result.id: result.id.rpartition("/")[0] for result in report.results if "/" in result.id}


@given(plans(resources=RESOURCES), st.integers(0, 2**32), st.data())
@settings(max_examples=300)
def test_every_step_ends_as_the_sequential_model_says(plan, seed, data):
    ids = [step.id for step in plan.steps]
    cancelled = data.draw(st.sets(st.sampled_from(ids), max_size=1))
    total = data.draw(st.sampled_from([None, 1, 3]))
    report, backend, recorder = carried_out(
        plan,
        seed,
        limits=Limits(total=total, resources=RESOURCES),
        script=lambda run: [run.cancel(step_id, "a test") for step_id in sorted(cancelled)],
    )
    ends = predict(plan, cancelled=cancelled)
    assert states(report) == {step: str(state) for step, state in ends.states.items()}
    assert {result.id: result.attempts for result in report.results if result.attempts} == ends.tries
    assert recorder.faults() == []
    assert recorder.closed == backend.closed == 1
    assert not report.faults
    if ends.failed:
        assert report.verdict == "failed"
    if report.verdict == "passed":
        assert not ends.failed


@given(plans(resources=RESOURCES), st.integers(0, 2**32), st.data())
@settings(max_examples=300)
def test_whenever_a_run_is_stopped_every_step_has_one_end_that_follows_from_the_others(plan, seed, data):
    ids = [step.id for step in plan.steps]
    moments = st.floats(0, 12)
    cancelled = data.draw(st.dictionaries(st.sampled_from(ids), moments, max_size=2))
    stops = data.draw(st.lists(moments, max_size=3))
    calls = [(at, lambda run, step_id=step_id: run.cancel(step_id, "a test")) for step_id, at in cancelled.items()]
    report, backend, recorder = carried_out(
        plan, seed, stop_at=calls + [(at, lambda run: run.stop("a test")) for at in stops]
    )
    assert recorder.faults() == []
    assert {result.state for result in report.results} <= ENDS
    assert not report.faults
    if len(stops) < 3:
        assert not +backend.running, "something still ran when the report was there"
    heard = [event.data["stage"] for event in recorder.events if event.kind == "stopping"]
    assert heard == sorted(set(heard))
    if 2 not in heard and 3 not in heard:
        added = parents(report)
        steps = [result for result in report.results if result.id not in added]
        assert [result.id for result in steps] == ids
        ends = {result.id: result.state for result in report.results}
        if not added:  # the model wants the steps themselves, and those that are added exist only inside the run
            found = contradictions(plan.steps, ends, {}, stopped=bool(stops), cancelled=cancelled)
            assert found == []
    if report.verdict == "stopped":
        assert {State.KILLED, State.CANCELLED} & {result.state for result in report.results}


@given(plans(expanding=False), st.integers(0, 2**32), st.floats(0, 8), st.integers(1, 3))
@settings(max_examples=100)
def test_a_run_whose_task_is_cancelled_leaves_nothing_behind(plan, seed, at, times):
    backend = Scripted(seed=seed)

    async def main(clock: Clock):
        run = Run(
            plan, {"scripted": backend}, wall=clock.wall, random=Random(seed), grace_seconds=2.0, kill_seconds=1.0
        )
        task = asyncio.create_task(run.execute())
        for later in range(times):
            clock.call_later(at + later / 4, task.cancel)
        before = asyncio.all_tasks()
        await asyncio.wait({task})
        return task, asyncio.all_tasks() - before

    task, left = on_clock(main)
    assert task.cancelled() or task.result().verdict in ("passed", "failed")
    assert not +backend.running
    assert not left
