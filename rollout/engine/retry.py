"""Whether a step is tried again, and how long it waits before.

Waits double, with full jitter, as "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015) calls it: a wait is
drawn evenly between nought and the ceiling, so that those that failed together do not come back together. What a
failure asks for is waited in full, and the jitter comes on top, for the same reason.
"""

from __future__ import annotations

import math
from random import Random
from typing import Final

from rollout.engine.spec import Retry

_DOUBLINGS: Final = 64
"""From here on the ceiling is any step's longest wait; a power of two beyond a float's range would be an error."""


def wait_before_next_try(
    retry: Retry, *, error_class: str, tries: int, asked_seconds: float | None, random: Random
) -> float | None:
    """Seconds to wait after so many tries, the last of which failed with this class; None where that was the last."""
    if tries >= retry.tries.get(error_class, 1):
        return None
    return _wait_seconds(retry, tries, asked_seconds, random)


def wait_while_busy(retry: Retry, *, times: int, asked_seconds: float | None, random: Random) -> float:
    """Seconds to wait after a backend said so many times in a row that it was busy. It takes no try and has no end."""
    return _wait_seconds(retry, times, asked_seconds, random)


def _wait_seconds(retry: Retry, times: int, asked_seconds: float | None, random: Random) -> float:
    ceiling_seconds = min(retry.most_seconds, retry.first_seconds * 2.0 ** min(times - 1, _DOUBLINGS))
    asked = asked_seconds if asked_seconds is not None and math.isfinite(asked_seconds) else 0.0
    return max(asked, 0.0) + random.uniform(0.0, ceiling_seconds)
