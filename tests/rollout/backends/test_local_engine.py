"""A whole engine with real commands, in a process of its own, that gets real signals and leaves nobody behind."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.rollout.backends.attempts import living

ENGINE = """
import asyncio, fcntl, json, os, sys, termios
from rollout.backends.fake import Act, Fake
from rollout.backends.local import LocalProcesses
from rollout.engine.events import Kind
from rollout.engine.run import Run, stop_on_signals
from rollout.engine.spec import Plan, Step

class Stages:
    async def on_event(self, event):
        if event.kind is Kind.STOPPING:
            print("stage", int(event.data["stage"]), flush=True)
    async def close(self): ...

async def main(asked):
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    steps = [Step(id=f"s{n}", backend="local", params=params) for n, params in enumerate(asked["commands"])]
    steps += [Step(id="after", backend="local", needs=("s0",), params={"argv": ["touch", "after"]})]
    backends = {"local": LocalProcesses(), "deaf": Fake({"*": Act(hangs=True, swallows=99)})}
    if asked["deaf"]:
        steps.append(Step(id="deaf", backend="deaf"))
    run = Run(Plan(name="plan", steps=tuple(steps)), backends, observers=[Stages()],
              grace_seconds=asked["grace_seconds"], kill_seconds=asked["kill_seconds"])
    with stop_on_signals(run):
        report = await run.execute()
    print(json.dumps([report.verdict, {r.id: str(r.state) for r in report.results}]), flush=True)

asyncio.run(main(json.loads(sys.argv[1])))
"""

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
if os.fork() == 0 and os.fork() == 0:
    os.setsid()
open("ran", "a").write("x")
open("ready", "w").write("ready\\n")
time.sleep(1000)
"""
"""Three processes, the last an orphan in a session of its own, all of them deaf."""


class Engine:
    """The process, and what it says."""

    def __init__(self, process: subprocess.Popen[str], cwd: Path) -> None:
        self.process = process
        self._cwd = cwd

    def ready(self, processes: int) -> None:
        """Wait until so many have said so."""
        left = processes
        while left:
            with (self._cwd / "ready").open() as lines:  # blocks until somebody writes
                left -= len(lines.readlines())

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def signal(self, number: signal.Signals, stage: int) -> None:
        """Send it, and see it answered."""
        self.process.send_signal(number)
        assert self.line() == f"stage {stage}"

    def report(self) -> Any:
        return json.loads(self.line())

    def over(self, *, ran: int) -> int:
        """Its exit code; nobody is left, and all bodies ran."""
        code = self.process.wait(60)
        assert living(self._cwd) == []
        assert (self._cwd / "ran").read_text() == "x" * ran
        return code


@contextmanager
def engine(
    cwd: Path, root: Path, *commands: str, grace_seconds: float = 3000, deaf: bool = False, **terminal: Any
) -> Iterator[Engine]:
    os.mkfifo(cwd / "ready")
    argv = [[sys.executable, "-ISc", command] for command in commands]
    asked = {
        "commands": [{"argv": line, "cwd": str(cwd), "grace_seconds": grace_seconds} for line in argv],
        "grace_seconds": grace_seconds,
        "kill_seconds": 3000,
        "deaf": deaf,
    }
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen(
        [sys.executable, "-c", ENGINE, json.dumps(asked)],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        **terminal,
    )
    try:
        yield Engine(process, cwd)
    finally:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
        for pid in living(cwd):
            os.kill(pid, signal.SIGKILL)


WELL = """
import os, signal, sys, time
def told(*_):
    open("told", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, told)
signal.signal(signal.SIGINT, lambda *_: open("interrupted", "w").close())
open("ran", "a").write("x")
open("ready", "w").write("ready\\n")
while True:
    time.sleep(1000)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_first_signal_lets_commands_end_well_and_starts_no_more(tmp_path, root, number):
    with engine(tmp_path, root, WELL) as it:
        it.ready(1)
        it.signal(number, 1)
        verdict, states = it.report()
        assert it.over(ran=1) == 0
    assert (verdict, states) == ("stopped", {"s0": "passed", "after": "cancelled"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ran", "ready", "told"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_first_signal_ends_the_deaf_after_their_grace(tmp_path, root, number):
    with engine(tmp_path, root, STUBBORN, grace_seconds=0.3) as it:
        it.ready(3)
        it.signal(number, 1)
        verdict, states = it.report()
        assert it.over(ran=3) == 0
    assert (verdict, states) == ("stopped", {"s0": "killed", "after": "cancelled"})


@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)],
)
def test_a_second_signal_kills_at_once_whichever_it_is(tmp_path, root, first, second):
    with engine(tmp_path, root, STUBBORN, STUBBORN) as it:
        it.ready(6)
        it.signal(first, 1)
        it.signal(second, 2)
        verdict, states = it.report()
        assert it.over(ran=6) == 0
    assert (verdict, states) == ("stopped", {"s0": "killed", "s1": "killed", "after": "cancelled"})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_third_signal_ends_the_engine_whatever_it_waits_for(tmp_path, root, number):
    with engine(tmp_path, root, STUBBORN, deaf=True) as it:
        it.ready(3)
        it.signal(number, 1)
        it.signal(number, 2)
        it.process.send_signal(number)
        assert it.over(ran=3) == 128 + number


def test_ctrl_c_at_a_terminal_reaches_the_engine_alone(tmp_path, root):
    """The terminal sends SIGINT to its whole foreground process group, and commands are not in it."""
    main, side = pty.openpty()
    try:
        with engine(tmp_path, root, WELL, stdin=side, start_new_session=True) as it:
            it.ready(1)
            os.write(main, b"\x03")
            assert it.line() == "stage 1"
            assert it.report()[0] == "stopped"
            assert it.over(ran=1) == 0
    finally:
        os.close(main)
        os.close(side)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ran", "ready", "told"]


def test_an_engine_that_is_killed_leaves_its_commands_to_be_found_again(tmp_path, root):
    """On purpose: who resumes the run waits for them, and nothing is done twice."""
    with engine(tmp_path, root, WELL) as it:
        it.ready(1)
        it.process.kill()
        it.process.wait(10)
        assert len(living(tmp_path)) == 1
