"""Stopping a run: three stages, the same whether a signal or a caller asks for them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Generator
from enum import IntEnum
from types import FrameType
from typing import Final, Protocol


class Stage(IntEnum):
    """How far a stop has gone; it only ever goes further."""

    NONE = 0
    GRACEFUL = 1
    """Nothing more is started but cleanup; what runs is asked to end, and made to after the grace."""
    KILL = 2
    """What runs is made to end now; no cleanup, nothing is undone."""
    LEAVE = 3
    """Nobody waits for anything any more."""


SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
AT_LEAVING: Final[list[Callable[[], None]]] = []
"""Called right before the process exits at once, to kill what would outlive it. In a signal handler: must not wait."""


class Stoppable(Protocol):
    """A run."""

    def stop(self, why: str) -> None:
        """Go one stage further."""
        ...


@contextlib.contextmanager
def stop_on_signals(run: Stoppable) -> Generator[None]:
    """Within it SIGINT and SIGTERM alike stop the run, one stage further each; the third exits the process at once.

    Inside a running loop, in the main thread. The handlers of before come back at the end. The third signal is dealt
    with in the handler itself, so that not even a loop that is blocked can keep the process: its exit code is then 128
    and the signal's number, as a shell has it.
    """
    loop = asyncio.get_running_loop()
    seen = 0

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen >= Stage.LEAVE:
            for call in tuple(AT_LEAVING):
                with contextlib.suppress(Exception):
                    call()
            os._exit(128 + number)
        loop.call_soon_threadsafe(run.stop, f"{signal.Signals(number).name} was received")

    before = {number: signal.signal(number, on_signal) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None is a handler that was not made by Python, and cannot be given back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
