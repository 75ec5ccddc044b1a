"""What has happened and is not dealt with yet."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any


class Inbox:
    """Calls to be made by the engine's own task, in the order in which they came. For one event loop's thread."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._wake = asyncio.Event()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._calls)

    def post(self, call: Callable[..., None], *args: Any) -> None:
        """Add one."""
        self._calls.append((call, args))
        self._wake.set()

    def deal(self) -> None:
        """Make all calls, those that they add, too. Raises what they raise."""
        while self._calls:
            call, args = self._calls.popleft()
            call(*args)

    async def wait(self) -> None:
        """Sleep until there is something."""
        await self._wake.wait()
        self._wake.clear()
