"""A run from its first step to its report, whatever the things do that it is given."""

# ruff: noqa: ARG001, ARG002, ARG005 - backends, observers and callbacks take what they are called with
from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from random import Random

import pytest
from engine_world import (
    BUSY,
    UNAVAILABLE,
    Acting,
    Clock,
    Recorder,
    codes,
    fails,
    for_ever,
    in_turn,
    on_clock,
    runs,
    states,
    step,
    takes,
)
from pydantic import BaseModel, field_validator

from rollout.engine.admission import LimitError
from rollout.engine.backend import Busy, Failed, Passed
from rollout.engine.events import Kind
from rollout.engine.graph import GraphError
from rollout.engine.journal import Journal
from rollout.engine.limits import Limits
from rollout.engine.run import Run
from rollout.engine.spec import FailureBudget, Plan, Ref, Retry, Rule, Step


def carried_out(*steps, acts=None, meddle=lambda run, clock: None, plan=None, **fields):
    """The report of a run, its backend and what an observer heard."""
    backend, recorder = Acting(acts), Recorder()
    plan = plan or Plan(name="a-plan", steps=steps)

    async def main(clock: Clock):
        observers = [recorder, *fields.pop("observers", ())]
        fields.setdefault("grace_seconds", 5.0)
        fields.setdefault("kill_seconds", 2.0)
        fields.setdefault("random", Random(0))
        run = Run(plan, {"b": backend}, wall=clock.wall, observers=observers, **fields)
        meddle(run, clock)
        return await run.execute()

    report = on_clock(main)
    assert recorder.faults() == []
    return report, backend, recorder


class Image(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def _no_spaces(cls, name: str) -> str:
        if name == "raise":
            raise RuntimeError("a validator's own fault")
        return name


def more_steps(image: Image) -> list[Step]:
    if image.name == "boom":
        raise OSError("the expansion's own fault")
    if image.name == "faulty":
        return [step("a/x", "a/x")]
    return [step("a/x"), step("a/y", "a/x")]


def test_a_backend_that_raises_fails_its_step_and_nothing_else():
    async def not_found(attempt):
        raise FileNotFoundError(2, "No such file or directory", "/no/such/program")

    report, backend, _ = carried_out(
        step("a"), step("b", "a"), step("c"), step("d", "c"), acts={"a": not_found, "c": takes(10.0)}
    )
    assert states(report) == {"a": "failed", "b": "skipped", "c": "passed", "d": "passed"}
    assert codes(report) == {"a": "backend-bug", "b": "needs-not-met"}
    assert "FileNotFoundError" in report.results[0].reason.message
    assert backend.heard[-1] == ("close",)


@pytest.mark.parametrize("answer", [None, "passed", {"outcome": "passed"}])
def test_a_backend_that_returns_something_else_has_failed(answer):
    async def returns(attempt):
        return answer

    assert codes(carried_out(step("a"), acts={"a": returns})[0]) == {"a": "backend-bug"}


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError()])
def test_what_a_backend_raises_cannot_end_the_process_or_the_task(error):
    async def raises(attempt):
        raise error

    report, _, _ = carried_out(step("a"), step("b"), acts={"a": raises})
    assert states(report) == {"a": "failed", "b": "passed"}
    assert codes(report) == {"a": "backend-bug"}


def test_an_output_that_is_not_as_the_step_says_fails_it():
    async def passes(attempt):
        return Passed(output={"nam": "x"})

    report, _, _ = carried_out(step("a", output=Image), step("b", "a"), acts={"a": passes})
    assert codes(report)["a"] == "output"
    assert states(report)["b"] == "skipped"


@pytest.mark.parametrize(
    ("name", "code"),
    [("raise", "output"), ("boom", "expand"), ("faulty", "expand")],
)
def test_a_callback_that_raises_after_a_try_fails_its_step_and_the_run_goes_on(name, code):
    async def passes(attempt):
        return Passed(output={"name": name})

    report, _, _ = carried_out(
        step("a", output=Image, expand=more_steps), step("b", "a/*", rule=Rule.ALWAYS), acts={"a": passes}
    )
    assert states(report) == {"a": "failed", "b": "passed"}
    assert codes(report) == {"a": code}


class Measured(BaseModel):
    ratio: float


@pytest.mark.parametrize(
    ("output", "model"),
    [
        ({"name": object()}, None),
        ({"name": Ref("a", "b")}, None),
        ({"ratio": math.nan}, Measured),
        ({1: 2}, None),
    ],
)
def test_an_output_that_json_does_not_have_fails_its_step(tmp_path, output, model):
    async def passes(attempt):
        return Passed(output=output)

    steps = (step("a", output=model),)
    journal = Journal.create(tmp_path / "journal.jsonl", Plan(name="a-plan", steps=steps))
    assert codes(carried_out(*steps, acts={"a": passes}, journal=journal)[0]) == {"a": "output"}


def test_a_backend_whose_texts_are_none_still_has_its_end_in_the_journal(tmp_path):
    async def strange(attempt):
        return Failed(code="broken", message=Path("/no/text"), tail=(b"bytes",))  # pyright: ignore[reportArgumentType] - that is the point

    steps = (step("a"),)
    path = tmp_path / "journal.jsonl"
    carried_out(*steps, acts={"a": strange}, journal=Journal.create(path, Plan(name="a-plan", steps=steps)))
    assert '"message":"/no/text"' in path.read_text()


def test_an_expansion_adds_steps_that_others_wait_for():
    async def passes(attempt):
        return Passed(output={"name": "image-1"})

    report, backend, recorder = carried_out(
        step("a", output=Image, expand=more_steps), step("b", "a/*"), acts={"a": passes, "a/y": takes(9.0)}
    )
    assert [result.id for result in report.results] == ["a", "b", "a/x", "a/y"]
    assert backend.ran == ["a", "a/x", "a/y", "b"]
    (added,) = recorder.of(Kind.STEPS_ADDED)
    assert [told["id"] for told in added.data["steps"]] == ["a/x", "a/y"]


def test_outputs_are_inputs_of_later_steps():
    heard = {}

    async def passes(attempt):
        return Passed(output={"name": "image-1"}, link="https://console.example/image-1")

    async def hears(attempt):
        heard.update(attempt.params)
        return Passed()

    report, _, _ = carried_out(
        step("a", output=Image),
        step("b", "a", params={"image": [Ref("a", "name")], "zone": "b"}),
        acts={"a": passes, "b": hears},
    )
    assert heard == {"image": ["image-1"], "zone": "b"}
    assert report.results[0].link == "https://console.example/image-1"


def test_a_reference_to_a_step_that_did_not_pass_fails_the_step_before_a_backend_has_it():
    report, backend, recorder = carried_out(
        step("a", output=Image),
        step("b", "a", rule=Rule.ALWAYS, params={"image": Ref("a", "name")}),
        step("c", "a", rule=Rule.ALWAYS, params={"image": Ref("a", "name", default=None)}),
        step("d", "b", rule=Rule.ON_FAILURE),
        acts={"a": fails},
    )
    assert states(report) == {"a": "failed", "b": "failed", "c": "passed", "d": "passed"}
    assert codes(report)["b"] == "missing-output"
    assert report.results[1].reason.cause == "a"
    assert backend.ran == ["a", "c", "d"]
    assert recorder.ways()["b"] == ["queued", "running", "failed"]


class Raising:
    """An observer that raises at its n-th event, or when it is closed."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.heard = 0

    async def on_event(self, event) -> None:
        self.heard += 1
        if self.heard == self.at:
            raise RuntimeError("an observer's own fault")

    async def close(self) -> None:
        if not self.at:
            raise RuntimeError("an observer's own fault")


@pytest.mark.parametrize("at", [0, 1, 3])
def test_an_observer_that_raises_is_in_the_report_and_hears_no_more(at):
    observer = Raising(at)
    report, _, _ = carried_out(step("a"), step("b", "a"), observers=[observer])
    assert report.verdict == "passed"
    method = "on_event" if at else "close"
    assert report.observer_faults == (f"Raising.{method} raised RuntimeError: an observer's own fault",)
    assert observer.heard == at or not at


class Hanging:
    async def on_event(self, event) -> None:
        await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        await asyncio.get_running_loop().create_future()


def test_an_observer_that_hangs_does_not_hold_up_the_run():
    report, _, recorder = carried_out(step("a"), observers=[Hanging()])
    assert recorder.of(Kind.RUN_ENDED)[0].elapsed_seconds == 0.0
    assert [fault.partition(" ")[0] for fault in report.observer_faults] == ["Hanging.on_event", "Hanging.close"]


@pytest.mark.parametrize("method", ["open", "write", "close"])
def test_a_log_that_raises_costs_the_log_and_not_the_step(method):
    class Sink:
        def open(self, step_id, attempt):
            self.at("open")
            return self

        def write(self, data):
            self.at("write")

        def close(self):
            self.at("close")

        def at(self, here):
            if here == method:
                raise OSError(28, "No space left on device")

    async def writes(attempt):
        attempt.write(b"one\n")
        attempt.write(b"two\n")
        return Passed()

    report, _, _ = carried_out(step("a"), acts={"a": writes}, logs=Sink())
    assert report.verdict == "passed"
    assert report.faults == ("log of a, try 1: OSError: [Errno 28] No space left on device",)


def test_a_backend_that_cannot_be_closed_is_in_the_report():
    class Unclosable(Acting):
        async def close(self):
            await asyncio.get_running_loop().create_future()

    report = on_clock(runs(Plan(name="p", steps=(step("a"),)), Unclosable(), kill_seconds=2.0))
    assert report.verdict == "passed"
    assert set(report.faults) == {f"closing backend {name} did not end within 2 s" for name in ("b", "scripted")}


def test_a_provider_that_raises_limits_nothing_but_is_in_the_report():
    class Quota:
        def units(self):
            raise ConnectionError("no quota today")

        def subscribe(self, changed):
            raise ConnectionError("no quota today")

    report, _, _ = carried_out(step("a", uses={"cpus": 96}), limits=Limits(resources={"cpus": Quota()}))
    assert report.verdict == "passed"
    assert "limit resources.cpus: its provider raised ConnectionError: no quota today" in report.faults


def test_a_faulty_plan_is_told_of_before_anything_begins():
    backend = Acting()
    with pytest.raises(GraphError) as error:
        on_clock(runs(Plan(name="p", steps=(step("a", "b"), step("b", "a"), step("c", "nobody"))), backend))
    assert len(error.value.faults) == 2
    assert set(backend.heard) == {("close",)}


def test_a_run_is_carried_out_once():
    async def main(clock):
        run = Run(Plan(name="p", steps=(step("a"),)), {"b": Acting()})
        await run.execute()
        with pytest.raises(RuntimeError, match="make another"):
            await run.execute()

    on_clock(main)


def test_a_plan_without_steps_passes():
    report, _, _ = carried_out()
    assert (report.verdict, report.results) == ("passed", ())


def test_a_busy_backend_is_asked_again_with_growing_pauses_and_takes_no_try():
    asked = []

    async def busy(attempt):
        asked.append((asyncio.get_running_loop().time(), attempt.number))
        return Busy(message="no room") if len(asked) < 40 else Passed()

    report, _, recorder = carried_out(step("a", retry=Retry(first_seconds=1.0, most_seconds=60.0)), acts={"a": busy})
    assert report.results[0].attempts == 1
    assert {number for _, number in asked} == {1}
    assert asked[-1][0] > 600, "it came again and again without a pause"
    assert report.results[0].retry_seconds == pytest.approx(asked[-1][0])
    assert recorder.ways()["a"] == ["queued", "running", "retry-wait"] * 39 + ["queued", "running", "passed"]


def test_a_busy_backend_says_itself_when_to_come_again():
    asked = []

    async def busy(attempt):
        asked.append(asyncio.get_running_loop().time())
        return Busy(message="no room", retry_after_seconds=300.0) if len(asked) < 2 else Passed()

    carried_out(step("a", retry=Retry(first_seconds=0.0)), acts={"a": busy})
    assert asked == [0.0, 300.0]


def test_a_busy_backend_holds_no_room_while_it_is_waited_for():
    report, backend, _ = carried_out(
        step("a", weight=9.0, retry=Retry(first_seconds=60.0)),
        step("b"),
        acts={"a": in_turn(BUSY, Passed()), "b": takes(5.0)},
        limits=Limits(total=1),
    )
    assert report.verdict == "passed"
    assert backend.ran == ["a", "b", "a"]


class Turns(Clock):
    """Counts how often the loop turns."""

    turns = 0

    def _process_events(self, event_list):
        self.turns += 1


def test_an_idle_engine_does_not_turn(monkeypatch):
    monkeypatch.setattr("engine_world.Clock", Turns)
    clocks = []
    acts = {"a": takes(86_400.0), "b": in_turn(BUSY, BUSY, Passed())}

    async def main(clock):
        clocks.append(clock)
        plan = Plan(name="p", steps=(step("a"), step("b", retry=Retry(first_seconds=30.0)), step("c", "a")))
        return await Run(plan, {"b": Acting(acts)}, limits=Limits(total=2), wall=clock.wall).execute()

    assert on_clock(main).verdict == "passed"
    assert clocks[0].time() >= 86_400.0
    assert clocks[0].turns < 60


def test_a_failure_is_tried_again_by_its_class():
    retry = Retry(tries={"unavailable": 3}, first_seconds=1.0)
    report, _, recorder = carried_out(
        step("a", retry=retry),
        step("b", retry=retry),
        step("c", retry=retry),
        acts={
            "a": in_turn(UNAVAILABLE, UNAVAILABLE, Passed()),
            "b": in_turn(UNAVAILABLE),
            "c": in_turn(Failed(code="http-403", message="no", error_class="permanent")),
        },
    )
    assert states(report) == {"a": "passed", "b": "failed", "c": "failed"}
    assert [result.attempts for result in report.results] == [3, 3, 1]
    assert codes(report) == {"b": "http-503", "c": "http-403"}
    assert recorder.ways()["a"].count("retry-wait") == 2


def test_the_longest_way_to_the_end_goes_first_and_then_the_order_of_submission():
    _, backend, _ = carried_out(
        step("job_10"),
        step("job_2"),
        step("long", weight=2.0),
        step("after", "job_2", weight=5.0),
        limits=Limits(total=1),
    )
    assert backend.ran == ["job_2", "after", "long", "job_10"]


def test_what_never_answers_is_bounded_by_its_try_and_its_step():
    report, backend, _ = carried_out(
        step("a", try_timeout_seconds=60.0, retry=Retry(tries={"timeout": 2}, first_seconds=0.0)),
        step("b", timeout_seconds=100.0, retry=Retry(tries={"timeout": 9})),
        acts={"a": for_ever, "b": for_ever},
    )
    assert states(report) == {"a": "timed-out", "b": "timed-out"}
    assert codes(report) == {"a": "try-timeout", "b": "step-timeout"}
    assert [result.attempts for result in report.results] == [2, 1]
    assert report.results[0].run_seconds == 2 * (60.0 + 5.0)
    assert backend.heard.count(("cancel", "a")) == 2
    assert "took longer than 60 s" in report.results[0].reason.message


def test_what_will_not_even_be_cancelled_is_left_behind():
    over = asyncio.Event()

    async def deaf(attempt):
        while not over.is_set():
            try:
                await asyncio.sleep(1e6)
            except asyncio.CancelledError:
                continue
        return Passed()

    def meddle(run, clock):
        clock.call_later(200.0, over.set)

    report, _, recorder = carried_out(
        step("a", try_timeout_seconds=10.0), step("b", "a", rule=Rule.ALWAYS), acts={"a": deaf}, meddle=meddle
    )
    over.set()
    assert states(report) == {"a": "timed-out", "b": "passed"}
    assert "did not end within 2 s of being cancelled; it may still run" in report.results[0].reason.message
    assert recorder.of(Kind.RUN_ENDED)[0].elapsed_seconds == 10.0 + 5.0 + 2.0


def test_a_step_may_time_out_in_the_queue():
    report, _, _ = carried_out(
        step("a", weight=9.0), step("b", timeout_seconds=5.0), acts={"a": takes(60.0)}, limits=Limits(total=1)
    )
    assert states(report) == {"a": "passed", "b": "timed-out"}
    assert report.results[1].attempts == 0
    assert report.results[1].ended_at - report.results[1].queued_at == 5.0


def test_a_step_that_passes_although_its_time_is_over_has_passed():
    report, _, _ = carried_out(step("a", try_timeout_seconds=1.0), acts={"a": takes(3.0)})
    assert states(report) == {"a": "passed"}
    assert report.results[0].reason is None


def test_a_run_that_takes_too_long_is_stopped():
    plan = Plan(name="p", steps=(step("a"), step("b", "a")), timeout_seconds=30.0)
    report, _, _ = carried_out(plan=plan, acts={"a": for_ever})
    assert (report.verdict, states(report)) == ("stopped", {"a": "killed", "b": "cancelled"})
    assert report.stopped == "it took longer than 30 s"


def test_what_a_backend_says_after_its_end_changes_nothing():
    late = []

    async def chatty(attempt):
        await attempt.attach("operation-1", "https://console.example/1")
        await attempt.attach("operation-1", "https://console.example/1")
        late.append(attempt)
        return Passed()

    async def later(attempt):
        late[0].progress("still here")
        late[0].write(b"still here")
        await late[0].attach("operation-2")
        return Passed()

    report, backend, recorder = carried_out(step("a"), step("b", "a"), acts={"a": chatty, "b": later})
    assert backend.ran == ["a", "b"]
    assert [event.data["external_id"] for event in recorder.of(Kind.ATTACHED)] == ["operation-1", "operation-1"]
    assert recorder.of(Kind.PROGRESS) == []
    assert report.results[0].link == "https://console.example/1"


def test_a_limit_can_be_changed_while_the_run_goes_on():
    def meddle(run, clock):
        with pytest.raises(RuntimeError, match="only while the run goes on"):
            run.set_limit("total", 2)
        clock.call_later(1.0, lambda: run.set_limit("total", 3))
        clock.call_later(2.0, misspelt, run)

    def misspelt(run):
        with pytest.raises(LimitError, match=r"there is no limit 'resources\.cpu'"):
            run.set_limit("resources.cpu", 3)

    report, _, recorder = carried_out(
        *(step(f"s{n}") for n in range(4)),
        acts={f"s{n}": takes(10.0) for n in range(4)},
        limits=Limits(total=1),
        meddle=meddle,
    )
    assert [result.started_at - report.started_at for result in report.results] == [0.0, 1.0, 1.0, 10.0]
    assert [event.data for event in recorder.of(Kind.LIMIT)] == [{"name": "total", "units": 3}]


def test_a_provider_wakes_the_run():
    class Quota:
        def __init__(self):
            self.there = 0
            self.subscribers = []

        def units(self):
            return self.there

        def subscribe(self, changed):
            self.subscribers.append(changed)
            return lambda: self.subscribers.remove(changed)

    quota = Quota()

    def grow():
        quota.there = 96
        quota.subscribers[0]()

    report, _, recorder = carried_out(
        step("a", uses={"cpus": 96}),
        limits=Limits(resources={"cpus": quota}),
        meddle=lambda run, clock: clock.call_later(77.0, grow),
    )
    assert report.results[0].wait_seconds == 77.0
    assert recorder.of(Kind.LIMIT)[0].data == {"name": "resources.cpus", "units": 96}
    assert quota.subscribers == []


def test_several_backends_serve_one_run():
    one, two = Acting(), Acting()

    async def main(clock):
        plan = Plan(name="p", steps=(step("a"), step("b", "a", backend="c")))
        return await Run(plan, {"b": one, "c": two}, limits=Limits(backends={"c": 1})).execute()

    assert on_clock(main).verdict == "passed"
    assert (one.ran, two.ran) == (["a"], ["b"])


def test_a_step_that_is_optional_does_not_fail_the_run():
    assert carried_out(step("a", optional=True), acts={"a": fails})[0].verdict == "passed"
    assert carried_out(step("a"), acts={"a": fails})[0].verdict == "failed"


def test_a_step_that_could_not_run_fails_the_run_though_what_held_it_up_was_optional():
    report, _, _ = carried_out(step("a", optional=True), step("b", "a"), acts={"a": fails})
    assert (report.verdict, states(report)["b"]) == ("failed", "skipped")


def test_a_way_back_that_was_not_needed_is_no_fault_nor_is_what_comes_after_it():
    report, _, _ = carried_out(step("a"), step("back", "a", rule=Rule.ON_FAILURE), step("told", "back"))
    assert states(report) == {"a": "passed", "back": "skipped", "told": "skipped"}
    assert report.verdict == "passed"


def test_the_report_is_json_as_it_stands():
    report, _, _ = carried_out(step("a"), step("b", "a"), acts={"a": fails})
    data = report.to_json()
    assert json.loads(json.dumps(data)) == data
    assert data["results"][1]["reason"]["cause"] == "a"
    assert data["verdict"] == "failed"


def test_a_chain_of_gates_that_refuse_is_no_recursion():
    first = step("s0")
    rest = [
        step(f"s{n}", f"s{n - 1}", rule=Rule.ALWAYS, gate=FailureBudget(most=0, of=("s0",))) for n in range(1, 2_000)
    ]
    report, backend, _ = carried_out(first, *rest, acts={"s0": fails})
    assert backend.ran == ["s0"]
    assert {result.state for result in report.results[1:]} == {"skipped"}
    assert {result.reason.code for result in report.results[1:]} == {"over-budget"}
