"""Listening to one scale set until told to stop: nothing lost, nothing acknowledged before it was acted on.

The order is that of GitHub's own listener after v0.4.0 (actions/scaleset#113): at least once. A message is acknowledged
after `Handler.handle` returned; a crash before that brings it again, to whoever opens the next session. So a handler
must be idempotent, by job id.

What is added to GitHub's listener, which ends its process at the first error:

- A conflict is waited out: after a crash the old session lapses 50-92 s after its last request (measured by others).
- A session that is lost is replaced, and a scale set that is gone is made again: GitHub deletes unused ones.
- A message that fails three times is dropped, and told, so that it cannot block the scale set for ever. A handler that
  cannot act for now says so with NotNowError, which is no fault of the message: it stays for as long as that lasts.
- An empty poll is followed by one from the start of the log. What was acknowledged is no longer there, so that this
  repeats nothing; but GitHub has begun a sequence of ids anew, and a cursor would then lie ahead of every message.
- An empty poll repeats the last counters to the handler, whose earlier attempt may have failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import Sequence
from typing import Any, Final, Protocol

from .client import MessageSession, ScaleSetClient
from .errors import (
    CredentialsError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    ScaleSetError,
    SessionConflictError,
    SessionExpiredError,
    UnauthorizedError,
    UnavailableError,
    UnreadableMessageError,
)
from .events import Event, What
from .messages import JobAvailable, JobMessage, Message, ScaleSetSpec, Statistics

MOST_DELIVERIES: Final = 3
CONFLICT_PAUSE_SECONDS: Final = 5.0
SHORT_PAUSE_SECONDS: Final = 1.0
"""Before what failed is tried again, or what was empty at once is asked for again; it doubles with every failure."""
LONG_PAUSE_SECONDS: Final = 30.0
"""After what somebody must mend: credentials, permissions, a runner group that is not there; it doubles, too."""
LONGEST_SHORT_SECONDS: Final = 30.0
LONGEST_LONG_SECONDS: Final = 300.0
LONGEST_LIMIT_SECONDS: Final = 900.0
"""A rate limit is obeyed up to here; then it is tried whether it still holds."""
CLOSE_SECONDS: Final = 4.0
"""For closing the session when told to stop."""


class NotNowError(Exception):
    """Raised by a handler that cannot act for now: its own store does not answer, or it may not act any more."""


class Acted(enum.Enum):
    """What became of handing something to the handler."""

    DONE = "done"
    FAILED = "failed"
    NOT_NOW = "not now"


class Handler(Protocol):
    """What acts. Its coroutines hold up this scale set's messages, nothing else: what takes long belongs elsewhere."""

    def capacity(self) -> int:
        """The most jobs that the scale set may hold, running ones included; at least 1, and asked before every poll."""
        ...

    async def handle(self, statistics: Statistics, jobs: Sequence[JobMessage], /) -> None:
        """Act on the counters, and on what happened to jobs. It may come again: be idempotent by job id.

        Whatever it raises leaves the message where it is, to be delivered again; but for NotNowError three times at
        most.
        """
        ...

    async def unreadable(self, message_id: int, body: str, deliveries: int, /) -> None:
        """Keep a message that cannot be parsed, at each of its deliveries. The id is 0 where there is none to read."""
        ...

    def told(self, event: Event, /) -> None:
        """Log or count what happened."""
        ...


async def listen(
    client: ScaleSetClient, spec: ScaleSetSpec, handler: Handler, *, owner: str, stop: asyncio.Event
) -> None:
    """Make sure of the scale set and pass its messages to the handler, until `stop` is set.

    `owner` names the session to whoever looks. Failures of GitHub never end it: they are told, and waited out. When
    `stop` is set, or this is cancelled, what runs is cancelled at once and the session is closed, in 4 seconds at most.
    Raises ValueError when the handler's capacity is below 1: 0 is never advertised while serving. What `capacity` and
    `told` raise ends it, too.
    """
    _capacity(handler)
    work = asyncio.ensure_future(_Listener(client, spec, handler, owner).run())
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        work.cancel()
        await asyncio.wait({work, stopped})
    if not work.cancelled():
        work.result()


class _Listener:
    def __init__(self, client: ScaleSetClient, spec: ScaleSetSpec, handler: Handler, owner: str) -> None:
        self._client = client
        self._spec = spec
        self._handler = handler
        self._owner = owner
        self._scale_set_id = 0
        """As far as it is known; 0 has it looked up, and made where it is not there."""
        self._cursor = 0
        self._statistics = Statistics()
        """The last that came."""
        self._failures = 0
        """In a row."""
        self._deliveries: dict[int, int] = {}
        """Of messages that failed so far."""
        self._put_off = 0
        """How often in a row the handler could not act for now."""

    async def run(self) -> None:
        """For ever, until cancelled."""
        while True:
            try:
                if not self._scale_set_id:
                    await self._ensure()
                session = await self._opened()
            except ScaleSetError as error:
                # A scale set that was there and is gone is no lasting fault: it is made again.
                gone = isinstance(error, NotFoundError) and self._scale_set_id != 0
                if gone:
                    self._scale_set_id = 0
                await self._fail(error, lasting=not gone and isinstance(error, _LASTING))
                continue
            try:
                lost = await self._serve(session)
            finally:
                await self._close(session)
            if lost is not None:
                await self._fail(lost, lasting=False)

    # The scale set and its session.

    async def _ensure(self) -> None:
        ensured = await self._client.ensure(self._spec)
        self._scale_set_id = ensured.scale_set.id
        if ensured.made:
            self._tell(What.SCALE_SET_MADE)
        if ensured.update_refused:
            self._tell(What.UPDATE_REFUSED)
        if ensured.labels_missing:
            self._tell(What.LABELS_MISSING, labels=ensured.labels_missing)

    async def _opened(self) -> MessageSession:
        """A session, however long another one is in the way."""
        began = self._time()
        while True:
            try:
                session = await self._open()
            except SessionConflictError as error:
                waited = self._time() - began
                pause = self._client.retry.spread(CONFLICT_PAUSE_SECONDS)
                self._tell(What.SESSION_CONFLICT, error=error, waited_seconds=waited, pause_seconds=pause)
                await asyncio.sleep(pause)
            else:
                self._tell(What.SESSION_OPENED)
                return session

    async def _open(self) -> MessageSession:
        """One try. Cancelled meanwhile, it waits for the answer: a session that nobody knows of keeps others out."""
        opening = asyncio.ensure_future(self._client.open_session(self._scale_set_id, self._owner))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            with contextlib.suppress(ScaleSetError, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await (await opening).close()
            raise

    async def _close(self, session: MessageSession) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await session.close()
        except (ScaleSetError, TimeoutError) as error:
            self._tell(What.CLOSE_FAILED, error=error)
        else:
            self._tell(What.SESSION_CLOSED)

    # Messages.

    async def _serve(self, session: MessageSession) -> ScaleSetError | None:
        """Take messages until the session is lost: why, if it never served, and another would perhaps not either."""
        served = False
        self._cursor = 0
        self._statistics = session.statistics
        for attempt in range(MOST_DELIVERIES):
            if await self._act(()) is Acted.DONE:
                break
            await asyncio.sleep(self._client.retry.spread(SHORT_PAUSE_SECONDS * 2**attempt))
        while True:
            try:
                await self._step(session)
            except (SessionExpiredError, UnauthorizedError) as error:
                self._tell(What.SESSION_LOST, error=error)
                return None if served else error
            except ScaleSetError as error:
                await self._fail(error, lasting=isinstance(error, _LASTING))
            else:
                self._failures, served = 0, True

    async def _step(self, session: MessageSession) -> None:
        """One poll, and what follows from it. Raises ScaleSetError."""
        capacity = _capacity(self._handler)
        began, refreshes = self._time(), session.refreshes
        try:
            message = await session.poll(max_capacity=capacity, last_message_id=self._cursor)
        except UnreadableMessageError as error:
            await self._keep(session, error)
            return
        if session.refreshes != refreshes:
            self._tell(What.SESSION_REFRESHED)
        if message is not None:
            await self._take(session, message)
            return
        self._cursor = 0
        held = self._time() - began >= SHORT_PAUSE_SECONDS
        await self._act(())
        if not held:
            await asyncio.sleep(self._client.retry.spread(SHORT_PAUSE_SECONDS))

    async def _take(self, session: MessageSession, message: Message) -> None:
        self._statistics = message.statistics or self._statistics
        await self._acquire(session, message.jobs)
        acted = await self._act(message.jobs, message.message_id)
        if acted is Acted.NOT_NOW:
            pause = min(LONGEST_SHORT_SECONDS, SHORT_PAUSE_SECONDS * 2 ** min(self._put_off, 10))
            self._put_off += 1
            await asyncio.sleep(self._client.retry.spread(pause))
            return
        self._put_off = 0
        if acted is Acted.FAILED and not await self._drop(message.message_id):
            return
        await self._acknowledge(session, message.message_id)

    async def _acquire(self, session: MessageSession, jobs: Sequence[JobMessage]) -> None:
        """Take all offers: there is room for what the capacity let come. What passes is raised, and tried again."""
        offers = [job.runner_request_id for job in jobs if isinstance(job, JobAvailable) and job.runner_request_id]
        if not offers:
            return
        try:
            await session.acquire(offers)
        except (UnavailableError, RateLimitedError, SessionExpiredError, UnauthorizedError):
            raise
        except ScaleSetError as error:
            self._tell(What.OFFERS_REFUSED, error=error)

    async def _act(self, jobs: Sequence[JobMessage], message_id: int = 0) -> Acted:
        """Have the handler do its part."""
        try:
            await self._handler.handle(self._statistics, jobs)
        except NotNowError as error:
            self._tell(What.PUT_OFF, message_id=message_id, error=error)
            return Acted.NOT_NOW
        except Exception as error:  # noqa: BLE001 - whatever it is, the message stays and others must go on
            deliveries = self._deliveries.get(message_id, 0) + 1 if message_id else 0
            self._tell(What.HANDLING_FAILED, message_id=message_id, deliveries=deliveries, error=error)
            return Acted.FAILED
        return Acted.DONE

    async def _keep(self, session: MessageSession, unreadable: UnreadableMessageError) -> None:
        message_id = unreadable.message_id
        deliveries = self._deliveries.get(message_id, 0) + 1
        self._tell(What.MESSAGE_UNREADABLE, message_id=message_id, deliveries=deliveries, error=unreadable)
        try:
            await self._handler.unreadable(message_id, unreadable.body, deliveries)
        except Exception as error:  # noqa: BLE001 - as above
            self._tell(What.HANDLING_FAILED, message_id=message_id, deliveries=deliveries, error=error)
        if not await self._drop(message_id):
            return
        if not message_id:
            # It cannot be acknowledged. A new session brings new counters, at least.
            self._deliveries.pop(0)
            raise SessionExpiredError("three answers were no message", status=unreadable.status)
        await self._acknowledge(session, message_id)

    async def _drop(self, message_id: int) -> bool:
        """Count a delivery that failed: whether it was the last. Before the next there is a pause."""
        deliveries = self._deliveries.get(message_id, 0) + 1
        self._deliveries[message_id] = deliveries
        if deliveries >= MOST_DELIVERIES:
            self._tell(What.MESSAGE_DROPPED, message_id=message_id, deliveries=deliveries)
            return True
        await asyncio.sleep(self._client.retry.spread(SHORT_PAUSE_SECONDS * 2 ** (deliveries - 1)))
        return False

    async def _acknowledge(self, session: MessageSession, message_id: int) -> None:
        await session.acknowledge(message_id)
        self._deliveries.pop(message_id, None)
        self._cursor = message_id

    # Telling and waiting.

    async def _fail(self, error: ScaleSetError, *, lasting: bool) -> None:
        pause = self._client.retry.spread(pause_seconds(error, self._failures, lasting=lasting))
        self._failures += 1
        self._tell(What.FAILED, error=error, pause_seconds=pause)
        await asyncio.sleep(pause)

    def _tell(self, what: What, **told: Any) -> None:
        self._handler.told(Event(what=what, scale_set=self._spec.name, scale_set_id=self._scale_set_id, **told))

    @staticmethod
    def _time() -> float:
        return asyncio.get_running_loop().time()


_LASTING: Final = (CredentialsError, ForbiddenError, NotFoundError, UnauthorizedError)


def pause_seconds(error: ScaleSetError, failures: int, *, lasting: bool) -> float:
    """How long to wait after a failure that so many others came before, in a row."""
    first, longest = (
        (LONG_PAUSE_SECONDS, LONGEST_LONG_SECONDS) if lasting else (SHORT_PAUSE_SECONDS, LONGEST_SHORT_SECONDS)
    )
    own = min(longest, first * 2 ** min(failures, 10))
    asked = error.retry_after_seconds if isinstance(error, RateLimitedError | UnavailableError) else 0.0
    return max(own, min(asked, LONGEST_LIMIT_SECONDS))


def _capacity(handler: Handler) -> int:
    capacity = handler.capacity()
    if capacity < 1:
        raise ValueError(f"capacity() is {capacity}: 0 is never advertised while serving; the least is 1")
    return capacity
