"""The live table: a run on a terminal, drawn again and again in place."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import IO, Final

from rich.console import Console
from rich.live import Live

from rollout.engine.events import Event
from rollout.observers.board import Board
from rollout.observers.layout import as_grid, frame

MOST_HEARD: Final = 10_000
"""Events that wait for a frame; when a terminal takes nothing for long, the oldest are lost, and that is said."""
CLOSE_SECONDS: Final = 2.0
"""How long the end of a run waits for a terminal that takes nothing (^S, a dead connection)."""


class LiveTable:
    """An observer. Draws in a thread of its own, at even times, also while the run stops or its loop is busy.

    It changes nothing of the terminal that would have to be restored, and asks it nothing: the cursor stays visible,
    echo stays on, and the size comes from the kernel. So a run may be killed at any moment. Where the terminal cannot
    be written to, drawing ends and the next event raises OSError.
    """

    def __init__(
        self,
        stream: IO[str],
        *,
        color: bool = True,
        interval_seconds: float = 0.25,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._color = color
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._heard: deque[tuple[Event, float]] = deque(maxlen=MOST_HEARD)
        """Events that have not been drawn yet, and when they came."""
        self._lost = 0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._fault: Exception | None = None

    async def on_event(self, event: Event) -> None:
        """Take it in; it is on the terminal with the next frame."""
        self._raise_fault()
        self._lost += len(self._heard) == MOST_HEARD
        self._heard.append((event, self._clock()))
        if not self._thread:
            # A daemon: a terminal that takes nothing must not keep the process.
            self._thread = threading.Thread(target=self._draw_until_over, name="live-table", daemon=True)
            self._thread.start()

    async def close(self) -> None:
        """Draw the last frame, which stays."""
        self._over.set()
        if self._thread:
            for _ in range(round(CLOSE_SECONDS / 0.01)):
                if not self._thread.is_alive():
                    break
                await asyncio.sleep(0.01)
        self._raise_fault()

    def _raise_fault(self) -> None:
        """Once: who hears of it in an event need not hear of it at the end."""
        fault, self._fault = self._fault, None
        if fault:
            raise fault

    def _draw_until_over(self) -> None:
        try:
            with _own(self._stream) as file:
                console = _Console(file=file, force_terminal=True, no_color=not self._color, highlight=False)
                with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
                    self._draw(live)
        except Exception as error:  # noqa: BLE001 - kept for the loop's thread, where somebody hears of it
            self._fault = error

    def _draw(self, live: Live) -> None:
        board, started = Board(), self._clock()
        heard_at = started
        while True:
            over = self._over.is_set()  # before the frame, so that the last one shows the end
            while self._heard:
                event, heard_at = self._heard.popleft()
                board.fold(event)
            view = board.view(board.elapsed_seconds + self._clock() - heard_at)
            view = replace(view, missed=view.missed + self._lost)
            width, height = live.console.size
            # One line is the cursor's; a frame as high as the terminal would scroll.
            live.update(as_grid(frame(view, width, max(height - 1, 1))), refresh=True)
            if over:
                return
            now = self._clock()
            self._over.wait(next_tick(started, now, self._interval_seconds) - now)


def next_tick(started: float, now: float, interval: float) -> float:
    """The next multiple of the interval after `now`: ticks do not drift, and those that were missed are left out."""
    return started + (math.floor((now - started) / interval + 1e-9) + 1) * interval


class _Console(Console):
    """A console that never hides the cursor, so that nobody has to show it again."""

    def show_cursor(self, show: bool = True) -> bool:  # noqa: ARG002, FBT001, FBT002 - rich's signature
        """Nothing."""
        return False


@contextlib.contextmanager
def _own(stream: IO[str]) -> Generator[IO[str]]:
    """The same terminal by a file of its own: a thread that is stuck in it holds no lock that the program needs."""
    try:
        number = os.dup(stream.fileno())
    except (OSError, ValueError):
        yield stream  # a stream in memory
        return
    with os.fdopen(number, "w", encoding="utf-8", errors="replace") as file:
        yield file
