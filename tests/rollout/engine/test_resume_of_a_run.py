"""A run goes on after its process has died, wherever it died."""

# ruff: noqa: ARG001, ARG005 - backends, observers and callbacks take what they are called with
from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

import pytest
from engine_world import Acting, Clock, Recorder, Scripted, codes, for_ever, on_clock, states, step, takes, until_asked
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from sequential_model import contradictions, plans

from rollout.engine.backend import Failed, Passed
from rollout.engine.events import Kind
from rollout.engine.journal import Journal, JournalError
from rollout.engine.limits import Limits
from rollout.engine.run import Run
from rollout.engine.spec import Bake, Compensation, Plan, Retry, Rule, Step

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """What one run came to in a process that was left alone, and in those that killed themselves at every line."""
    folder = tmp_path_factory.mktemp("killed")
    environment = os.environ | {"PYTHONPATH": str(HERE.parent.parent.parent)}
    command = [sys.executable, HERE / "killed_runs.py", folder]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_run_killed_at_any_line_of_its_journal_ends_as_one_that_was_left_alone(killed):
    alone, *others = killed
    assert alone["statuses"] == [0]
    # The header is on the disk before there is a run; every line after it has its process.
    assert len(others) >= alone["lines"] - 1 > 35
    for lines, other in enumerate(others, start=1):
        assert other["statuses"] == [-signal.SIGKILL, 0], f"the process did not die at line {lines}"
        assert (lines, other["steps"]) == (lines, alone["steps"])
        assert (lines, other["verdict"], other["undone"]) == (lines, alone["verdict"], alone["undone"])


def test_what_was_begun_outside_is_waited_for_and_not_begun_again(killed):
    again = [other for other in killed[1:] if any(line.startswith("reattached") for line in other["world"])]
    assert again, "no process died between an attach and its step's end"
    for other in again:
        for line in (line for line in other["world"] if line.startswith("reattached")):
            name = {"remote": "far"}.get(line.split()[1], line[-1])
            assert other["world"].count(f"made {name}") == 1


def test_nothing_is_undone_twice_once_the_journal_says_that_it_was(killed):
    for other in killed:
        undone = [line for line in other["world"] if line.startswith("undone")]
        assert len(set(undone)) == 3
        assert len(undone) <= 6, "each at most once more, by the process that died before it could say so"


@pytest.fixture
def journal_path(tmp_path):
    folder = tmp_path / "some-run"
    folder.mkdir()
    return folder / "journal.jsonl"


def carried_out(plan, backend, path, *, lines=None, meddle=lambda run, clock: None, start=0.0, recorder=None, **fields):
    """A run with a journal, on a virtual clock. With `lines`, one that goes on after so many lines."""
    if lines is not None:
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:lines]))
    journal = Journal.open(path, plan) if path.exists() else Journal.create(path, plan)

    async def main(clock: Clock):
        run = Run(
            plan,
            {"b": backend, "scripted": backend},
            journal=journal,
            observers=[recorder] if recorder else [],
            wall=clock.wall,
            random=Random(0),
            grace_seconds=2.0,
            kill_seconds=1.0,
            **fields,
        )
        meddle(run, clock)
        return await run.execute()

    return on_clock(main, start=start)


def told(report):
    """What must not depend on where a run was cut."""
    return {
        result.id: (result.state, result.reason and result.reason.code, dict(result.output), result.attempts)
        for result in report.results
    }


@given(plans(most=7), st.integers(0, 2**32))
@settings(max_examples=40)
def test_a_random_run_cut_after_any_line_ends_the_same(plan, seed):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        path = Path(folder) / "journal.jsonl"
        whole = carried_out(plan, Scripted(seed=seed, by_number=True), path)
        data = path.read_bytes()
        backend = Scripted()
        for lines in range(1, len(data.splitlines()) + 1):
            path.write_bytes(data)
            backend = Scripted(seed=seed + lines, by_number=True)
            resumed = carried_out(plan, backend, path, lines=lines, start=100.0)
            assert told(resumed) == told(whole), f"cut after line {lines}"
            assert resumed.verdict == whole.verdict
        assert not backend.started, "a run that is over did something"


@given(plans(most=6, expanding=False), st.integers(0, 2**32), st.floats(0, 6), st.booleans())
@settings(max_examples=40)
def test_a_run_that_is_being_stopped_and_is_cut_after_any_line_comes_to_ends_that_can_be(plan, seed, at, one_step):
    cancelled = {plan.steps[seed % len(plan.steps)].id} if one_step else set()

    def disturb(run, clock):
        if cancelled:
            clock.call_later(at / 2, run.cancel, *cancelled, "a test")
        clock.call_later(at, run.stop, "a test")

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        path = Path(folder) / "journal.jsonl"
        carried_out(plan, Scripted(seed=seed, by_number=True), path, meddle=disturb)
        data = path.read_bytes()
        for lines in range(1, len(data.splitlines()) + 1):
            path.write_bytes(data)
            kept = [json.loads(line) for line in data.splitlines()[1:lines]]
            recorder = Recorder()
            resumed = carried_out(plan, Scripted(seed=seed + lines), path, lines=lines, start=100.0, recorder=recorder)
            ends = {result.id: result.state for result in resumed.results}
            assert recorder.faults() == []
            assert {line["step"]: ends[line["step"]] for line in kept if line["kind"] == "end"} == {
                line["step"]: line["state"] for line in kept if line["kind"] == "end"
            }
            stopped = any(line["kind"] == "stop" for line in kept)
            said = {line["step"] for line in kept if line["kind"] == "cancel"}
            assert contradictions(plan.steps, ends, {}, stopped=stopped, cancelled=said) == [], (
                f"cut after line {lines}"
            )


def test_a_run_cut_at_any_byte_of_its_last_line_goes_on(journal_path):
    plan = Plan(name="torn", steps=(step("a"), step("b", "a")))
    whole = carried_out(plan, Acting(), journal_path)
    data = journal_path.read_bytes()
    *first, last = data.splitlines(keepends=True)
    for cut in range(len(last)):
        journal_path.write_bytes(b"".join(first) + last[:cut])
        backend = Acting()
        assert told(carried_out(plan, backend, journal_path)) == told(whole)
        assert not backend.ran
        assert journal_path.read_bytes().startswith(b"".join(first))


def test_a_bake_time_goes_on_while_no_process_runs(journal_path):
    plan = Plan(name="bake", steps=(step("a", gate=Bake(seconds=3600.0)),))
    lines = len((b"plan", b"begin", b"gate"))
    assert carried_out(plan, Acting(), journal_path).results[0].started_at - 1_795_000_000 == 3600
    resumed = carried_out(plan, Acting(), journal_path, lines=lines, start=3000.0)
    assert resumed.results[0].started_at - 1_795_000_000 == 3600
    assert resumed.results[0].state == "passed"


def test_a_wait_between_tries_goes_on_while_no_process_runs(journal_path):
    plan = Plan(name="retry", steps=(step("a", retry=Retry(tries={"unavailable": 2}, first_seconds=0.0)),))
    failure = Failed(code="http-503", message="m", error_class="unavailable", retry_after_seconds=500.0)
    calls = []

    async def act(attempt):
        calls.append(attempt.number)
        return failure if attempt.number == 1 else Passed()

    carried_out(plan, Acting({"a": act}), journal_path)
    lines = [json.loads(line)["kind"] for line in journal_path.read_text().splitlines()].index("retry") + 1
    calls.clear()
    recorder = Recorder()
    carried_out(plan, Acting({"a": act}), journal_path, lines=lines, start=400.0, recorder=recorder)
    assert calls == [2]
    assert recorder.of(Kind.STATE)[0].elapsed_seconds == pytest.approx(100.0)
    assert recorder.events[0].data["steps"][0]["state"] == "retry-wait"


def test_a_steps_time_is_counted_over_all_processes(journal_path):
    plan = Plan(name="late", steps=(step("a", timeout_seconds=1000.0),))
    carried_out(plan, Acting(), journal_path)
    resumed = carried_out(plan, Acting({"a": until_asked}), journal_path, lines=3, start=900.0)
    assert codes(resumed) == {"a": "step-timeout"}
    assert resumed.results[0].ended_at - 1_795_000_000 == pytest.approx(1000.0)


def test_a_plan_that_is_another_one_is_refused_with_both_names(journal_path):
    carried_out(Plan(name="one", steps=(step("a"),)), Acting(), journal_path)
    with pytest.raises(JournalError, match=r"journal of another plan \(it has 'one', .*asked was 'two'"):
        Journal.open(journal_path, Plan(name="two", steps=(step("a"),)))


class Names(BaseModel):
    names: list[str]


NAMES = ["x"]


def by_mood(found: Names) -> list[Step]:
    return [step(f"a/{name}") for name in NAMES]


def test_an_expansion_that_is_no_pure_function_is_found_out(journal_path, monkeypatch):
    async def names(attempt):
        return Passed(output={"names": ["x"]})

    plan = Plan(name="moody", steps=(step("a", output=Names, expand=by_mood),))
    assert states(carried_out(plan, Acting({"a": names}), journal_path)) == {"a": "passed", "a/x": "passed"}
    monkeypatch.setattr(sys.modules[__name__], "NAMES", ["y"])
    with pytest.raises(JournalError, match="no pure function of the output"):
        carried_out(plan, Acting({"a": names}), journal_path)


def test_a_stop_is_gone_on_with_and_what_runs_outside_is_ended_there(journal_path):
    plan = Plan(
        name="stopped",
        steps=(
            step("outside", compensation=Compensation(backend="b")),
            step("inside"),
            step("later", "outside inside"),
            step("cleanup", "later outside", rule=Rule.ALWAYS),
        ),
    )

    async def attached(attempt):
        await attempt.attach("operation-1")
        return await takes(50.0)(attempt)

    def stop(run, clock):
        clock.call_later(10.0, run.stop, "an operator asked for it")

    first = Acting({"outside": attached, "inside": takes(50.0)})
    carried_out(plan, first, journal_path, meddle=stop)
    kinds = [json.loads(line)["kind"] for line in journal_path.read_text().splitlines()]
    backend = Acting({"outside again": takes(1.0, Failed(code="cancelled", message="was ended"))})
    resumed = carried_out(plan, backend, journal_path, lines=kinds.index("stop") + 1, start=20.0)
    assert states(resumed) == {"outside": "killed", "inside": "killed", "later": "cancelled", "cleanup": "passed"}
    assert resumed.verdict == "stopped"
    assert resumed.stopped == "an operator asked for it"
    assert ("reattach", "outside", "operation-1") in backend.heard
    assert ("cancel", "outside") in backend.heard
    assert ("run", "inside", 1) not in backend.heard
    assert [(undone.id, undone.outcome) for undone in resumed.compensations] == [("outside", "passed")]


def test_what_was_not_begun_when_the_run_was_stopped_is_not_begun_later(journal_path):
    plan = Plan(name="stopped", steps=(step("a", weight=9.0), step("b"), step("c", gate=Bake(seconds=60.0))))

    def stop(run, clock):
        clock.call_later(10.0, run.stop, "an operator asked for it")

    limits = Limits(total=1)
    carried_out(plan, Acting({"a": takes(50.0)}), journal_path, meddle=stop, limits=limits)
    kinds = [json.loads(line)["kind"] for line in journal_path.read_text().splitlines()]
    backend = Acting()
    resumed = carried_out(plan, backend, journal_path, lines=kinds.index("stop") + 1, start=20.0, limits=limits)
    assert states(resumed) == {"a": "killed", "b": "cancelled", "c": "cancelled"}
    assert backend.ran == []


def test_what_runs_outside_gets_room_before_what_is_begun_anew(journal_path):
    plan = Plan(name="room", steps=(step("urgent", weight=9.0), step("outside"), step("next", "urgent", weight=9.0)))

    async def attached(attempt):
        await attempt.attach("operation-1")
        return await takes(50.0)(attempt)

    carried_out(plan, Acting({"urgent": takes(60.0), "outside": attached}), journal_path)
    kinds = [json.loads(line)["kind"] for line in journal_path.read_text().splitlines()]
    backend = Acting({"outside again": takes(5.0)})
    lines = kinds.index("attach") + 1
    resumed = carried_out(plan, backend, journal_path, lines=lines, start=20.0, limits=Limits(total=1))
    assert resumed.verdict == "passed"
    assert [heard[:2] for heard in backend.heard[:2]] == [("reattach", "outside"), ("run", "urgent")]


def test_a_gate_that_was_passed_is_not_passed_again(journal_path):
    plan = Plan(name="gate", steps=(step("a", gate=Bake(seconds=600.0)),))
    carried_out(plan, Acting(), journal_path)
    kinds = [json.loads(line)["kind"] for line in journal_path.read_text().splitlines()]
    recorder = Recorder()
    carried_out(plan, Acting(), journal_path, lines=kinds.index("start") + 1, start=700.0, recorder=recorder)
    assert recorder.ways() == {"a": ["queued", "running", "passed"]}


def test_a_cancelled_step_stays_so(journal_path):
    plan = Plan(name="cancelled", steps=(step("a"), step("b", "a"), step("c")))
    carried_out(plan, Acting({"a": takes(5.0)}), journal_path, meddle=lambda run, clock: run.cancel("b", "not today"))
    kinds = [json.loads(line)["kind"] for line in journal_path.read_text().splitlines()]
    resumed = carried_out(plan, Acting(), journal_path, lines=kinds.index("cancel") + 1)
    assert states(resumed) == {"a": "passed", "b": "cancelled", "c": "passed"}
    assert codes(resumed) == {"b": "cancelled"}


@pytest.mark.parametrize("waits", ["queued", "retry-wait", "running"])
def test_a_cancelled_step_stays_so_whatever_it_waited_for(journal_path, waits):
    retry = Retry(tries={"unavailable": 2}, first_seconds=1e9, most_seconds=1e9)
    plan = Plan(name="cancelled", steps=(step("a", weight=9.0 if waits == "queued" else 1.0), step("b", retry=retry)))
    unavailable = Failed(code="http-503", message="m", error_class="unavailable", retry_after_seconds=100.0)
    acts = {"a": takes(50.0), "b": takes(0.0, unavailable) if waits == "retry-wait" else takes(9.0)}

    def cancel(run, clock):
        clock.call_later(1.0, run.cancel, "b", "not today")

    limits = Limits(total=1 if waits == "queued" else None)
    carried_out(plan, Acting(acts), journal_path, meddle=cancel, limits=limits)
    kinds = [json.loads(line)["kind"] for line in journal_path.read_text().splitlines()]
    backend = Acting()
    resumed = carried_out(plan, backend, journal_path, lines=kinds.index("cancel") + 1, limits=limits)
    assert states(resumed) == {"a": "passed", "b": "killed" if waits == "running" else "cancelled"}
    assert codes(resumed) == {"b": "cancelled"}
    assert backend.ran == ["a"]


def test_a_run_that_was_left_goes_on_with_what_it_left(journal_path):
    plan = Plan(name="left", steps=(step("a"), step("b", "a")))

    async def attached(attempt):
        await attempt.attach("operation-1")
        with contextlib.suppress(asyncio.CancelledError):
            await for_ever(attempt)
        return await for_ever(attempt)

    def leave(run, clock):
        for _ in range(3):
            clock.call_later(1.0, run.stop, "a hurry")

    left = carried_out(plan, Acting({"a": attached}), journal_path, meddle=leave)
    assert states(left) == {"a": "killed", "b": "cancelled"}
    backend = Acting()
    resumed = carried_out(plan, backend, journal_path, start=60.0)
    assert backend.heard[0] == ("reattach", "a", "operation-1")
    # It was being stopped when it was left, so what was waited for has its end, and nothing else is begun.
    assert states(resumed) == {"a": "passed", "b": "cancelled"}
