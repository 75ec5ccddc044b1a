"""Whether a VM's listener lives, freezes and has a worker, from real processes and from a /proc made up for it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from startup.lib import worker


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing, with one thread."""
    process = subprocess.Popen(["/bin/sleep", "60"])
    yield process
    process.kill()
    process.wait(10)


def listens(run_dir: Path, text: str) -> None:
    (run_dir / "listener").write_text(text)


def process(proc: Path, pid: int, *, name: str, parent: int, state: str = "S", threads: str = "") -> None:
    line = f"{pid} ({name}) {state} {parent} 1 1 0 -1 4194560 0 0\n"
    (proc / str(pid)).mkdir(parents=True)
    (proc / str(pid) / "stat").write_text(line)
    for number, letter in enumerate(threads):
        (proc / str(pid) / "task" / str(pid + number)).mkdir(parents=True)
        (proc / str(pid) / "task" / str(pid + number) / "stat").write_text(
            f"{pid + number} ({name}) {letter} {parent}\n"
        )


def test_a_listener_is_known_by_its_file_and_its_process(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    assert (worker.listener_pid(tmp_path), worker.listening_since(tmp_path)) == (None, None)
    listens(tmp_path, f"{sleeper.pid} 815\n")
    assert (worker.listener_pid(tmp_path), worker.listening_since(tmp_path)) == (sleeper.pid, 815)


def test_a_dead_listener_is_gone_before_anybody_has_noticed(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    listens(tmp_path, f"{sleeper.pid} 815\n")
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert worker.listener_pid(tmp_path) is None
    sleeper.wait(10)
    assert worker.listener_pid(tmp_path) is None


@pytest.mark.parametrize("text", ["", "12", "x 815", "12 y", "12 815 1", "\xff 815"])
def test_a_file_that_says_something_else_is_no_listener(tmp_path: Path, text: str) -> None:
    listens(tmp_path, text)
    assert (worker.listener_pid(tmp_path), worker.listening_since(tmp_path)) == (None, None)


def test_a_frozen_process_is_frozen_until_it_may_go_on(sleeper: subprocess.Popen[bytes]) -> None:
    assert not worker.frozen(sleeper.pid)
    for number, frozen in ((signal.SIGSTOP, True), (signal.SIGCONT, False)):
        sleeper.send_signal(number)
        until = time.monotonic() + 10
        while worker.frozen(sleeper.pid) is not frozen:
            assert time.monotonic() < until
    assert worker.process_state(sleeper.pid) not in (None, "T")


@pytest.mark.parametrize(
    ("threads", "frozen"),
    [("T", True), ("TT", True), ("TS", False), ("TD", False), ("TZ", True), ("Z", False), ("", False)],
)
def test_a_process_is_frozen_when_all_its_living_threads_are(tmp_path: Path, threads: str, *, frozen: bool) -> None:
    process(tmp_path, 100, name="Runner.Listener", parent=1, threads=threads)
    assert worker.frozen(100, tmp_path) is frozen


@pytest.mark.parametrize(
    ("name", "parent", "state", "runs", "child"),
    [
        ("Runner.Worker", 100, "S", True, True),
        ("Runner.Worker", 100, "T", True, True),
        ("Runner.Worker", 100, "Z", False, False),
        ("Runner.Worker", 7, "S", False, False),
        (".NET TP Worker", 100, "R", False, True),  # between fork and exec
        ("a) R 100 (b", 7, "S", False, False),
        ("Runner.Worker) S 100 (", 7, "S", False, False),
    ],
)
def test_a_worker_is_a_living_child_of_that_name(
    tmp_path: Path, name: str, parent: int, state: str, *, runs: bool, child: bool
) -> None:
    process(tmp_path, 100, name="Runner.Listener", parent=1)
    process(tmp_path, 200, name=name, parent=parent, state=state)
    assert (worker.worker_runs(100, tmp_path), worker.has_child(100, tmp_path)) == (runs, child)


def test_a_real_child_is_seen() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        assert worker.has_child(os.getpid())
        assert not worker.worker_runs(os.getpid())
        child.kill()


def test_processes_may_vanish_while_they_are_read(tmp_path: Path) -> None:
    process(tmp_path, 100, name="Runner.Listener", parent=1)
    (tmp_path / "200").mkdir()
    (tmp_path / "200/stat").symlink_to(tmp_path / "gone")
    process(tmp_path, 300, name="Runner.Worker", parent=100)
    (tmp_path / "400").mkdir()
    (tmp_path / "400/stat").write_text("")
    assert worker.worker_runs(100, tmp_path)
    assert worker.process_state(200, tmp_path) is None


def test_a_job_leaves_a_log_of_its_worker(tmp_path: Path) -> None:
    assert not worker.had_job(tmp_path)
    (tmp_path / "_diag").mkdir()
    (tmp_path / "_diag/Runner_20261122-103000-utc.log").touch()
    assert not worker.had_job(tmp_path)
    (tmp_path / "_diag/Worker_20261122-103000-utc.log").touch()
    assert worker.had_job(tmp_path)
