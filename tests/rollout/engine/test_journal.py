"""The journal: what is in it is durable, whole, for one process and for its owner only."""

# ruff: noqa: ARG001 - backends, observers and callbacks take what they are called with
from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from engine_world import Acting, Recorder, on_clock, runs, states, step, takes

from rollout.engine import journal as module
from rollout.engine.journal import Journal, JournalError, parse
from rollout.engine.spec import Compensation, Plan, Rule

ROOT = Path(__file__).parent.parent.parent.parent
PLAN = Plan(name="a-plan", steps=(step("a"), step("b", "a")))


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "run-1"
    folder.mkdir()
    return folder / "journal.jsonl"


@pytest.fixture
def journal(path):
    made = Journal.create(path, PLAN)
    yield made
    made.close()


def kinds(path):
    return [json.loads(line)["kind"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_run_is_named_by_its_folder_unless_it_has_a_name(journal, path, tmp_path):
    assert journal.run_id == "run-1"
    other = Journal.create(tmp_path / "j", PLAN, run_id="run-2")
    other.close()
    again = Journal.open(tmp_path / "j", PLAN)
    assert again.run_id == "run-2"
    again.close()


def test_only_its_owner_may_read_it(journal, path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_appended_is_on_the_disk_once_commit_returns(journal, path):
    async def main():
        journal.append("start", step="a")
        assert kinds(path) == ["plan"]
        await journal.commit()
        assert kinds(path) == ["plan", "start"]

    asyncio.run(main())


def test_what_comes_during_a_sync_shares_the_next_one(journal, path, monkeypatch):
    syncs = []
    sync = os.fsync

    def counted(descriptor):
        syncs.append(len(kinds(path)))
        sync(descriptor)

    monkeypatch.setattr(module.os, "fsync", counted)

    async def main():
        async def one(n):
            journal.append("start", step=n)
            await journal.commit()
            assert len(kinds(path)) > n, "it came back before its line was there"

        await asyncio.gather(*(one(n) for n in range(100)))
        await journal.commit()

    asyncio.run(main())
    assert len(kinds(path)) == 101
    assert len(syncs) == 2, "the first for what was there, one for all that came meanwhile"


def test_a_waiter_that_is_cancelled_takes_no_sync_with_it(journal, path):
    async def main():
        journal.append("start", step="a")
        waiter = asyncio.create_task(journal.commit())
        await asyncio.sleep(0)
        waiter.cancel()
        await journal.commit()

    asyncio.run(main())
    assert kinds(path) == ["plan", "start"]


def test_closing_writes_what_is_left(journal, path):
    journal.append("start", step="a")
    journal.close()
    journal.close()
    assert kinds(path) == ["plan", "start"]


def test_there_is_one_journal_in_a_place(journal, path):
    with pytest.raises(JournalError, match="there is a journal already; resume that run"):
        Journal.create(path, PLAN)


def test_a_second_process_is_refused_while_the_first_runs(journal, path):
    program = """
import sys
from pathlib import Path
from rollout.engine.journal import Journal, JournalError
from rollout.engine.spec import Plan, Step
plan = Plan(name="a-plan", steps=(Step(id="a", backend="b"), Step(id="b", backend="b", needs=("a",))))
try:
    Journal.open(Path(sys.argv[1]), plan).close()
    print("opened")
except JournalError as error:
    print(error)
"""

    def second():
        command = [sys.executable, "-c", program, str(path)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    assert second() == f"{path}: another process runs this run; wait for it, or stop it, and resume then"
    journal.close()
    assert second() == "opened"


def test_a_journal_that_is_not_there_is_told_of(path):
    with pytest.raises(JournalError, match="the journal cannot be opened: No such file"):
        Journal.open(path, PLAN)


def test_a_place_that_cannot_be_written_is_told_of(tmp_path):
    with pytest.raises(JournalError, match="no journal can be made: No such file"):
        Journal.create(tmp_path / "nowhere" / "journal.jsonl", PLAN)


def test_another_format_is_refused(journal, path):
    journal.close()
    path.write_text(path.read_text().replace('"format":1', '"format":2'))
    with pytest.raises(JournalError, match="format 2 is not 1; resume with the release that began it"):
        Journal.open(path, PLAN)


def test_a_torn_end_is_left_out_wherever_it_is_torn(path):
    whole = b'{"kind":"plan"}\n{"kind":"end","step":"\xc3\xa4"}\n'
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole)):
        assert parse(whole[:cut], path) == ([{"kind": "plan"}], first)
    assert parse(whole, path)[1] == len(whole)


@pytest.mark.parametrize("torn", [b'{"kind":"st\n', b"\0\0\0\0\n", b"7\n", b"\xff\n\0\n"])
def test_an_unreadable_end_is_left_out_though_it_is_a_line(path, torn):
    assert parse(b'{"kind":"plan"}\n' + torn, path) == ([{"kind": "plan"}], 16)


def test_damage_in_the_middle_is_refused(path):
    with pytest.raises(JournalError, match="line 2 is damaged, and others follow it"):
        parse(b'{"kind":"plan"}\nxx\n{"kind":"end"}\n', path)


def test_a_run_that_died_before_it_began_is_begun_anew(path):
    path.write_bytes(b'{"kind":"pl')
    with pytest.raises(JournalError, match="begin it anew"):
        Journal.open(path, PLAN)


class FullDisk:
    """Takes so many syncs, and refuses then."""

    def __init__(self, syncs: int) -> None:
        self.left = syncs

    def __call__(self, descriptor: int, data: bytes) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(28, "No space left on device")
        os.write(descriptor, data)


@pytest.mark.parametrize("syncs", range(4))
def test_a_full_disk_stops_the_run_gracefully(journal, monkeypatch, syncs):
    plan = Plan(
        name="a-plan",
        steps=(
            step("a", compensation=Compensation(backend="b")),
            step("b", "a"),
            step("c", "b"),
            step("cleanup", "c", rule=Rule.ALWAYS),
        ),
    )
    monkeypatch.setattr(module, "_write", FullDisk(syncs))
    recorder = Recorder()
    report = on_clock(runs(plan, Acting({"a": takes(1.0), "b": takes(1.0)}), journal=journal, observers=[recorder]))
    assert recorder.faults() == []
    assert len(report.faults) == 1
    assert "cannot be written any more (No space left on device); make room and resume the run" in report.faults[0]
    assert report.verdict == "stopped"
    assert "cancelled" in states(report).values()


def test_a_dependent_starts_only_when_its_causes_end_is_durable(journal, path, monkeypatch):
    synced = b""

    def write(descriptor, data):
        nonlocal synced
        synced += data
        os.write(descriptor, data)

    monkeypatch.setattr(module, "_write", write)

    async def looks(attempt):
        for cause in {"b": ["a"], "c": ["b"]}[attempt.step_id]:
            assert f'"step":"{cause}","state":"passed"'.encode() in synced
        return await takes(0.5)(attempt)

    plan = Plan(name="a-plan", steps=(step("a"), step("b", "a"), step("c", "b")))
    report = on_clock(runs(plan, Acting({"b": looks, "c": looks}), journal=journal))
    assert states(report) == {"a": "passed", "b": "passed", "c": "passed"}


def test_a_step_that_may_have_to_be_undone_is_durable_before_it_starts(journal, monkeypatch):
    synced = b""

    def write(descriptor, data):
        nonlocal synced
        synced += data

    monkeypatch.setattr(module, "_write", write)
    seen = {}

    async def looks(attempt):
        seen[attempt.step_id] = f'"start","step":"{attempt.step_id}"'.encode() in synced
        return await takes(0.0)(attempt)

    plan = Plan(name="a-plan", steps=(step("a", compensation=Compensation(backend="b")), step("b")))
    on_clock(runs(plan, Acting({"a": looks, "b": looks}), journal=journal))
    assert seen["a"]


def test_an_attach_is_durable_when_it_returns(journal, monkeypatch):
    synced = b""

    def write(descriptor, data):
        nonlocal synced
        synced += data

    monkeypatch.setattr(module, "_write", write)
    seen = []

    async def attaches(attempt):
        await attempt.attach("operation-1")
        seen.append(b'"id":"operation-1"' in synced)
        return await takes(0.0)(attempt)

    on_clock(runs(Plan(name="a-plan", steps=(step("a"),)), Acting({"a": attaches}), journal=journal))
    assert seen == [True]
