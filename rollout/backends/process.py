"""One process, by a name that no other process has: its id, when it began, and the boot of the machine.

Linux only: /proc, and pidfd_open(2), which is there since 5.3.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_STARTED: Final = 22 - 3
"""`starttime` is field 22 of proc_pid_stat(5), in clock ticks since boot; the name ends field 2, in parentheses."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Ids come round again after some ten thousand processes; together with the rest they do not."""

    pid: int
    started_ticks: int
    boot: str

    def __str__(self) -> str:
        return f"{self.pid}.{self.started_ticks}.{self.boot}"


def identity(pid: int) -> Identity:
    """Who has that id now; one that has ended counts until it is reaped. Raises ProcessLookupError where none has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        raise ProcessLookupError(f"there is no process {pid}") from None
    return Identity(pid, int(stat.rpartition(")")[2].split()[_STARTED]), boot())


def parse(text: str) -> Identity:
    """What `str` made. Raises ValueError for anything else."""
    pid, started, machine_boot = text.split(".")
    return Identity(int(pid), int(started), machine_boot)


def boot() -> str:
    """random(4): another one after every start of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def runs(process: Identity) -> bool:
    """Whether that very process is there."""
    try:
        return identity(process.pid) == process
    except ProcessLookupError:
        return False


@contextlib.contextmanager
def end_of(process: Identity) -> Generator[asyncio.Future[None]]:
    """A future that is done once the process has ended, whoever its parent is. It reaps nothing.

    Raises ProcessLookupError where it is gone already, and OSError where no file can be opened any more.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    descriptor = os.pidfd_open(process.pid)
    try:
        if not runs(process):  # now that the descriptor holds whoever it is
            raise ProcessLookupError(f"process {process} is gone")

        def tell() -> None:
            loop.remove_reader(descriptor)  # it stays readable, and would turn the loop without a pause
            if not ended.done():
                ended.set_result(None)

        loop.add_reader(descriptor, tell)
        try:
            yield ended
        finally:
            loop.remove_reader(descriptor)
            ended.cancel()
    finally:
        os.close(descriptor)
