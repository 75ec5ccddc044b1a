"""A run is stopped in three stages, by a caller and by signals alike, and its reasons follow facts."""

# ruff: noqa: ARG001, ARG002, ARG005 - backends, observers and callbacks take what they are called with
from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
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
    for_ever,
    in_turn,
    on_clock,
    states,
    step,
    takes,
    until_asked,
)

from rollout.engine.backend import Passed
from rollout.engine.events import Kind
from rollout.engine.journal import Journal
from rollout.engine.limits import Limits
from rollout.engine.record import Record
from rollout.engine.run import Run
from rollout.engine.spec import Approval, Bake, Compensation, Plan, Retry, Rule
from rollout.engine.states import IllegalTransitionError

HERE = Path(__file__).parent
UNDO = Compensation(backend="b")


def stopped(*steps, at, acts=None, meddle=None, **fields):
    """The report of a run that is told to stop at these times."""
    backend, recorder = Acting(acts), Recorder()

    async def main(clock: Clock):
        run = Run(
            Plan(name="a-plan", steps=steps),
            {"b": backend},
            wall=clock.wall,
            observers=[recorder],
            grace_seconds=5.0,
            kill_seconds=2.0,
            random=Random(0),
            **fields,
        )
        for seconds in at:
            clock.call_later(seconds, run.stop, "an operator asked for it")
        if meddle:
            meddle(run, clock)
        return await run.execute()

    report = on_clock(main)
    assert recorder.faults() == []
    return report, backend, recorder


def test_a_first_stop_asks_what_runs_to_end_and_begins_nothing_more():
    report, backend, recorder = stopped(
        step("a"), step("b", "a"), step("c", gate=Bake(seconds=99.0)), at=[1.0], acts={"a": until_asked}
    )
    assert states(report) == {"a": "killed", "b": "cancelled", "c": "cancelled"}
    assert set(codes(report).values()) == {"stopped"}
    assert report.results[0].reason.message == "the run was stopped: an operator asked for it"
    assert (report.verdict, report.stopped) == ("stopped", "an operator asked for it")
    assert recorder.of(Kind.STOPPING)[0].data == {"stage": 1, "why": "an operator asked for it"}
    assert recorder.of(Kind.RUN_ENDED)[0].elapsed_seconds == 1.0
    assert ("cancel", "a") in backend.heard


def test_what_does_not_end_within_the_grace_is_made_to():
    report, _, recorder = stopped(step("a"), at=[1.0], acts={"a": for_ever})
    assert states(report) == {"a": "killed"}
    assert recorder.of(Kind.RUN_ENDED)[0].elapsed_seconds == 1.0 + 5.0


def test_a_step_that_passes_during_a_stop_has_passed_and_nobody_says_otherwise():
    report, _, _ = stopped(step("a"), step("b", "a"), at=[1.0], acts={"a": takes(3.0)})
    assert states(report) == {"a": "passed", "b": "cancelled"}
    assert report.results[0].reason is None
    assert report.results[1].reason.code == "stopped"
    assert report.results[1].reason.cause == ""


def test_a_run_all_of_whose_steps_pass_in_spite_of_a_stop_has_passed():
    assert stopped(step("a"), at=[1.0], acts={"a": takes(3.0)})[0].verdict == "passed"


def test_a_step_that_fails_of_itself_during_a_stop_keeps_its_own_reason_and_is_not_tried_again():
    report, _, _ = stopped(
        step("a", retry=Retry(tries={"unavailable": 9})),
        step("b"),
        at=[1.0],
        acts={"a": takes(3.0, UNAVAILABLE), "b": until_asked},
    )
    assert states(report) == {"a": "failed", "b": "killed"}
    assert codes(report)["a"] == "http-503"


def test_what_waits_for_its_next_try_or_for_room_is_cancelled():
    report, backend, _ = stopped(
        step("a", retry=Retry(tries={"unavailable": 9}, first_seconds=99.0, most_seconds=99.0)),
        step("b", retry=Retry(first_seconds=99.0, most_seconds=99.0)),
        step("c", weight=0.0),
        step("d"),
        at=[0.5],
        acts={"a": in_turn(UNAVAILABLE), "b": in_turn(BUSY), "d": until_asked},
        limits=Limits(total=1),
    )
    assert states(report) == {"a": "cancelled", "b": "cancelled", "c": "cancelled", "d": "killed"}
    assert [result.attempts for result in report.results] == [1, 0, 0, 1]
    assert "c" not in backend.ran


def test_a_backend_that_is_busy_with_a_stop_leaves_nothing_begun():
    async def busy_when_asked(attempt):
        await attempt.cancelled.wait()
        return BUSY

    report, _, _ = stopped(step("a", compensation=UNDO), at=[1.0], acts={"a": busy_when_asked})
    assert (states(report), report.results[0].attempts) == ({"a": "cancelled"}, 0)
    assert report.compensations == ()


def test_cleanup_runs_in_a_stop_where_something_began_and_is_not_asked_to_end():
    report, backend, _ = stopped(
        step("a"),
        step("b", "a"),
        step("cleanup", "b a", rule=Rule.ALWAYS),
        step("c", "b"),
        step("no-need", "c", rule=Rule.ALWAYS),
        step("back", "a", rule=Rule.ON_FAILURE),
        at=[1.0],
        acts={"a": until_asked, "cleanup": takes(60.0)},
    )
    expected = {"a": "killed", "b": "cancelled", "cleanup": "passed", "c": "cancelled"}
    assert states(report) == expected | {"no-need": "cancelled", "back": "cancelled"}
    assert ("cancel", "cleanup") not in backend.heard


def test_cleanup_that_runs_already_goes_on_in_a_first_stop_and_ends_in_a_second():
    steps = (step("a"), step("cleanup", "a", rule=Rule.ALWAYS))
    report, _, _ = stopped(*steps, at=[1.0], acts={"cleanup": takes(60.0)})
    assert states(report) == {"a": "passed", "cleanup": "passed"}
    report, _, recorder = stopped(*steps, at=[1.0, 2.0], acts={"cleanup": for_ever})
    assert states(report) == {"a": "passed", "cleanup": "killed"}
    assert recorder.of(Kind.RUN_ENDED)[0].elapsed_seconds == 2.0


def test_a_second_stop_ends_all_at_once_and_leaves_out_cleanup_and_undoing():
    report, backend, recorder = stopped(
        step("a", compensation=UNDO), step("cleanup", "a", rule=Rule.ALWAYS), at=[1.0, 1.5], acts={"a": for_ever}
    )
    assert states(report) == {"a": "killed", "cleanup": "cancelled"}
    assert [(undone.id, undone.outcome) for undone in report.compensations] == [("a", "left-out")]
    assert recorder.of(Kind.RUN_ENDED)[0].elapsed_seconds == 1.5
    assert backend.ran == ["a"]


def test_a_third_stop_waits_for_nobody():
    over = asyncio.Event()

    async def deaf(attempt):
        while not over.is_set():
            try:
                await asyncio.sleep(1e6)
            except asyncio.CancelledError:
                over.set()
                await asyncio.sleep(1e6)

    report, _, recorder = stopped(step("a"), step("b", "a"), at=[1.0, 1.5, 1.6], acts={"a": deaf})
    assert states(report) == {"a": "killed", "b": "cancelled"}
    assert "may still run" in report.results[0].reason.message
    assert [event.data["stage"] for event in recorder.of(Kind.STOPPING)] == [1, 2, 3]
    assert recorder.of(Kind.RUN_ENDED)[0].elapsed_seconds == pytest.approx(1.6)


def test_a_stop_before_the_run_begins_begins_nothing():
    report, backend, _ = stopped(step("a"), at=[], meddle=lambda run, clock: run.stop("never mind"))
    assert (states(report), report.verdict) == ({"a": "cancelled"}, "stopped")
    assert backend.ran == []


def test_a_stop_during_busy_pauses_is_heard_at_once():
    report, _, recorder = stopped(step("a", retry=Retry(first_seconds=0.0)), at=[1.0], acts={"a": busy_for_a_while})
    assert states(report) == {"a": "cancelled"}
    assert recorder.of(Kind.RUN_ENDED)[0].elapsed_seconds == pytest.approx(1.0, abs=0.2)


async def busy_for_a_while(attempt):
    await asyncio.sleep(0.1)
    return BUSY


def test_one_step_is_cancelled_with_what_needs_it_and_the_rest_goes_on():
    def meddle(run, clock):
        with pytest.raises(ValueError, match="there is no step 'nobody'"):
            run.cancel("nobody", "no reason")
        clock.call_later(1.0, run.cancel, "a", "not today")

    report, backend, _ = stopped(
        step("a"),
        step("b", "a"),
        step("c", "b"),
        step("cleanup", "c", rule=Rule.ALWAYS),
        step("d"),
        at=[],
        acts={"a": until_asked, "d": takes(9.0)},
        meddle=meddle,
    )
    assert states(report) == {"a": "killed", "b": "skipped", "c": "skipped", "cleanup": "passed", "d": "passed"}
    assert report.results[0].reason.code == "cancelled"
    assert report.results[0].reason.message == "not today"
    assert (report.verdict, report.stopped) == ("failed", "")
    assert ("cancel", "d") not in backend.heard


@pytest.mark.parametrize("state", ["scheduled", "blocked-on-gate", "queued", "retry-wait"])
def test_a_step_is_cancelled_whatever_it_waits_for(state):
    steps = {
        "scheduled": step("b", "a"),
        "blocked-on-gate": step("b", gate=Approval(question="now?")),
        "queued": step("b"),
        "retry-wait": step("b", weight=9.0, retry=Retry(tries={"unavailable": 2}, first_seconds=1e9, most_seconds=1e9)),
    }
    acts = {"a": takes(9.0), "b": in_turn(UNAVAILABLE)}
    report, _, recorder = stopped(
        step("a", weight=5.0),
        steps[state],
        at=[],
        acts=acts,
        limits=Limits(total=1),
        meddle=lambda run, clock: clock.call_later(1.0, run.cancel, "b", "not today"),
    )
    assert states(report) == {"a": "passed", "b": "cancelled"}
    assert recorder.ways()["b"][-2:] == ([state, "cancelled"] if state != "scheduled" else ["cancelled"])


def test_a_cancelled_task_is_a_stop_that_undoes_and_leaves_nothing_behind():
    backend = Acting({"a": until_asked})

    async def main(clock):
        steps = (step("a", compensation=UNDO), step("cleanup", "a", rule=Rule.ALWAYS))
        task = asyncio.create_task(
            Run(Plan(name="p", steps=steps), {"b": backend}, wall=clock.wall, grace_seconds=5.0).execute()
        )
        clock.call_later(1.0, task.cancel)
        await asyncio.wait({task})
        assert task.cancelled()
        return asyncio.all_tasks()

    assert len(on_clock(main)) == 1
    assert backend.heard == [("run", "a", 1), ("cancel", "a"), ("run", "cleanup", 1), ("run", "a", 0), ("close",)]


def test_a_cancelled_tasks_cleanup_has_the_grace_and_no_more():
    async def main(clock):
        steps = (step("a"), step("cleanup", "a", rule=Rule.ALWAYS))
        backend = Acting({"a": until_asked, "cleanup": for_ever})
        run = Run(Plan(name="p", steps=steps), {"b": backend}, wall=clock.wall, grace_seconds=5.0)
        task = asyncio.create_task(run.execute())
        clock.call_later(1.0, task.cancel)
        await asyncio.wait({task})
        return clock.time()

    assert on_clock(main) == 6.0


def test_a_timeout_around_a_run_is_one():
    async def main(clock):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3.0):
                await Run(Plan(name="p", steps=(step("a"),)), {"b": Acting({"a": until_asked})}).execute()
        return clock.time()

    assert on_clock(main) == 3.0


class Broken(Acting):
    """Raises whatever else is asked of it than to run."""

    async def reattach(self, attempt, external_id):
        raise OSError("reattach's own fault")

    async def cancel(self, attempt):
        raise OSError("cancel's own fault")

    async def close(self):
        raise OSError("close's own fault")


def test_a_backend_that_raises_when_it_is_asked_to_cancel_is_cancelled_after_the_grace():
    async def main(clock):
        run = Run(Plan(name="p", steps=(step("a"),)), {"b": Broken({"a": for_ever})}, grace_seconds=5.0)
        clock.call_later(1.0, run.stop, "enough")
        return await run.execute(), clock.time()

    report, ended = on_clock(main)
    assert (states(report), ended) == ({"a": "killed"}, 6.0)
    assert report.faults == (
        "cancelling a: the backend raised OSError: cancel's own fault",
        "closing backend b raised OSError: close's own fault",
    )


def test_a_backend_that_raises_when_it_is_asked_to_reattach_fails_that_step(tmp_path):
    plan = Plan(name="p", steps=(step("a"), step("b", "a")))
    path = tmp_path / "journal.jsonl"

    async def attaches(attempt):
        await attempt.attach("operation-1")
        return Passed()

    async def main(clock, backend, journal):
        return await Run(plan, {"b": backend}, journal=journal, wall=clock.wall).execute()

    on_clock(lambda clock: main(clock, Acting({"a": attaches}), Journal.create(path, plan)))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))
    report = on_clock(lambda clock: main(clock, Broken(), Journal.open(path, plan)))
    assert (states(report), codes(report)["a"]) == ({"a": "failed", "b": "skipped"}, "backend-bug")


def test_only_a_bug_of_the_engine_escapes_and_even_then_nothing_is_left_behind(monkeypatch):
    def forgets(record, new, now):
        if new == "passed":
            raise IllegalTransitionError(record.step.id)
        return change(record, new, now)

    change = Record.change
    monkeypatch.setattr(Record, "change", forgets)
    ended = []

    async def goes_on(attempt):
        try:
            return await for_ever(attempt)
        finally:
            ended.append(attempt.step_id)

    backend, recorder = Acting({"a": takes(1.0), "b": goes_on}), Recorder()

    async def main(clock):
        run = Run(Plan(name="p", steps=(step("a"), step("b"))), {"b": backend}, observers=[recorder])
        with pytest.raises(IllegalTransitionError):
            await run.execute()
        return asyncio.all_tasks()

    assert len(on_clock(main)) == 1
    assert (ended, recorder.closed, backend.heard[-1]) == (["b"], 1, ("close",))


# Real signals, to real processes.


class Program:
    """`signalled_run.py`, which says what it does."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        environment = os.environ | {"PYTHONPATH": str(HERE.parent.parent.parent)}
        command = [sys.executable, str(HERE / "signalled_run.py"), str(folder), *words]
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def says(self, line: str) -> None:
        assert self.process.stdout
        heard = self.process.stdout.readline().strip()
        assert heard == line, heard + self.process.communicate()[1]

    def gets(self, number: int) -> None:
        self.process.send_signal(number)

    def ends(self) -> int:
        out, err = self.process.communicate(timeout=60)
        assert err == "", out + err
        return self.process.returncode

    @property
    def report(self) -> dict:
        return json.loads((self.folder / "report.json").read_text(encoding="utf-8"))


@pytest.fixture
def program(tmp_path):
    started = []

    def start(*words: str) -> Program:
        started.append(Program(tmp_path, *words))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_graceful_stop(program, number):
    run = program("obeys")
    run.says("runs")
    run.gets(number)
    run.says("asked to end")
    run.says("cleans up")
    assert run.ends() == 3
    assert run.report["verdict"] == "stopped"
    assert run.report["stopped"] == f"{signal.Signals(number).name} was received"
    assert {step["id"]: step["state"] for step in run.report["results"]} == {"work": "killed", "cleanup": "passed"}


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGTERM)])
def test_a_second_signal_of_either_kind_kills_what_runs(program, numbers):
    run = program("stubborn")
    run.says("runs")
    run.gets(numbers[0])
    run.says("asked to end")
    run.gets(numbers[1])
    run.says("made to end")
    assert run.ends() == 3
    assert {step["id"]: step["state"] for step in run.report["results"]} == {"work": "killed", "cleanup": "cancelled"}


@pytest.mark.parametrize("last", [signal.SIGINT, signal.SIGTERM])
def test_a_third_signal_ends_the_process_at_once_even_if_its_loop_is_blocked(program, last):
    run = program("blocks")
    run.says("runs")
    run.gets(signal.SIGTERM)
    run.says("asked to end")
    run.gets(signal.SIGINT)
    run.says("blocks the loop")
    run.gets(last)
    assert run.ends() == 128 + last
    assert not (run.folder / "report.json").exists()


def test_the_handlers_of_before_come_back(program):
    run = program("passes")
    run.says("handlers are back")
    assert run.ends() == 0
    assert run.report["verdict"] == "passed"
