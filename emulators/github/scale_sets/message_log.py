"""A scale set's messages: events gather until a poll comes, become a message with a number, stay until acknowledged.

The log belongs to the set, not to the session: whoever polls from 0 gets everything that was not acknowledged, under
the numbers it had, however often. That events gather into one message is our guess; that no message holds more than 50
is documented, and so is that its statistics are those of the moment in which it is made.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

FIRST: Final = 100_000_001
MOST_EVENTS: Final = 50
KIND: Final = "RunnerScaleSetJobMessages"


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a job."""

    document: dict[str, Any]
    due: float
    """When it may be told."""
    wakes: bool
    """Whether it answers a poll that is open already."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """Some events under one number."""

    id: int
    events: tuple[Event, ...]
    body: bytes
    """The answer to a poll; the same at every delivery."""


class MessageLog:
    """The messages of one scale set."""

    def __init__(self) -> None:
        self.kept: dict[int, Message] = {}
        """What was not acknowledged, by number."""
        self.history: dict[int, Message] = {}
        """Every message of this sequence."""
        self.silent_until = 0.0
        """Until then polls get nothing."""
        self.swapping = False
        """Whether the next message is to come after the one behind it."""
        self._next = FIRST
        self._pending: list[Event] = []
        self._again: deque[Message] = deque()
        """To be delivered whatever the cursor says."""
        self._late: Message | None = None
        """One that lets the next one pass."""

    def post(self, event: Event) -> None:
        """Have an event told."""
        self._pending.append(event)

    def post_raw(self, raw: dict[str, Any]) -> int:
        """Have a message of any form, kept until it is acknowledged; its number, if it has none, is the next."""
        number = raw.get("messageId")
        if not isinstance(number, int):
            number, self._next = self._next, self._next + 1
        self._keep(Message(id=number, events=(), body=json.dumps({"messageId": number, **raw}).encode()))
        return number

    def take(
        self, after: int, now: float, statistics: Callable[[], dict[str, int]], *, fresh: bool, last: bool
    ) -> Message | None:
        """What a poll gets now, if anything.

        `after` is its cursor. A `fresh` poll has just come, `last` is its last look: it then gets what would have come
        after another message that never came.
        """
        if now < self.silent_until:
            return None
        if self._again:
            return self._again.popleft()
        for number, message in self.kept.items():
            if number > after:
                return message
        message = self._make(now, statistics, fresh=fresh)
        if message is not None and self.swapping:
            self.swapping, self._late = False, message
            message = self._make(now, statistics, fresh=fresh)
        if self._late is not None and (message is not None or last):
            late, self._late = self._late, None
            self._keep(late)
            if message is None:
                return late
            self._again.append(late)
        if message is not None:
            self._keep(message)
        return message

    def next_due(self, now: float) -> float | None:
        """When something can be told that cannot be told now."""
        if not self._pending and not self.kept and not self._again:
            return None
        if now < self.silent_until:
            return self.silent_until
        return min((event.due for event in self._pending if event.due > now), default=None)

    def acknowledge(self, number: int) -> bool:
        """Keep a message no more; whether it was kept."""
        return self.kept.pop(number, None) is not None

    def again(self, number: int) -> None:
        """Deliver a message once more, acknowledged or not. Raises KeyError for one that never was."""
        self._again.append(self.history[number])

    def restart(self) -> None:
        """Numbers begin anew; what was not acknowledged comes again under new ones."""
        kept = [event for message in self.kept.values() for event in message.events]
        late = list(self._late.events) if self._late else []
        self._pending[:0] = kept + late
        self.kept, self.history, self._late, self._next = {}, {}, None, FIRST
        self._again.clear()

    def _make(self, now: float, statistics: Callable[[], dict[str, int]], *, fresh: bool) -> Message | None:
        ready = [event for event in self._pending if event.due <= now]
        if not ready or not (fresh or any(event.wakes for event in ready)):
            return None
        told = tuple(ready[:MOST_EVENTS])
        chosen = {id(event) for event in told}
        self._pending = [event for event in self._pending if id(event) not in chosen]
        value = {
            "messageId": self._next,
            "messageType": KIND,
            "body": json.dumps([event.document for event in told]),
            "statistics": statistics(),
        }
        self._next += 1
        return Message(id=self._next - 1, events=told, body=json.dumps(value).encode())

    def _keep(self, message: Message) -> None:
        self.history[message.id] = self.kept[message.id] = message
        if next(reversed(self.kept)) != max(self.kept):
            self.kept = dict(sorted(self.kept.items()))
