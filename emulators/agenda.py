"""What will happen by itself, and when."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Agenda:
    """Things to do at times. Nothing runs until `run` is called; of one time, the first entered is the first done."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._actions: dict[int, Callable[[], object]] = {}
        self._last = 0

    def add(self, at: float, action: Callable[[], object]) -> int:
        """Have this done then; a number to cancel it by."""
        self._last += 1
        self._actions[self._last] = action
        heapq.heappush(self._heap, (at, self._last))
        return self._last

    def cancel(self, number: int) -> None:
        """Have it not done. One that is done already, or 0, changes nothing."""
        self._actions.pop(number, None)

    def next(self) -> float | None:
        """When the next thing is due."""
        while self._heap and self._heap[0][1] not in self._actions:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def run(self, now: float) -> None:
        """Do what is due by now, also what that makes due."""
        while (due := self.next()) is not None and due <= now:
            self._actions.pop(heapq.heappop(self._heap)[1])()
