"""Gates: people who open or refuse them, bake times, and failure budgets."""

# ruff: noqa: ARG001, ARG005 - backends, observers and callbacks take what they are called with
from __future__ import annotations

import asyncio
from random import Random

import pytest
from engine_world import Acting, Clock, Recorder, codes, fails, on_clock, states, step, takes

from rollout.engine.events import Kind, Reason
from rollout.engine.gates import Decision
from rollout.engine.run import Run
from rollout.engine.spec import Approval, Bake, FailureBudget, Plan, Rule

NOW = Approval(question="roll out now?")


def carried_out(*steps, acts=None, meddle=lambda run, clock: None, wall=None, **fields):
    backend, recorder = Acting(acts), Recorder()

    async def main(clock: Clock):
        plan = Plan(name="a-plan", steps=steps)
        run = Run(plan, {"b": backend}, wall=wall or clock.wall, observers=[recorder], random=Random(0), **fields)
        meddle(run, clock)
        return await run.execute()

    report = on_clock(main)
    assert recorder.faults() == []
    return report, backend, recorder


def test_a_person_opens_a_gate():
    report, _, recorder = carried_out(
        step("a"), step("b", "a", gate=NOW), meddle=lambda run, clock: clock.call_later(60.0, run.approve, "b", "ada")
    )
    assert states(report) == {"a": "passed", "b": "passed"}
    assert report.results[1].started_at - report.started_at == 60.0
    assert recorder.ways()["b"] == ["blocked-on-gate", "queued", "running", "passed"]
    (waiting,) = [event for event in recorder.of(Kind.STATE) if event.new == "blocked-on-gate"]
    assert waiting.reason == Reason(code="approval", message="roll out now?")


def test_a_person_refuses_a_gate_and_the_run_has_not_passed():
    report, backend, _ = carried_out(
        step("a", gate=NOW),
        step("b", "a"),
        meddle=lambda run, clock: clock.call_later(60.0, run.refuse, "a", "ada", "it is Friday"),
    )
    assert states(report) == {"a": "skipped", "b": "skipped"}
    assert report.results[0].reason.code == "refused"
    assert report.results[0].reason.message == "ada refused it: it is Friday"
    assert (report.verdict, backend.ran) == ("failed", [])


def test_the_first_word_on_a_gate_holds_even_before_the_step_comes_to_it():
    def meddle(run, clock):
        run.approve("b", "ada")
        clock.call_later(1.0, run.refuse, "b", "bob", "too late")

    report, _, recorder = carried_out(step("a"), step("b", "a", gate=NOW), acts={"a": takes(5.0)}, meddle=meddle)
    assert states(report) == {"a": "passed", "b": "passed"}
    assert recorder.ways()["b"] == ["blocked-on-gate", "queued", "running", "passed"]


def test_an_approver_is_asked_once_a_gate_is_reached():
    asked = []

    async def approver(step_id, question):
        asked.append((step_id, question, asyncio.get_running_loop().time()))
        await asyncio.sleep(30.0)
        return Decision(opened=step_id == "a", by="ada", why="not that one")

    report, _, _ = carried_out(
        step("first"), step("a", "first", gate=NOW), step("b", gate=NOW), acts={"first": takes(5.0)}, approver=approver
    )
    assert asked == [("b", "roll out now?", 0.0), ("a", "roll out now?", 5.0)]
    assert states(report) == {"first": "passed", "a": "passed", "b": "skipped"}


async def raises(step_id, question):
    raise EOFError("nobody is at the terminal")


async def answers_nonsense(step_id, question):
    return True


@pytest.mark.parametrize("approver", [raises, answers_nonsense])
def test_an_approver_at_fault_refuses(approver):
    report, _, _ = carried_out(step("a", gate=NOW), step("b"), approver=approver)
    assert states(report) == {"a": "skipped", "b": "passed"}
    assert codes(report) == {"a": "refused"}
    assert len(report.faults) == 1
    assert report.faults[0].startswith("approver of a: ")


def test_an_approver_that_does_not_know_leaves_the_gate_to_others():
    async def approver(step_id, question):
        return None

    report, _, _ = carried_out(
        step("a", gate=NOW),
        approver=approver,
        meddle=lambda run, clock: clock.call_later(9.0, run.approve, "a", "ada"),
    )
    assert states(report) == {"a": "passed"}


def test_an_approver_learns_that_its_answer_is_not_needed_any_more():
    learnt = []

    async def approver(step_id, question):
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            learnt.append(step_id)
            raise

    def meddle(run, clock):
        clock.call_later(1.0, run.approve, "a", "ada")
        clock.call_later(2.0, run.cancel, "b", "not today")
        clock.call_later(3.0, run.stop, "enough")

    steps = (step("a", gate=NOW), step("b", gate=NOW), step("c", gate=NOW))
    report, _, _ = carried_out(*steps, approver=approver, meddle=meddle)
    assert states(report) == {"a": "passed", "b": "cancelled", "c": "cancelled"}
    assert learnt == ["a", "b", "c"]


def test_a_bake_time_begins_when_the_dependencies_allow_the_step():
    report, _, recorder = carried_out(step("a"), step("b", "a", gate=Bake(seconds=600.0)), acts={"a": takes(100.0)})
    assert report.results[1].started_at - report.started_at == 700.0
    assert recorder.ways()["b"] == ["blocked-on-gate", "queued", "running", "passed"]


def test_a_bake_time_goes_by_the_wall_clock_which_may_be_set():
    """Half of the time is over when somebody sets the clock back by an hour."""
    set_back = 0.0

    def meddle(run, clock):
        def back():
            nonlocal set_back
            set_back = 3600.0

        clock.call_later(300.0, back)

    walls = []

    def wall():
        walls.append(asyncio.get_running_loop().time() - set_back)
        return walls[-1]

    report, _, recorder = carried_out(step("a", gate=Bake(seconds=600.0)), meddle=meddle, wall=wall)
    assert states(report) == {"a": "passed"}
    assert recorder.of(Kind.RUN_ENDED)[0].elapsed_seconds == 600.0 + 3600.0


def test_a_budget_refuses_once_more_steps_than_that_ended_badly():
    def wave(bad):
        canaries = [step(f"canary/{n}", optional=True) for n in range(4)]
        needs = " ".join(canary.id for canary in canaries)
        gate = FailureBudget(most=1, of=("canary/*",))
        rest = step("rest", needs, rule=Rule.ALWAYS, gate=gate)
        return carried_out(*canaries, rest, acts={f"canary/{n}": fails for n in range(bad)})[0]

    assert (states(wave(1))["rest"], wave(1).verdict) == ("passed", "passed")
    over = wave(2)
    assert (states(over)["rest"], over.verdict) == ("skipped", "failed")
    assert over.results[-1].reason.code == "over-budget"
    assert over.results[-1].reason.message == "2 steps ended badly, and 1 may: canary/0, canary/1"


def test_cleanup_does_not_wait_at_a_gate_in_a_stop():
    report, _, _ = carried_out(
        step("a"),
        step("cleanup", "a", rule=Rule.ALWAYS, gate=Bake(seconds=600.0)),
        acts={"a": takes(3.0)},
        meddle=lambda run, clock: clock.call_later(1.0, run.stop, "enough"),
    )
    assert states(report) == {"a": "passed", "cleanup": "cancelled"}
