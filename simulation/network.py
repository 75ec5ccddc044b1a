"""The network between all parts, in memory: latency drawn from the assumptions, and what may become of a request.

Nothing but latency is invented here. The stand-ins' faults strike at their door (`emulators.door`), and a part that
somebody has cut off reaches nobody.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from emulators.door import Door, DroppedError, Visit
from emulators.route import Reply
from simulation.assumptions import Assumptions
from simulation.clock import VirtualClock
from simulation.pulse import Pulse


class LostError(Exception):
    """No answer came. `sent` is False where the request certainly did not arrive."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Break:
    """What fails on the way from one part to whatever has this text in its URL: it gets 503."""

    part: str
    text: str


class Network:
    """The way to GitHub and to Google Cloud."""

    def __init__(
        self, door: Door, clock: VirtualClock, pulse: Pulse, assumed: Assumptions, chance: random.Random
    ) -> None:
        self._door = door
        self._clock = clock
        self._pulse = pulse
        self._assumed = assumed
        self._chance = chance
        self.cut_off: set[str] = set()
        """Parts whose requests get nowhere: crashed ones, until they are started anew, and those without network."""
        self.broken: set[Break] = set()
        self.observers: list[Callable[[Visit], None]] = []
        """Called with every request that a stand-in has executed."""
        self.asked: Counter[str] = Counter()
        """Requests by part."""

    async def exchange(
        self,
        part: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout_seconds: float,
    ) -> Reply:
        """One request and its answer. Raises LostError."""
        until = self._clock.now() + timeout_seconds
        self.asked[part] += 1
        if part in self.cut_off:
            raise LostError("no route", sent=False)
        # All of it before the request arrives: what a part does next comes that much after its answer in any case.
        await asyncio.sleep(self._assumed.api_seconds.draw(self._chance))
        if self._clock.now() >= until:
            raise LostError("timeout", sent=False)
        if self.broken and any(each.part == part and each.text in url for each in self.broken):
            return Reply(status=503)
        visit = self._door.visit(method, url, headers, body or b"")
        try:
            reply = visit.answer()
            self._pulse.beat()
            if visit.record.executed:
                for observe in self.observers:
                    observe(visit)
            if reply is None:
                reply = await self._held(visit, until)
        except DroppedError:
            self._pulse.beat()
            raise LostError("reset", sent=True) from None
        if part in self.cut_off:
            raise LostError("timeout", sent=True)
        return reply

    async def _held(self, visit: Visit, until: float) -> Reply:
        """The answer to a request that is not answered at once."""
        answers: list[Reply | None] = []
        """One at most; None where the connection was dropped instead."""

        def answered() -> bool:
            if not answers:
                try:
                    reply = visit.answer()
                except DroppedError:
                    answers.append(None)
                else:
                    answers.extend(() if reply is None else (reply,))
            return bool(answers)

        while not await self._pulse.until(answered, min(visit.until, until)):
            if self._clock.now() >= until:
                visit.record.gone = True
                raise LostError("timeout", sent=True)
        self._pulse.beat()
        if answers[0] is None:
            raise DroppedError
        return answers[0]
