"""Hearing of a process's end: once, and then the loop sleeps."""

from __future__ import annotations

import asyncio
import selectors
import subprocess

from rollout.backends.process import end_of, identity


class Counting(selectors.EpollSelector):
    """Counts the loop's turns."""

    turns = 0

    def select(self, timeout=None):
        self.turns += 1
        return super().select(timeout)


def test_an_end_is_heard_of_once_and_turns_the_loop_no_more():
    """A pidfd stays readable: a loop that goes on looking at it takes all of a core from whoever clears up."""
    selector = Counting()
    process = subprocess.Popen(["true"])

    async def course() -> int:
        with end_of(identity(process.pid)) as ended:
            await ended
            before = selector.turns
            await asyncio.sleep(0.05)
            return selector.turns - before

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        turns = runner.run(course())
    assert process.wait() == 0
    assert turns <= 3
