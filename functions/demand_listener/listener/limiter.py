"""How often Compute Engine is asked: below its rates, region by region, for all pools together.

Google counts requests a minute, per project and region, and each kind of method by itself: reads, lists, reads of
operations, and changes. It allows 1,500 of each by default ("Compute Engine rate quotas and system limits", read
2026-11-25); what is beyond gets 403 rateLimitExceeded until the minute is over. Others ask in the same project too: so
at most 1,200 of a kind in any minute. Who is refused waits with all kinds.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Final

BURST: Final = 600
PER_SECOND: Final = 10.0
"""Both together are at most 1,200 in a minute."""
HOLD_SECONDS: Final = 60.0
"""How long a refusal lasts that does not say: Google's own interval."""


class Kind(StrEnum):
    """What Google counts by itself."""

    READ = "read"
    LIST = "list"
    OPERATION = "operation"
    CHANGE = "change"


class Limiter:
    """Tokens by region and kind. For all tasks of one event loop."""

    def __init__(self) -> None:
        self._left: dict[tuple[str, Kind], float] = {}
        self._at: dict[tuple[str, Kind], float] = {}
        self._held_until: dict[str, float] = {}

    async def wait(self, region: str, kind: Kind) -> None:
        """Wait for one's turn. Who comes first goes first, as the loop wakes them."""
        while (seconds := self._seconds(region, kind)) > 0:  # noqa: ASYNC110 - it is time that is waited for
            await asyncio.sleep(seconds)

    def spend(self, region: str, kind: Kind) -> None:
        """Count a request that does not wait, because it would be wrong later."""
        self._left[region, kind] = self._refilled((region, kind)) - 1

    def hold(self, region: str, seconds: float = 0.0) -> None:
        """Nobody goes for so long."""
        until = asyncio.get_running_loop().time() + (seconds or HOLD_SECONDS)
        self._held_until[region] = max(until, self._held_until.get(region, 0.0))

    def held_seconds(self, region: str) -> float:
        """For how long nobody goes, 0 when they do."""
        return max(0.0, self._held_until.get(region, 0.0) - asyncio.get_running_loop().time())

    def _seconds(self, region: str, kind: Kind) -> float:
        """How long to wait before the next try; 0 when it may go, and then it is counted."""
        held = self.held_seconds(region)
        if held > 0:
            return held
        left = self._refilled((region, kind))
        if left < 1:
            return (1 - left) / PER_SECOND + 1e-6
        self._left[region, kind] = left - 1
        return 0.0

    def _refilled(self, key: tuple[str, Kind]) -> float:
        now = asyncio.get_running_loop().time()
        gained = (now - self._at.get(key, now)) * PER_SECOND
        self._at[key] = now
        self._left[key] = min(float(BURST), self._left.get(key, float(BURST)) + gained)
        return self._left[key]
