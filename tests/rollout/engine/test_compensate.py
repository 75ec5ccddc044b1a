"""What a run has done is undone, in reverse, where it did not pass."""

# ruff: noqa: ARG001, ARG005 - backends, observers and callbacks take what they are called with
from __future__ import annotations

import asyncio
from random import Random

from engine_world import BUSY, Acting, Clock, Recorder, fails, for_ever, on_clock, states, step, takes, until_asked
from pydantic import BaseModel

from rollout.engine.backend import Failed, Passed
from rollout.engine.events import Kind
from rollout.engine.limits import Limits
from rollout.engine.run import Run
from rollout.engine.spec import Compensation, Plan, Ref, Rule, Step


class Undo(Acting):
    """The backend `undo`: acts by step, and writes down when it began and ended."""

    def __init__(self, acts=None) -> None:
        super().__init__(acts)
        self.log = []
        self.most = 0

    async def run(self, attempt):
        clock = asyncio.get_running_loop().time
        self.log.append((attempt.step_id, "begin", clock()))
        begun = {name for name, what, _ in self.log if what == "begin"} - {
            name for name, what, _ in self.log if what == "end"
        }
        self.most = max(self.most, len(begun))
        outcome = await super().run(attempt)
        self.log.append((attempt.step_id, "end", clock()))
        return outcome

    @property
    def order(self):
        return [name for name, what, _ in self.log if what == "begin"]


def undo(**fields):
    return Compensation(backend="undo", **fields)


def carried_out(*steps, acts=None, undos=None, meddle=lambda run, clock: None, **fields):
    backend, undoing, recorder = Acting(acts), Undo(undos), Recorder()

    async def main(clock: Clock):
        run = Run(
            Plan(name="a-plan", steps=steps),
            {"b": backend, "undo": undoing},
            wall=clock.wall,
            observers=[recorder],
            grace_seconds=5.0,
            kill_seconds=2.0,
            random=Random(0),
            **fields,
        )
        meddle(run, clock)
        return await run.execute()

    report = on_clock(main)
    assert recorder.faults() == []
    return report, undoing, recorder


def outcomes(report):
    return {undone.id: undone.outcome for undone in report.compensations}


def test_what_started_is_undone_in_reverse_order_of_dependency():
    report, undoing, recorder = carried_out(
        step("a", compensation=undo()),
        step("b", "a"),
        step("c", "b", compensation=undo()),
        step("d", "c", compensation=undo()),
        step("e", "d"),
        step("never", "e", compensation=undo()),
        acts={"e": fails},
        undos={"d": takes(3.0)},
    )
    assert undoing.order == ["d", "c", "a"]
    assert [when for _, what, when in undoing.log if what == "begin"] == [0.0, 3.0, 3.0]
    assert outcomes(report) == {"d": "passed", "c": "passed", "a": "passed"}
    assert (report.verdict, report.compensations[0].run_seconds) == ("failed", 3.0)
    told = [(event.step, event.data["outcome"]) for event in recorder.of(Kind.COMPENSATING)]
    assert told[:2] == [("d", "started"), ("d", "passed")]


def test_a_run_that_passed_is_left_as_it_is():
    report, undoing, _ = carried_out(step("a", compensation=undo()))
    assert (report.verdict, undoing.order, report.compensations) == ("passed", [], ())


def test_what_does_not_depend_on_each_other_is_undone_at_once_the_latest_first():
    steps = [step(f"s{n}", compensation=undo()) for n in range(3)]
    acts = {"s0": takes(3.0), "s1": takes(1.0), "s2": takes(2.0), "end": fails}
    undos = {f"s{n}": takes(10.0) for n in range(3)}
    end = step("end", "s0 s1 s2")
    _, undoing, recorder = carried_out(*steps, end, acts=acts, undos=undos)
    assert undoing.order == ["s0", "s2", "s1"]
    assert recorder.of(Kind.RUN_ENDED)[0].elapsed_seconds == 3.0 + 10.0
    _, undoing, recorder = carried_out(*steps, end, acts=acts, undos=undos, limits=Limits(backends={"undo": 1}))
    assert (undoing.order, undoing.most) == (["s0", "s2", "s1"], 1)
    assert recorder.of(Kind.RUN_ENDED)[0].elapsed_seconds == 3.0 + 30.0


def test_a_step_that_failed_itself_is_undone_too_and_one_that_never_ran_is_not():
    report, undoing, _ = carried_out(
        step("a", compensation=undo()), step("b", "a", compensation=undo()), acts={"a": fails}
    )
    assert undoing.order == ["a"]
    assert outcomes(report) == {"a": "passed"}


def test_a_compensation_that_fails_or_raises_holds_up_no_other():
    async def raises(attempt):
        raise OSError("undoing's own fault")

    report, undoing, _ = carried_out(
        step("a", compensation=undo()),
        step("b", "a", compensation=undo()),
        step("c", "b", compensation=undo()),
        acts={"c": fails},
        undos={"c": raises, "b": fails},
    )
    assert undoing.order == ["c", "b", "a"]
    assert outcomes(report) == {"c": "failed", "b": "failed", "a": "passed"}
    assert "OSError: undoing's own fault" in report.compensations[0].message
    assert report.compensations[1].message == "broken: as told"


def test_a_compensation_has_a_deadline_and_is_left_behind_after_it():
    over = asyncio.Event()

    async def deaf(attempt):
        while not over.is_set():
            try:
                await asyncio.sleep(1e6)
            except asyncio.CancelledError:
                continue
        return Passed()

    report, _, recorder = carried_out(
        step("a", compensation=undo(timeout_seconds=60.0)),
        step("b", compensation=undo(timeout_seconds=30.0)),
        acts={"a": fails},
        undos={"a": deaf, "b": for_ever},
        meddle=lambda run, clock: clock.call_later(500.0, over.set),
    )
    over.set()
    messages = {undone.id: undone.message for undone in report.compensations}
    assert outcomes(report) == {"a": "failed", "b": "failed"}
    assert messages["b"] == "not done in 30 s, cancelled: was made to end"
    assert messages["a"].startswith("not done in 60 s, deaf: ")
    assert recorder.of(Kind.RUN_ENDED)[0].elapsed_seconds == 60.0 + 5.0 + 2.0


def test_a_busy_backend_is_asked_again_until_the_deadline():
    calls = []

    async def busy(attempt):
        calls.append(1)
        return BUSY if len(calls) < 4 else Passed()

    async def always_busy(attempt):
        return BUSY

    report, _, _ = carried_out(
        step("a", compensation=undo()),
        step("b", compensation=undo(timeout_seconds=100.0)),
        acts={"a": fails},
        undos={"a": busy, "b": always_busy},
    )
    assert outcomes(report) == {"a": "passed", "b": "failed"}
    assert "had no room in all its time" in report.compensations[-1].message
    assert report.compensations[-1].run_seconds == 100.0


class Made(BaseModel):
    name: str


def test_a_compensation_may_name_the_steps_own_output():
    heard = {}

    async def makes(attempt):
        return Passed(output={"name": "vm-1"})

    async def hears(attempt):
        heard[attempt.step_id] = (dict(attempt.params), attempt.number)
        return Passed()

    report, _, _ = carried_out(
        step("a", output=Made, compensation=undo(params={"name": Ref("a", "name")})),
        step("b", "a", output=Made, compensation=undo(params={"name": Ref("b", "name")})),
        acts={"a": makes, "b": fails},
        undos={"a": hears},
    )
    assert heard == {"a": ({"name": "vm-1"}, 0)}
    assert outcomes(report) == {"a": "passed", "b": "failed"}
    assert report.compensations[0].message.startswith("missing-output: ")


def one_more(made: Made) -> list[Step]:
    return [step(f"a/{made.name}", compensation=undo())]


def test_what_a_step_added_is_undone_before_it():
    async def makes(attempt):
        return Passed(output={"name": "x"})

    _, undoing, _ = carried_out(
        step("a", output=Made, expand=one_more, compensation=undo()),
        step("end", "a/*"),
        acts={"a": makes, "end": fails},
    )
    assert undoing.order == ["a/x", "a"]


def test_a_stopped_run_is_undone_after_its_cleanup():
    report, undoing, _ = carried_out(
        step("a", compensation=undo()),
        step("cleanup", "a", rule=Rule.ALWAYS),
        acts={"a": until_asked, "cleanup": takes(7.0)},
        meddle=lambda run, clock: clock.call_later(1.0, run.stop, "enough"),
    )
    assert (report.verdict, states(report)["a"], outcomes(report)) == ("stopped", "killed", {"a": "passed"})
    assert undoing.log[0] == ("a", "begin", 8.0)


def test_a_first_stop_does_not_touch_what_is_being_undone_and_a_second_ends_it():
    def meddle(run, clock):
        clock.call_later(5.0, run.stop, "enough")

    def meddle_twice(run, clock):
        meddle(run, clock)
        clock.call_later(6.0, run.stop, "enough")

    steps = (step("a", compensation=undo()), step("b", "a", compensation=undo()))
    report, _, recorder = carried_out(*steps, acts={"b": fails}, undos={"b": takes(9.0)}, meddle=meddle)
    assert (report.verdict, outcomes(report)) == ("failed", {"b": "passed", "a": "passed"})
    assert [event.data["stage"] for event in recorder.of(Kind.STOPPING)] == [1]
    report, _, recorder = carried_out(*steps, acts={"b": fails}, undos={"b": for_ever}, meddle=meddle_twice)
    assert outcomes(report) == {"b": "failed", "a": "left-out"}
    assert report.compensations[0].message == "a second stop ended it, cancelled: was made to end"
    assert recorder.of(Kind.RUN_ENDED)[0].elapsed_seconds == 6.0


def test_a_third_stop_leaves_even_what_is_being_undone():
    def meddle(run, clock):
        for at in (5.0, 6.0, 6.5):
            clock.call_later(at, run.stop, "enough")

    async def deaf(attempt):
        try:
            return await for_ever(attempt)
        except asyncio.CancelledError:
            return await takes(1e6, Failed(code="cancelled", message=""))(attempt)

    report, _, recorder = carried_out(
        step("a", compensation=undo()), acts={"a": fails}, undos={"a": deaf}, meddle=meddle
    )
    assert states(report) == {"a": "failed"}
    assert recorder.of(Kind.RUN_ENDED)[0].elapsed_seconds == 6.5


def test_a_long_chain_without_compensations_is_no_recursion():
    steps = [step("s0", compensation=undo())] + [step(f"s{n}", f"s{n - 1}") for n in range(1, 3_000)]
    report, undoing, _ = carried_out(*steps, acts={"s2999": fails})
    assert undoing.order == ["s0"]
    assert report.verdict == "failed"
