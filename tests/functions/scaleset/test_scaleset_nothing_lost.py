"""Whatever goes wrong, in whatever order: every message is acted on, and none is acknowledged before."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence

import scaleset
from hypothesis import given, settings
from hypothesis import strategies as st
from scaleset.listen import MOST_DELIVERIES
from scaleset.transport import Response, TransportError
from scaleset_service import Request, Service, client, job, message, play, refusal, reply

SPEC = scaleset.ScaleSetSpec(name="fleet-a")
MESSAGES = 6
FAULTS = ["well", "well", "unsent", "lost", "unavailable", "unauthorised", "missing", "empty", "garbage", "conflict"]
LAST_STRAW = 3600.0
"""By then it has recovered from anything that the lists below can hold."""


class Queue(Service):
    """A service with a log of messages, as GitHub keeps it, that meets a drawn fault at each call of the drawn list."""

    def __init__(self, faults: Sequence[str], restart_after: int) -> None:
        super().__init__()
        self.faults = iter(faults)
        self.restart_after = restart_after
        self.log = {100000000 + number: job("JobAssigned", number) for number in range(1, MESSAGES + 1)}
        self.acknowledged: list[str] = []

    async def well(self, request: Request) -> Response:
        if request.call not in {"poll", "acknowledge", "open", "refresh", "close", "acquire"}:
            return await super().well(request)
        fault = next(self.faults, "well")
        if fault in {"well", "lost"}:
            answer = await self._do(request)
            if fault == "lost":
                raise TransportError("ServerDisconnectedError", sent=True)
            return answer
        if fault == "unsent":
            raise TransportError("ClientConnectorError", sent=False)
        return {
            "unavailable": reply(503),
            "unauthorised": reply(401),
            "missing": refusal(404, "RunnerScaleSetNotFoundException"),
            "empty": reply(200, body=b""),
            "garbage": reply(200, body=b"<html>"),
            "conflict": refusal(409, "RunnerScaleSetSessionConflictException"),
        }[fault]

    async def _do(self, request: Request) -> Response:
        if request.call == "poll":
            cursor = int(request.url.rpartition("lastMessageId=")[2]) if "lastMessageId" in request.url else 0
            number = next((number for number in self.log if number > cursor), None)
            if number is not None:
                return reply(200, message(number - 100000000, self.log[number]))
        if request.call == "acknowledge":
            found = self.log.pop(int(request.url.rpartition("/")[2]), None)
            if found is None:
                return reply(404)
            self.acknowledged.append(found["jobId"])
            if len(self.acknowledged) == self.restart_after:
                # The numbers begin anew, far below the cursor.
                self.log = {1 + place: each for place, each in enumerate(self.log.values())}
        return await super().well(request)


class Handler:
    """Fails as drawn."""

    def __init__(self, queue: Queue, failures: Sequence[bool], stop: asyncio.Event) -> None:
        self.queue = queue
        self.failures = iter(failures)
        self.stop = stop
        self.done: list[str] = []
        self.failed = Counter[str]()

    def capacity(self) -> int:
        return 10

    async def handle(self, _: scaleset.Statistics, jobs: Sequence[scaleset.JobMessage], /) -> None:
        names = [each.job_id for each in jobs]
        assert not set(names) & set(self.queue.acknowledged), "what was acknowledged is not delivered again"
        if names and next(self.failures, False):
            self.failed.update(names)
            raise RuntimeError
        self.done += names

    async def unreadable(self, message_id: int, body: str, deliveries: int, /) -> None:
        assert (message_id, body) == (0, "<html>")
        assert deliveries <= MOST_DELIVERIES

    def told(self, event: scaleset.Event, /) -> None:
        json.dumps({"what": event.what, "error": str(event.error)})


@given(
    st.lists(st.sampled_from(FAULTS), max_size=40),
    st.lists(st.booleans(), max_size=12),
    st.integers(0, MESSAGES - 1),
)
@settings(max_examples=150)
def test_every_message_is_acted_on_before_it_is_acknowledged(faults, failures, restart_after):
    queue = Queue(faults, restart_after)

    async def script() -> Handler:
        stop = asyncio.Event()
        handler = Handler(queue, failures, stop)
        listening = asyncio.ensure_future(scaleset.listen(client(queue), SPEC, handler, owner="me", stop=stop))
        await asyncio.sleep(LAST_STRAW)
        assert not listening.done()
        stop.set()
        await listening
        return handler

    handler = play(script())
    assert len(queue.acknowledged) == MESSAGES
    for name in queue.acknowledged:
        assert name in handler.done or handler.failed[name] >= MOST_DELIVERIES
    assert not queue.log
