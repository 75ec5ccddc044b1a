"""The live table fits its terminal, changes nothing of it, asks it nothing, and goes on whatever happens."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import textwrap
import threading
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rollout.engine.events import Kind
from rollout.observers.board import Board
from rollout.observers.layout import as_grid, frame, shares
from rollout.observers.table import LiveTable, next_tick
from tests.rollout.observers.recorded_run import Recorder, canary, finished_canary, wide

PATIENCE_SECONDS = 180


def drawn(run: Recorder, width: int, height: int, *, until: float = float("inf"), now: float | None = None) -> str:
    """The frame as text, as a console of that size prints it."""
    board = Board()
    for event in run.events:
        if event.elapsed_seconds <= until:
            board.fold(event)
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True, no_color=True)
    with console.capture() as captured:
        console.print(as_grid(frame(board.view(now), width, height)))
    text = re.sub(r"\x1b\[[0-9;]*m", "", captured.get())
    return "\n".join(line.rstrip() for line in text.splitlines())


def text(block: str) -> str:
    return textwrap.dedent(block).strip("\n")


def test_a_frame_of_120_columns():
    assert drawn(canary(), 120, 30, until=60, now=60) == text("""
        canary 2026-11-02  1m00s  1 of 6 ended  2 running
        longest way left: 3 steps, 2m31s by the plan's weights
        group                       ended  run  wait  gate  bad  never ran   time
        -             ██████░░░░░░    1/2    -     1     -    -          -  1m00s
        us-west1/cpu  ░░░░░░░░░░░░    0/2    1     1     -    -          -    42s
        us-east1/cpu  ░░░░░░░░░░░░    0/2    1     1     -    -          -    42s
        ▸ west/update  42s  6 of 8 VMs
        ▸ east/update  8.0s  try 2
    """)


def test_a_frame_of_80_columns_pins_gates_and_failures():
    assert drawn(canary(), 80, 24, now=100) == text("""
        canary 2026-11-02  1m40s  4 of 6 ended  1 bad
        longest way left: 2 steps, 1m31s by the plan's weights
        group                       ended  run  wait  gate  bad  never ran   time
        -             ██████░░░░░░    1/2    -     1     -    -          -  1m40s
        us-west1/cpu  ██████░░░░░░    1/2    -     -     1    -          -  1m22s
        us-east1/cpu  ▓▓▓▓▓▓▒▒▒▒▒▒    2/2    -     -     -    1          1  1m12s
        ◷ 確認 of 8 VMs  waits  bake: 60 s from now  for 25s
        ✗ east/update  failed (try 2)  quota: CPUS in us-east1: 96 asked for, 0 left  h…
    """)


def test_a_narrow_frame_drops_columns_and_keeps_the_bad_ones():
    assert drawn(canary(), 40, 24, now=100) == text("""
        canary 2026-11-02  1m40s  4 of 6 ended …
        longest way left: 2 steps, 1m31s by the…
        group         ended  run  gate  bad
        -               1/2    -     -    -
        us-west1/cpu    1/2    -     1    -
        us-east1/cpu    2/2    -     -    1
        ◷ 確認 of 8 VMs  waits  bake: 60 s from…
        ✗ east/update  failed (try 2)  quota: C…
    """)


def test_a_low_frame_shares_its_lines_and_counts_what_it_leaves_out():
    assert drawn(wide(2_000), 80, 14, until=330, now=331) == text("""
        2,000 steps  5m31s  1,273 of 2,000 ended  37 running  3 bad
        longest way left: 26 steps
        group                   ended  run  wait  gate  bad  never ran   time
        group-00  ██████░░░░░░  29/50    1    20     -    -          -  5m31s
        group-01  ███████░░░░░  30/50    1    19     -    -          -  5m31s
        … and 38 more groups, 1,214 of 1,900 steps ended
        ✗ layer-004/group-07  failed  exit-1: it did not work
        ✗ layer-009/group-29  failed  exit-1: it did not work
        ✗ layer-020/group-16  failed  exit-1: it did not work
        ▸ layer-034/group-10  16s
        ▸ layer-030/group-27  15s
        ▸ layer-029/group-34  15s
        ▸ layer-030/group-23  13s
        … and 33 more running
    """)


def test_a_finished_frame_tells_the_verdict_and_what_was_undone():
    lines = drawn(finished_canary(), 100, 30).splitlines()
    assert lines[0] == "canary 2026-11-02  failed  2m38s  6 of 6 ended  1 bad"
    assert lines[-1] == "↶ west/update  is undone"
    assert not any("longest way" in line for line in lines)


def test_a_stop_and_missed_events_are_said_under_the_head():
    run = canary()
    run.add(91, Kind.STOPPING, data={"stage": 1, "why": "SIGTERM"})
    run.add(92, Kind.MISSED, data={"count": 12})
    lines = drawn(run, 100, 30).splitlines()
    assert lines[2] == "stopping: SIGTERM"
    assert lines[3] == "12 events came too fast to be shown; figures may lag"


@given(
    st.integers(1, 130),
    st.integers(1, 40),
    st.floats(0, 160),
    st.text(max_size=60),
    st.sampled_from(["canary", "wide"]),
)
def test_no_frame_is_larger_than_its_terminal_whatever_others_write(width, height, until, words, which):
    run = canary() if which == "canary" else WIDE
    board = Board()
    for event in run.events:
        if event.elapsed_seconds <= until:
            board.fold(event)
    for line in board.steps.values():
        line.title = line.text = words
    lines = frame(board.view(until), width, height)
    assert len(lines) <= height
    assert all(line.cell_len <= width for line in lines), [line.plain for line in lines]
    told = "".join(line.plain for line in lines)
    assert not [letter for letter in told if unicodedata.category(letter) in {"Cc", "Zl", "Zp"}]


WIDE = wide(200, groups=40)


@given(st.integers(0, 60), st.lists(st.integers(0, 40), max_size=6))
def test_lines_are_shared_without_waste_and_small_wishes_are_met(room, wanted):
    given_lines = shares(room, wanted)
    assert sum(given_lines) == min(room, sum(wanted))
    assert all(got <= wish for got, wish in zip(given_lines, wanted, strict=True))
    cut = [got for got, wish in zip(given_lines, wanted, strict=True) if got < wish]
    if cut:
        assert max(given_lines) <= min(cut) + 1, "nobody has more than one that was cut, but for a rest of one"


def test_ticks_stand_on_absolute_times_and_those_missed_are_left_out():
    assert next_tick(100.0, 100.0, 0.25) == 100.25
    assert next_tick(100.0, 100.26, 0.25) == 100.5, "a late frame does not move the next"
    assert next_tick(100.0, 107.0, 0.25) == 107.25
    at = 0.0
    for _ in range(1_000):
        at = next_tick(0.0, at, 0.1)
    assert at == pytest.approx(100.0)


class Screen(io.StringIO):
    """Keeps what is written, and lets a thread wait for it."""

    def __init__(self):
        super().__init__()
        self.seen = threading.Condition()

    def write(self, s: str) -> int:
        with self.seen:
            written = super().write(s)
            self.seen.notify_all()
        return written

    def wait_for(self, words: str) -> bool:
        with self.seen:
            return self.seen.wait_for(lambda: words in self.getvalue(), PATIENCE_SECONDS)


def test_the_table_goes_on_while_the_loop_is_busy_and_after_a_stop_was_asked_for():
    screen = Screen()
    now = [0.0]

    async def play():
        table = LiveTable(screen, interval_seconds=0.01, clock=lambda: now[0])
        run = canary()
        run.add(91, Kind.STOPPING, data={"stage": 1, "why": "SIGINT"})
        for event in run.events:
            await table.on_event(event)
        # The loop does nothing from here to the end of both waits.
        assert screen.wait_for("stopping: SIGINT")
        now[0] = 33.0
        assert screen.wait_for("2m04s"), "91 s of the run, and 33 s since"
        await table.close()

    asyncio.run(play())


def test_a_terminal_that_is_gone_is_raised_once_and_ends_only_the_table():
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(5, "Input/output error")

    async def play() -> str:
        table = LiveTable(Gone(), interval_seconds=0.01)
        first, *rest = canary().events
        await table.on_event(first)
        assert table._thread
        table._thread.join(PATIENCE_SECONDS)
        with pytest.raises(OSError, match="Input/output error"):
            await table.on_event(rest[0])
        await table.on_event(rest[1])
        await table.close()
        return type(sys.stdout).__name__

    before = type(sys.stdout).__name__
    assert asyncio.run(play()) == before, "standard output is itself again"


CHILD = """
import asyncio, os, signal, sys
from rollout.observers.table import LiveTable
from tests.rollout.observers.recorded_run import canary, finished_canary, wide

async def play(run, *, last):
    table = LiveTable(sys.stdout, interval_seconds=0.02)
    for event in run.events:
        await table.on_event(event)
    while not last and not os.path.exists(sys.argv[2]):
        await asyncio.sleep(0.01)
    if not last:
        os.kill(os.getpid(), signal.SIGKILL)
    await table.close()
    print("AFTER", flush=True)

which = sys.argv[1]
if which == "stuck":
    async def stuck():
        table = LiveTable(sys.stdout, interval_seconds=0.001)
        for event in wide(400).events:
            await table.on_event(event)
            await asyncio.sleep(0.002)
        await table.close()
    asyncio.run(stuck())
    with open(sys.argv[2], "w") as file:
        file.write("ended")
    sys.exit(7)
asyncio.run(play(finished_canary() if which == "whole" else canary(), last=which == "whole"))
"""


class Terminal:
    """A real terminal of 100 by 30, and a child on it."""

    def __init__(self, root, which: str, mark):
        self.main, self.sub = pty.openpty()
        termios.tcsetwinsize(self.sub, (30, 100))
        self.before = termios.tcgetattr(self.sub)
        self.child = subprocess.Popen(
            [sys.executable, "-c", CHILD, which, str(mark)],
            cwd=root,
            env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", "PYTHONPATH": str(root)},
            stdin=self.sub,
            stdout=self.sub,
            stderr=self.sub,
            start_new_session=True,
        )
        self.said = b""

    def read_until(self, words: bytes) -> bool:
        while words not in self.said:
            ready, _, _ = select.select([self.main], [], [], PATIENCE_SECONDS)
            if not ready:
                return False
            self.said += os.read(self.main, 65536)
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()
        os.close(self.sub)
        os.close(self.main)


def queries(said: bytes) -> list[bytes]:
    """What asks a terminal something: status, attributes, settings (xterm's control sequences, read 2026-11-25)."""
    return re.findall(rb"\x1b\[[?>=]?[0-9;]*[cnpqtx]|\x1b[\]P][^\x07\x1b]*\?", said)


def test_on_a_real_terminal_it_asks_nothing_and_leaves_all_as_it_was(root, tmp_path):
    with Terminal(root, "whole", tmp_path / "mark") as terminal:
        assert terminal.read_until(b"AFTER"), terminal.said
        assert terminal.child.wait(PATIENCE_SECONDS) == 0
        assert termios.tcgetattr(terminal.sub) == terminal.before
    assert b"\x1b[" in terminal.said, "it did draw in place"
    assert queries(terminal.said) == []
    assert b"\x1b[?" not in terminal.said, "no mode is set: neither the cursor's nor another screen"
    plain = re.sub(rb"\x1b\[[0-9;]*[A-Za-z]", b"", terminal.said).decode()
    last = plain[plain.rindex("canary 2026-11-02") :]
    assert "failed  2m38s  6 of 6 ended" in last
    assert last.rstrip().endswith("AFTER"), "what is printed afterwards stands under the table"


def test_killed_in_the_middle_it_leaves_nothing_to_restore(root, tmp_path):
    mark = tmp_path / "mark"
    with Terminal(root, "killed", mark) as terminal:
        assert terminal.read_until(b"east/update"), terminal.said
        mark.touch()
        assert terminal.child.wait(PATIENCE_SECONDS) == -signal.SIGKILL
        assert termios.tcgetattr(terminal.sub) == terminal.before
    assert b"\x1b[?" not in terminal.said


def test_a_terminal_that_takes_nothing_does_not_keep_the_process(root, tmp_path):
    mark = tmp_path / "mark"
    with Terminal(root, "stuck", mark) as terminal:  # nobody reads it, so its buffer fills
        assert terminal.child.wait(PATIENCE_SECONDS) == 7
    assert mark.read_text() == "ended"
