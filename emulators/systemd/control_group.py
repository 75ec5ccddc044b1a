"""Starts programs in groups that no process of them can leave: what a control group does, without its rights.

Each program has a keeper, which the kernel makes the parent of everything the program orphans (PR_SET_CHILD_SUBREAPER
of prctl(2)). So the keeper's descendants are all that the program ever started, whatever sessions they made.

As a program of its own it forks the keepers, since a program with threads must not fork: a line of JSON on stdin
starts one, lines on stdout tell process ids and ends. `ControlGroups` is the side that asks.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final, Self

_PR_SET_CHILD_SUBREAPER: Final = 36  # prctl(2)
EXEC_FAILED: Final = 203
"""EXIT_EXEC of systemd.exec(5)."""


class Process:
    """A program and all it started."""

    def __init__(self) -> None:
        self.pid = 0
        self.keeper = 0
        self.wait_status: int | None = None
        """As of waitpid(2), once the program has ended."""

    def members(self) -> list[int]:
        """All processes of the group that run; the program itself is the first while it lives."""
        return [pid for pid in _descendants(self.keeper) if alive(pid)]

    def signal(self, number: int, *, everyone: bool) -> None:
        """Send a signal to the program, or to the whole group."""
        for pid in self.members() if everyone else [self.pid] if self.wait_status is None else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


class ControlGroups:
    """The program that forks keepers, and what it tells of them. Use as a context manager.

    `changed` is notified whenever a program has started or ended.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self._processes: list[Process] = []

    def __enter__(self) -> Self:
        self._helper = subprocess.Popen(
            [sys.executable, "-ISE", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill whatever is left, and end."""
        for process in self._processes:
            while process.members():
                process.signal(signal.SIGKILL, everyone=True)
        assert self._helper.stdin is not None
        assert self._helper.stdout is not None
        self._helper.stdin.close()
        self._helper.wait()
        self._reader.join()
        self._helper.stdout.close()

    def start(self, argv: Sequence[str], environment: Mapping[str, str], journal: Path) -> Process:
        """Start a program with its output appended to `journal`; returns when it runs."""
        process = Process()
        with self.changed:
            number = len(self._processes)
            self._processes.append(process)
            order = {"number": number, "argv": list(argv), "environment": dict(environment), "journal": str(journal)}
            assert self._helper.stdin is not None
            self._helper.stdin.write(json.dumps(order) + "\n")
            self._helper.stdin.flush()
            assert self.changed.wait_for(lambda: process.pid, 30), f"{argv} did not start"
        return process

    def members(self) -> list[int]:
        """All processes of all groups."""
        return [pid for process in list(self._processes) if process.keeper for pid in process.members()]

    def _read(self) -> None:
        assert self._helper.stdout is not None
        for line in self._helper.stdout:
            news: dict[str, int] = json.loads(line)
            process = self._processes[news["number"]]
            with self.changed:
                if "pid" in news:
                    process.pid, process.keeper = news["pid"], news["keeper"]
                else:
                    process.wait_status = news["status"]
                self.changed.notify_all()


def alive(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody has reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2][1] not in "ZX"
    except OSError:
        return False


def _descendants(pid: int) -> Iterator[int]:
    """All below a process, parents first. Needs proc_pid_children(5)."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - much faster, and asked very often
    except OSError:
        return
    for thread in threads:
        if int(thread) != pid:
            with contextlib.suppress(OSError):
                children += Path(f"/proc/{pid}/task/{thread}/children").read_text(encoding="ascii").split()
    for child in map(int, children):
        yield child
        yield from _descendants(child)


def _tell(**news: int) -> None:
    os.write(1, (json.dumps(news) + "\n").encode())


def _keep(order: dict[str, Any]) -> None:
    """Be the keeper of one program until nothing of it is left."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.setsid()
    program = os.fork()
    if program == 0:
        _become(order)
    _tell(number=order["number"], pid=program, keeper=os.getpid())
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.wait()
            if pid == program:
                _tell(number=order["number"], status=status)


def _become(order: dict[str, Any]) -> None:
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    journal = os.open(order["journal"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, source in enumerate((null, journal, journal)):
        os.dup2(source, target)
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(order["argv"][0], order["argv"], order["environment"])  # noqa: S606
    except OSError as error:
        os.write(2, f"{order['argv'][0]}: {error.strerror}\n".encode())
        os._exit(EXEC_FAILED)


def _reap(_number: int, _frame: FrameType | None) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _main() -> None:
    signal.signal(signal.SIGCHLD, _reap)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C is for who asks
    for line in sys.stdin:
        if os.fork() == 0:
            status = 1
            try:
                _keep(json.loads(line))
                status = 0
            finally:
                os._exit(status)


if __name__ == "__main__":
    _main()
