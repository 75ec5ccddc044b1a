"""Carries events to observers: each has a queue of its own and a task that empties it.

Nobody waits for an observer. When its queue is full it loses progress texts first and then the oldest events, and is
told how many they were. What one raises is kept for the report, and it hears no more.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rollout.engine.events import Event, Kind, Observer, Reason
from rollout.engine.states import State

QUEUE_EVENTS: Final = 50_000
"""The most that one observer may be behind: about 25 MB, and 10,000 steps that all end in one turn fit."""
PATIENCE_SECONDS: Final = 5.0
"""How long observers have at the end of a run, for what is in their queues, and then again to close."""


class _Listener:
    """One observer, what it has not heard yet, and the task that tells it."""

    def __init__(self, observer: Observer, most: int) -> None:
        self.observer = observer
        self._most = most
        self._queue: deque[Event] = deque()
        self._progress = 0
        """How many in the queue are progress texts."""
        self._heard = 0
        self._closing = False
        self._wake = asyncio.Event()
        self._deaf = False
        """It has failed."""
        self.faults: list[str] = []

    def put(self, event: Event) -> None:
        if self._deaf:
            return
        queue = self._queue
        if len(queue) >= self._most:
            if self._progress:
                self._queue = queue = deque(kept for kept in queue if kept.kind is not Kind.PROGRESS)
                self._progress = 0
            elif event.kind is Kind.PROGRESS:
                return
            else:
                queue.popleft()
        queue.append(event)
        self._progress += event.kind is Kind.PROGRESS
        self._wake.set()

    def finish(self) -> None:
        """Nothing more will come."""
        self._closing = True
        self._wake.set()

    async def serve(self) -> None:
        """Tell the observer until nothing more will come, or until it raises, and close it. Raises nothing."""
        try:
            await self._listen()
        except asyncio.CancelledError:
            self._fault("on_event", f"did not come to an end within {PATIENCE_SECONDS:g} s")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - an observer's fault must not become the run's
            self._fault("on_event", f"raised {type(error).__name__}: {error}")
        self._deaf = True
        self._queue.clear()
        try:
            await self.observer.close()
        except asyncio.CancelledError:
            self._fault("close", f"did not come to an end within {PATIENCE_SECONDS:g} s")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the same
            self._fault("close", f"raised {type(error).__name__}: {error}")

    async def _listen(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                event = self._queue.popleft()
                self._progress -= event.kind is Kind.PROGRESS
                # Numbers have no gap, so a gap between two that are heard is what was left out.
                if missed := event.number - self._heard - 1:
                    await self.observer.on_event(_missed(event, missed))
                self._heard = event.number
                await self.observer.on_event(event)
            if self._closing:
                return

    def _fault(self, method: str, what: str) -> None:
        self.faults.append(f"{type(self.observer).__name__}.{method} {what}")


def _missed(event: Event, count: int) -> Event:
    return Event(
        number=event.number - 1,
        at=event.at,
        elapsed_seconds=event.elapsed_seconds,
        kind=Kind.MISSED,
        data={"count": count},
    )


class Bus:
    """Numbers events, and hands them to all observers. Made inside a running loop."""

    def __init__(
        self, observers: Sequence[Observer], *, wall: Callable[[], float] = time.time, most: int = QUEUE_EVENTS
    ) -> None:
        self._wall = wall
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        self._number = 0
        self._listeners = [_Listener(observer, most) for observer in observers]
        self._tasks = [asyncio.create_task(listener.serve(), name="observer") for listener in self._listeners]
        self.heard = bool(observers)
        """Whether anybody listens; who has to work for an event's data may look here first."""

    def publish(
        self,
        kind: Kind,
        *,
        step: str = "",
        old: State | None = None,
        new: State | None = None,
        reason: Reason | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Tell everybody. Never blocks, never raises."""
        if not self.heard:
            return
        self._number += 1
        event = Event(
            number=self._number,
            at=self._wall(),
            elapsed_seconds=self._clock() - self._began,
            kind=kind,
            step=step,
            old=old,
            new=new,
            reason=reason,
            data={} if data is None else data,
        )
        for listener in self._listeners:
            listener.put(event)

    async def close(self) -> list[str]:
        """Let observers hear the rest, and close them; gives their faults. Who takes too long is cancelled.

        One that will not be cancelled is left behind, and said to be.
        """
        late: set[asyncio.Task[None]] = set(self._tasks)
        for listener in self._listeners:
            listener.finish()
        # Once for what is in the queue; once for closing, to which the cancelled go on; once for those cancelled there.
        for _ in range(3):
            if late:
                _, late = await asyncio.wait(late, timeout=PATIENCE_SECONDS)
            for task in late:
                task.cancel()
        faults = [fault for listener in self._listeners for fault in listener.faults]
        return faults + [f"{len(late)} observers will not end, and were left behind"] * bool(late)
