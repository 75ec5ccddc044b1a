"""Waiting until something outside is so: looks, with longer and longer pauses, until a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from rollout.engine.backend import Attempt, Failed, Outcome, Passed

GROWTH: Final = 1.5
"""Each pause is so much longer than the last, as long as nothing changes. Chosen: 1 s grows to 60 s in eleven looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """It is not so yet."""

    progress: str
    """In a few words. As long as it stays the same, pauses grow; when it changes, they begin anew."""
    retry_after_seconds: float | None = None
    """Look no sooner than that, for this one time."""
    output: dict[str, Any] = field(default_factory=dict[str, Any])
    """What is known so far; shown nowhere, for the caller's own use."""


async def until(
    look: Callable[[], Awaitable[Waiting | Passed | Failed]],
    attempt: Attempt,
    *,
    first_seconds: float = 1.0,
    most_seconds: float = 60.0,
    deadline: float | None = None,
) -> Outcome:
    """Call `look` until it gives an end, and return that.

    The first look is at once. `deadline` is a time of the running loop's clock; there is one more look at it, and if
    that does not pass either, it is Failed with the code `deadline`, of the error class `timeout`, with the last words
    of progress. A graceful end, by `attempt.cancelled`, is noticed during a pause, and gives Failed with the code
    `cancelled`. Whatever `look` raises passes on: which faults are worth another look is for `look` to know.
    """
    loop = asyncio.get_running_loop()
    pause, said = first_seconds, ""
    while True:
        last = deadline is not None and loop.time() >= deadline
        found = await look()
        if not isinstance(found, Waiting):
            return found
        if attempt.cancelled.is_set():
            return Failed(code="cancelled", message=f"was stopped while it waited: {found.progress}")
        if last:
            return Failed(code="deadline", message=f"still waiting: {found.progress}", error_class="timeout")
        if found.progress != said:
            pause, said = first_seconds, found.progress
            attempt.progress(said)
        due = loop.time() + max(pause, found.retry_after_seconds or 0.0)
        pause = min(pause * GROWTH, most_seconds)
        try:
            async with asyncio.timeout_at(due if deadline is None else min(due, deadline)):
                await attempt.cancelled.wait()
        except TimeoutError:
            continue
        return Failed(code="cancelled", message=f"was stopped while it waited: {found.progress}")
