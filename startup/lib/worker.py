"""What this VM's own processes and files say about its one job: who listens, since when, and whether a worker runs.

GitHub's word on this is late by a minute and more, so whoever decides over a VM's end asks here. A worker is a direct
child of the listener with the name `Runner.Worker`; the runner also leaves a log of every worker it started. Both are
the job user's: a job can hide itself, and then it is its own end that comes early, nobody else's.

Nothing is decided or changed here. Processes may vanish while they are read; they then count as gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")

WORKER: Final = "Runner.Worker"
"""The process that runs one job: GitHub's runner, src/Runner.Listener/JobDispatcher.cs."""


def listener_pid(run_dir: Path, proc: Path = PROC) -> int | None:
    """The listener's process id; None before it listens and once it is dead, reaped or not."""
    record = _listener(run_dir)
    if record is None or process_state(record[0], proc) is None:
        return None
    return record[0]


def listening_since(run_dir: Path) -> float | None:
    """When the listener was started, in seconds since boot; None before."""
    record = _listener(run_dir)
    return None if record is None else record[1]


def worker_runs(pid: int, proc: Path = PROC) -> bool:
    """Whether the listener `pid` has a worker. One between fork and exec has no name yet: see `has_child`."""
    return WORKER in _children(pid, proc)


def has_child(pid: int, proc: Path = PROC) -> bool:
    """Whether the process `pid` has any child, under whatever name. A listener without a job has none."""
    return any(True for _ in _children(pid, proc))


def had_job(runner_dir: Path) -> bool:
    """Whether a worker was ever started on this VM: the log it left says so, also after its end."""
    return any(True for _ in (runner_dir / "_diag").glob("Worker_*.log"))


def process_state(pid: int, proc: Path = PROC) -> str | None:
    """The kernel's letter for what a process does, such as S, R or T (frozen); None where it is gone or dead."""
    stat = _stat(proc / str(pid) / "stat")
    return None if stat is None or stat[1] in "ZX" else stat[1]


def frozen(pid: int, proc: Path = PROC) -> bool:
    """Whether every thread of a process has stopped. A signal to stop reaches one thread after the other."""
    stats = [_stat(path) for path in (proc / str(pid) / "task").glob("[0-9]*/stat")]
    alive = [stat[1] for stat in stats if stat is not None and stat[1] not in "ZX"]
    return bool(alive) and all(state == "T" for state in alive)


def _listener(run_dir: Path) -> tuple[int, float] | None:
    """What the file `listener` says: "PID BOOTTIME_SECONDS"."""
    try:
        pid, since = (run_dir / "listener").read_text(encoding="ascii").split()
        return int(pid), float(since)
    except (OSError, ValueError):
        return None


def _children(pid: int, proc: Path) -> Iterator[str]:
    """The names of a process' living children."""
    for path in proc.glob("[0-9]*/stat"):
        stat = _stat(path)
        if stat is not None and stat[2] == pid and stat[1] not in "ZX":
            yield stat[0]


def _stat(path: Path) -> tuple[str, str, int] | None:
    """Name, state and parent out of a stat file (proc_pid_stat(5)); a name may hold spaces and parentheses."""
    try:
        head, _, tail = path.read_text(encoding="utf-8", errors="replace").rpartition(")")
        state, parent = tail.split()[:2]
        return head.partition("(")[2], state, int(parent)
    except (OSError, ValueError):
        return None
