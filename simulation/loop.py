"""An event loop whose clock is virtual: when nothing is ready it jumps to whatever is due next.

An hour of waiting costs nothing, and the same program runs the same way every time: no thread, no socket, no signal and
no real clock can come between. So what needs one of those does not work here: executors, subprocesses, streams.

    with running(start=0.0) as loop:
        loop.run_until_complete(work())

When nothing is ready and nothing will ever be due, a real loop waits for ever. This one raises DeadlockError.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from typing import Any, Final, NoReturn

RESOLUTION_SECONDS: Final = 1e-6
"""Timers that are so near to each other run in one go, in the order of their times."""


class DeadlockError(Exception):
    """Everybody waits for somebody, and no timer will ever end it. The text names who waits, and where."""


class _Timetable:
    """Stands where the loop expects a selector: nothing ever comes from outside, so waiting is jumping ahead."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise DeadlockError(_who_waits(self._loop))
        if timeout > 0:
            self._loop.pass_time(timeout)
        return []

    def close(self) -> None:
        """There is nothing to close."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Time passes only while everybody waits, and then at once."""

    def __init__(self, start: float = 0.0) -> None:
        """`start` is what `time` says first, in seconds."""
        super().__init__()
        self._now = start
        self._clock_resolution = RESOLUTION_SECONDS
        self._selector = _Timetable(self)

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def pass_time(self, seconds: float) -> None:
        """Let so many seconds be over at once."""
        self._now += seconds

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        """The same as `call_soon`: there is one thread."""
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> NoReturn:  # noqa: ARG002 - the base's signature
        """Raises RuntimeError: a thread's time is not virtual."""
        raise RuntimeError("nothing may leave the virtual clock: this loop has no threads")

    def _process_events(self, event_list: list[Any]) -> None:
        """None ever comes."""

    def _write_to_self(self) -> None:
        """Nobody has to wake this loop: it never sleeps."""


@contextlib.contextmanager
def running(start: float = 0.0) -> Generator[VirtualLoop]:
    """A loop to run coroutines on. At the end whatever still runs is cancelled, and the loop is closed."""
    loop = VirtualLoop(start)
    try:
        yield loop
    finally:
        _end(loop)


def _end(loop: VirtualLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    try:
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _who_waits(loop: VirtualLoop) -> str:
    lines = [f"at {loop.time():.3f} s everybody waits, and nothing will ever be due:"]
    for task in sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name()):
        stack = task.get_stack()
        where = f"{stack[-1].f_code.co_filename}:{stack[-1].f_lineno}" if stack else "?"
        lines.append(f"  {task.get_name()} in {where}")
    return "\n".join(lines)
