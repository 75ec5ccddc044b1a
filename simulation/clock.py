"""Time on the virtual loop, as the parts want it: the stand-ins' clock, and a wall clock for each part."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from emulators.clock import Clock
from simulation.loop import VirtualLoop

EPOCH: Final = 1_795_420_800.0
"""When every simulation begins: 2026-11-23 08:00 UTC, a Monday."""


class VirtualClock(Clock):
    """What time it really is: seconds since 1970. The stand-ins run by it; nobody can set it."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__(0.0, start=EPOCH)
        self._loop = loop

    def now(self) -> float:
        """Seconds since 1970."""
        return EPOCH + self._loop.time()

    def advance(self, seconds: float) -> None:
        """Raises RuntimeError: it follows the loop."""
        raise RuntimeError(f"a virtual clock follows its loop; nobody can add {seconds} s")


class WallClocks:
    """What the wall clock of each part shows: the truth, and by how much somebody has set it wrong."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.ahead_seconds: defaultdict[str, float] = defaultdict(float)
        """By part; negative where its clock is behind."""

    def of(self, part: str) -> float:
        """Seconds since 1970, as that part believes."""
        return self._clock.now() + self.ahead_seconds[part]
