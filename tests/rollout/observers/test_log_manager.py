"""Logs, events and links on disk: complete where there is room, honest where there is none, never the run's problem."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import stat
import subprocess
import sys
import threading

import pytest

from rollout.engine.events import Kind
from rollout.engine.logs import UNDO
from rollout.engine.states import State
from rollout.observers import log_writer
from rollout.observers.log_manager import LogError, LogManager
from rollout.observers.log_writer import LogLimits
from rollout.observers.masking import Secrets
from rollout.observers.run_folder import RunFolder
from tests.rollout.observers.recorded_run import Recorder, finished_canary


@pytest.fixture
def folder(tmp_path):
    with RunFolder.create(tmp_path / "runs", "run") as made:
        yield made


def managed(folder, play, **more) -> LogManager:
    """Runs `play` with a manager, and closes it."""

    async def run():
        manager = LogManager(folder, **more)
        await play(manager)
        await manager.close()
        return manager

    return asyncio.run(run())


def write(manager, step, attempt, *pieces: bytes) -> None:
    log = manager.open(step, attempt)
    for piece in pieces:
        log.write(piece)
    log.close()


async def tell(manager, run: Recorder) -> None:
    for event in run.events:
        await manager.on_event(event)


def tree(folder, below: str) -> list[str]:
    found = sorted((folder.path / below).rglob("*"))
    return [str(path.relative_to(folder.path / below)) for path in found if path.is_symlink() or path.is_file()]


def test_each_try_has_a_raw_log_and_so_has_the_undoing(folder):
    async def play(manager):
        write(manager, "west/cpu:update", 1, b"one\n", b"\xff\x00two")
        write(manager, "west/cpu:update", 2, b"three")
        write(manager, "west/cpu:update", UNDO, b"back")

    managed(folder, play)
    step = folder.step("west/cpu:update")
    assert {path.name: path.read_bytes() for path in step.iterdir()} == {
        "1.log": b"one\n\xff\x00two",
        "2.log": b"three",
        "undo.log": b"back",
    }


def test_a_log_that_is_opened_again_goes_on_and_its_cap_with_it(folder):
    async def play(manager):
        write(manager, "a", 1, b"12345")
        write(manager, "a", 1, b"67890")

    managed(folder, play, limits=LogLimits(log_bytes=8, tail_bytes=1))
    assert (folder.step("a") / "1.log").read_bytes() == (b"12345678\n[1 bytes are left out here: a log may have 8]\n0")


def test_a_log_keeps_its_beginning_and_its_end_and_counts_what_is_between(folder):
    async def play(manager):
        write(manager, "a", 1, *(b"%06d\n" % i for i in range(1_000)))

    managed(folder, play, limits=LogLimits(log_bytes=21, tail_bytes=14))
    assert (folder.step("a") / "1.log").read_bytes() == (
        b"000000\n000001\n000002\n\n[6,965 bytes are left out here: a log may have 21]\n000998\n000999\n"
    )


def test_a_log_that_just_fits_is_left_alone(folder):
    async def play(manager):
        write(manager, "a", 1, b"x" * 10, b"y" * 14)

    managed(folder, play, limits=LogLimits(log_bytes=10, tail_bytes=14))
    assert (folder.step("a") / "1.log").read_bytes() == b"x" * 10 + b"y" * 14


def test_a_secret_is_in_no_file_however_it_is_cut(folder):
    async def play(manager):
        write(manager, "a", 1, b"token: hunt", b"er22!\nhunter", b"22")
        run = Recorder()
        run.begin([{"id": "a"}])
        run.run(0, 1, "a", State.FAILED, "exit-1", "said hunter22", tail=["hunter22"], link="https://x/?hunter22")
        await tell(manager, run)

    managed(folder, play, secrets=Secrets(["hunter22"]))
    files = [path for path in folder.path.rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not [path for path in files if b"hunter22" in path.read_bytes()]
    assert (folder.step("a") / "1.log").read_bytes() == b"token: ***!\n***"


def test_events_are_json_lines_without_a_gap_with_both_clocks(folder):
    run = finished_canary()

    async def play(manager):
        await tell(manager, run)

    managed(folder, play)
    lines = [json.loads(line) for line in folder.events.read_text(encoding="utf-8").splitlines()]
    assert [line["number"] for line in lines] == list(range(1, len(run.events) + 1))
    failed = next(line for line in lines if line.get("new") == "failed")
    assert failed["time"] == "2026-11-25T12:01:30.500Z"
    assert failed["at"] - 1_795_608_000 == failed["elapsed_seconds"] == 90.5
    assert failed["reason"] == {"code": "quota", "message": "CPUS in us-east1: 96 asked for, 0 left"}
    assert failed["kind"] == "state"


def test_links_say_where_steps_stand_and_move_with_them(folder):
    async def play(manager):
        run = finished_canary()
        write(manager, "west/update", 1, b"output")
        await tell(manager, run)

    managed(folder, play)
    assert tree(folder, "by-state") == ["failed/east%2Fupdate", "passed/west%2Fupdate"]
    link = folder.by_state("passed") / "west%2Fupdate"
    assert not link.readlink().is_absolute()
    assert (link / "1.log").read_bytes() == b"output"


def test_a_step_that_runs_is_linked_once_it_has_said_something(folder, monkeypatch):
    heard = threading.Event()
    append = log_writer._append

    def noted(path, data):
        append(path, data)
        if b'"new":"running"' in data:
            heard.set()

    monkeypatch.setattr(log_writer, "_append", noted)

    async def play(manager):
        run = Recorder()
        run.begin([{"id": "a"}])
        run.state(0, "a", State.QUEUED)
        run.state(0, "a", State.RUNNING, attempt=1)
        await tell(manager, run)
        assert heard.wait(60), "only now is there output, for which the writer comes again"
        write(manager, "a", 1, b"output")

    managed(folder, play)
    assert tree(folder, "by-state") == ["running/a"]


def test_a_resumed_run_moves_the_links_that_the_process_before_it_left(folder):
    run = Recorder()

    async def first(manager):
        run.begin([{"id": "a"}])
        run.state(0, "a", State.QUEUED)
        run.state(0, "a", State.RUNNING, attempt=1)
        write(manager, "a", 1, b"output")
        await tell(manager, run)

    async def second(manager):
        await manager.on_event(run.state(5, "a", State.PASSED, attempt=1))

    managed(folder, first)
    assert tree(folder, "by-state") == ["running/a"]
    managed(folder, second)
    assert tree(folder, "by-state") == ["passed/a"]
    assert folder.events.read_text().count("\n") == 4


def test_a_step_that_ended_badly_says_why_beside_its_logs(folder):
    async def play(manager):
        await tell(manager, finished_canary())

    managed(folder, play)
    assert (folder.step("east/update") / "why.txt").read_text() == (
        "east/update: failed at 2026-11-25T12:01:30.500Z, 1m30s after the beginning\n"
        "quota: CPUS in us-east1: 96 asked for, 0 left\n"
        "https://console.cloud.google.com/quotas\n"
        "\n"
        "limit: 960\nusage: 960\n::error::no command\n"
    )


def test_all_files_are_the_owners_alone_whatever_the_umask(folder):
    async def play(manager):
        write(manager, "a", 1, b"output")
        await tell(manager, finished_canary())

    before = os.umask(0)
    try:
        managed(folder, play)
    finally:
        os.umask(before)
    for path in [folder.path, *folder.path.rglob("*")]:
        if not path.is_symlink():
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_disk_that_stands_still_costs_log_output_and_no_time_of_the_loops(folder, monkeypatch):
    """The writes wait for the test's word, which comes only after the loop has done all it wanted to."""
    go = threading.Event()
    append = log_writer._append

    def slow(path, data):
        go.wait(60)
        append(path, data)

    monkeypatch.setattr(log_writer, "_append", slow)

    async def play(manager):
        log = manager.open("a", 1)
        for _ in range(1_000):
            log.write(b"x" * 1_000)
        await tell(manager, finished_canary())
        log.close()
        assert not go.is_set(), "the loop waited for nothing"
        go.set()

    managed(folder, play, limits=LogLimits(buffer_bytes=100_000))
    text = (folder.step("a") / "1.log").read_bytes()
    kept = text.count(b"x")
    assert 90_000 < kept <= 200_000, "the buffer, and what the thread had taken before"
    assert text.endswith(b"\n[%s bytes are missing: the disk did not take them]\n" % f"{1_000_000 - kept:,}".encode())
    lines = [json.loads(line) for line in folder.events.read_text().splitlines()]
    assert len(lines) == len(finished_canary().events), "events have room of their own"


@pytest.mark.parametrize("room_events", [1, 40])
def test_events_beyond_all_room_are_counted_in_their_place(folder, monkeypatch, room_events):
    begun, go = threading.Event(), threading.Event()
    append = log_writer._append

    def slow(path, data):
        begun.set()
        go.wait(60)
        append(path, data)

    monkeypatch.setattr(log_writer, "_append", slow)

    async def play(manager):
        run = Recorder()
        run.begin([{"id": "a"}])
        for second in range(1, 200):
            run.add(second, Kind.PROGRESS, step="a", data={"text": "t"})
        await manager.on_event(run.events[0])
        assert begun.wait(60)
        for event in run.events[1:]:
            await manager.on_event(event)
        go.set()

    managed(folder, play, limits=LogLimits(buffer_bytes=room_events * log_writer.EVENT_BYTES // 2))
    lines = [json.loads(line) for line in folder.events.read_text().splitlines()]
    assert [line.get("number") for line in lines] == [*range(1, room_events + 1), None]
    assert lines[-1] == {"kind": "missed", "data": {"count": 200 - room_events}}


FULL = """
import asyncio, resource, sys
from pathlib import Path
from rollout.observers.log_manager import LogError, LogManager
from rollout.observers.run_folder import RunFolder
from tests.rollout.observers.recorded_run import finished_canary

async def write(folder, text):
    manager = LogManager(folder)
    log = manager.open("a", 1)
    log.write(text)
    for event in finished_canary().events:
        await manager.on_event(event)
    log.close()
    await manager.close()

async def play():
    with RunFolder.create(Path(sys.argv[1]), "run") as folder:
        await write(folder, b"y" * 100)
        resource.setrlimit(resource.RLIMIT_FSIZE, (folder.events.stat().st_size + 10, resource.RLIM_INFINITY))
        try:
            await write(folder, b"z" * 1_000_000)
        except LogError as error:
            print(error)

asyncio.run(play())
print("the run went on")
"""


def test_a_full_disk_is_said_at_the_end_and_kills_nothing(root, tmp_path):
    """No file may grow by more than 10 bytes there, which is what a full disk is to who writes."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    fault, went_on = done.stdout.splitlines()
    assert went_on == "the run went on"
    assert "events could not be written: File too large" in fault
    assert "a log could not be written: File too large" in fault
    events = (tmp_path / "run/events.jsonl").read_text()
    assert events.endswith("}\n"), "what is there is whole lines"
    assert [json.loads(line)["number"] for line in events.splitlines()] == list(
        range(1, len(finished_canary().events) + 1)
    )


def test_one_line_that_cannot_be_written_does_not_stop_the_writer(folder):
    asked = threading.Event()

    class Rude:
        def __str__(self) -> str:
            asked.set()
            raise RuntimeError("rude")

    async def run():
        manager = LogManager(folder)
        await manager.on_event(Recorder().add(0, Kind.PROGRESS, step="a", data={"text": Rude()}))
        assert asked.wait(60)
        write(manager, "a", 1, b"still here")
        with pytest.raises(LogError, match="events could not be written: RuntimeError: rude"):
            await manager.close()

    asyncio.run(run())
    assert (folder.step("a") / "1.log").read_bytes() == b"still here"


def test_a_log_that_is_closed_twice_or_written_to_afterwards_stays_as_it_is(folder):
    async def play(manager):
        log = manager.open("a", 1)
        log.write(b"all")
        log.close()
        log.close()
        log.write(b"late")

    managed(folder, play)
    assert (folder.step("a") / "1.log").read_bytes() == b"all"
