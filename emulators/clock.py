"""The stand-ins' own clock: real time, at the speed wanted, plus what a test adds. Nothing in them asks another one."""

from __future__ import annotations

import datetime
import threading
import time


class Clock:
    """Seconds since 1970 that run `scale` times as fast as real ones; 0 stands still until somebody advances it.

    `start` is where it begins; the present by default.
    """

    def __init__(self, scale: float = 1.0, *, start: float | None = None) -> None:
        self._scale = scale
        self._at = time.time() if start is None else start
        self._real = time.monotonic()
        self._lock = threading.Lock()

    def now(self) -> float:
        """Seconds since 1970."""
        with self._lock:
            real = time.monotonic()
            self._at += (real - self._real) * self._scale
            self._real = real
            return self._at

    def advance(self, seconds: float) -> None:
        """Let this many seconds pass at once."""
        if seconds < 0:
            raise ValueError(f"a clock goes forward: {seconds}")
        self.now()
        with self._lock:
            self._at += seconds


def rfc3339(seconds: float, zone: datetime.tzinfo = datetime.UTC) -> str:
    """Seconds since 1970 in the text that both clouds write, with milliseconds."""
    text = datetime.datetime.fromtimestamp(seconds, zone).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
