"""What steps and their undoing share while a run goes on: backends, journal, bus, logs and clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from rollout.engine.backend import Backend
from rollout.engine.bus import Bus
from rollout.engine.journal import Journal, JournalError
from rollout.engine.logs import LogSink
from rollout.engine.supervise import Desk, Try


@dataclass(slots=True, kw_only=True)
class Means:
    """The outside of a run, as its parts see it. Of a journal that fails is told once; then the run is without one."""

    backends: Mapping[str, Backend]
    bus: Bus
    journal: Journal | None
    journal_failed: Callable[[str], None]
    """Called once, with what was wrong."""
    logs: LogSink | None
    grace_seconds: float
    kill_seconds: float
    wall: Callable[[], float]
    """Seconds since 1970."""
    random: Random
    post: Callable[..., None]
    """Have the engine's own task call something, with arguments, in its next turn: all changes are made there."""
    faults: list[str] = field(default_factory=list[str])
    now: Callable[[], float] = field(default_factory=lambda: asyncio.get_running_loop().time)
    """By the loop's clock, which never jumps."""

    def later(self, seconds: float, call: Callable[..., None], *args: Any) -> asyncio.TimerHandle:
        """Have the engine's own task call something after so many seconds."""
        return asyncio.get_running_loop().call_later(max(seconds, 0.0), self.post, call, *args)

    def fault(self, text: str) -> None:
        """Keep for the report that something of the caller's raised."""
        self.faults.append(text)

    def note(self, kind: str, /, **fields: Any) -> None:
        """Add a line to the journal, where there is one."""
        if self.journal:
            self.journal.append(kind, **fields)

    async def commit(self) -> bool:
        """Return once the journal is durable; False where it turns out that it cannot be. Raises nothing."""
        if self.journal is None:
            return True
        try:
            await self.journal.commit()
        except JournalError as error:
            # Whoever meets it first: several may wait for the same sync.
            if self.journal:
                self.journal = None
                self.journal_failed(str(error))
            return False
        return True

    def attempt(self, step_id: str, number: int, params: Mapping[str, Any], *, backend: str, desk: Desk) -> Try:
        """A try that has not begun."""
        return Try(
            step_id,
            number,
            params,
            backend=self.backends[backend],
            desk=desk,
            logs=self.logs,
            grace_seconds=self.grace_seconds,
            kill_seconds=self.kill_seconds,
        )
