"""One call of a backend, supervised: it ends for the engine in good time, whatever the backend does.

The call runs in a task of its own. A backend that raises has failed with the code `backend-bug`. One that is to end is
first asked, then cancelled after the grace, and after that, should it swallow even its cancellation, it is left behind:
the call is over with the code `deaf`, and its work may still go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from rollout.engine.backend import Backend, Busy, Failed, Outcome, Passed
from rollout.engine.logs import Log, LogSink

CANCELLED: Final = "cancelled"
"""The code of a try that ended because it was asked to, or was made to."""
DEAF: Final = "deaf"
BUG: Final = "backend-bug"


class Desk(Protocol):
    """Where a try hands in what it has to say; the engine's side of an attempt."""

    async def attached(self, attempt: Try, external_id: str, link: str) -> None:
        """Returns once it is durable."""
        ...

    def progressed(self, attempt: Try, text: str) -> None:
        """Returns at once."""
        ...

    def over(self, attempt: Try, outcome: Outcome) -> None:
        """Called once for every try, from the event loop."""
        ...

    def fault(self, text: str) -> None:
        """Something of the caller's, not a backend's, raised."""
        ...


class Try:
    """One try of one step, or the undoing of one: what the backend sees as its `Attempt`, and what ends it."""

    __slots__ = (
        "_ask",
        "_backend",
        "_desk",
        "_grace_seconds",
        "_kill_seconds",
        "_killed",
        "_log",
        "_logs",
        "_task",
        "_timer",
        "cancelled",
        "ended",
        "number",
        "params",
        "step_id",
        "timed_out",
    )

    def __init__(
        self,
        step_id: str,
        number: int,
        params: Mapping[str, Any],
        *,
        backend: Backend,
        desk: Desk,
        logs: LogSink | None,
        grace_seconds: float,
        kill_seconds: float,
    ) -> None:
        self.step_id = step_id
        self.number = number
        self.params = params
        self.cancelled = asyncio.Event()
        self.ended = False
        self.timed_out = ""
        """The code of the timeout that ends it, or nothing. It is the engine's, and no business of the backend's."""
        self._backend = backend
        self._desk = desk
        self._logs = logs
        self._log: Log | None = None
        self._grace_seconds = grace_seconds
        self._kill_seconds = kill_seconds
        self._task: asyncio.Task[Outcome] | None = None
        self._ask: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._killed = False

    def start(self, external_id: str = "") -> None:
        """Begin, or wait for what a former process began under that name."""
        self._task = asyncio.create_task(self._call(external_id), name=f"try {self.step_id}")
        self._task.add_done_callback(self._done)

    def cancel(self) -> None:
        """Ask for a graceful end, and make it one once the grace is over. A second time is no other than once."""
        if self.ended or self.cancelled.is_set():
            return
        self.cancelled.set()
        self._ask = asyncio.create_task(self._asked(), name=f"cancel {self.step_id}")
        self._timer = asyncio.get_running_loop().call_later(self._grace_seconds, self.kill)

    def kill(self) -> None:
        """End it now: its task is cancelled, and left behind should that not help."""
        if self.ended or self._killed:
            return
        self._killed = True
        self.cancelled.set()
        self._stop_timers()
        self._timer = asyncio.get_running_loop().call_later(self._kill_seconds, self._leave_behind)
        if self._task:
            self._task.cancel()

    def leave(self) -> None:
        """Nobody waits for it any more, and it hands in nothing more. Its task is cancelled, if it has not ended."""
        if self.ended:
            return
        self.ended = True
        self._stop_timers()
        self._close_log()
        if self._task:
            self._task.cancel()

    async def gone(self, seconds: float) -> None:
        """Wait until its task is gone, but not for longer."""
        if self._task:
            await asyncio.wait({self._task}, timeout=seconds)

    async def attach(self, external_id: str, link: str = "") -> None:
        """See `Attempt`. After the try's end nobody listens any more."""
        if not self.ended:
            await self._desk.attached(self, external_id, link)

    def progress(self, text: str) -> None:
        """See `Attempt`."""
        if not self.ended:
            self._desk.progressed(self, text)

    def write(self, data: bytes) -> None:
        """See `Attempt`. A log that raises is written to no more in this try."""
        if self.ended or self._logs is None:
            return
        try:
            if self._log is None:
                self._log = self._logs.open(self.step_id, self.number)
            self._log.write(data)
        except Exception as error:  # noqa: BLE001 - a log's fault must not become the step's
            self._logs = None
            self._desk.fault(f"log of {self.step_id}, try {self.number}: {type(error).__name__}: {error}")

    async def _call(self, external_id: str) -> Outcome:
        try:
            if external_id:
                outcome: Any = await self._backend.reattach(self, external_id)
            else:
                outcome = await self._backend.run(self)
        except asyncio.CancelledError:
            if self._killed:
                return Failed(code=CANCELLED, message="was made to end")
            return Failed(code=BUG, message="was cancelled from within the backend")
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a backend's fault must not become the run's
            return Failed(code=BUG, message=f"the backend raised {type(error).__name__}: {error}")
        if not isinstance(outcome, (Passed, Failed, Busy)):
            return Failed(code=BUG, message=f"the backend returned {outcome!r:.80}, not Passed, Failed or Busy")
        return outcome

    async def _asked(self) -> None:
        try:
            await self._backend.cancel(self)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the same; the grace ends it
            self._desk.fault(f"cancelling {self.step_id}: the backend raised {type(error).__name__}: {error}")

    def _done(self, task: asyncio.Task[Outcome]) -> None:
        # A task that is cancelled before its first step never gets to catch that.
        outcome = (
            Failed(code=CANCELLED, message="was made to end before it began") if task.cancelled() else task.result()
        )
        self._end(outcome)

    def _leave_behind(self) -> None:
        seconds = f"{self._kill_seconds:g} s"
        self._end(Failed(code=DEAF, message=f"did not end within {seconds} of being cancelled; it may still run"))

    def _end(self, outcome: Outcome) -> None:
        if self.ended:
            return
        self.ended = True
        self._stop_timers()
        self._close_log()
        self._desk.over(self, outcome)

    def _stop_timers(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._ask:
            self._ask.cancel()
            self._ask = None

    def _close_log(self) -> None:
        log, self._log = self._log, None
        if log is None:
            return
        try:
            log.close()
        except Exception as error:  # noqa: BLE001 - the same as for writing
            self._desk.fault(f"log of {self.step_id}, try {self.number}: {type(error).__name__}: {error}")


async def guarded(what: str, call: Callable[[], Awaitable[object]], *, seconds: float) -> str:
    """Wait for a call, at most for so long, and give what was wrong, or nothing.

    One that then will not be cancelled is left behind.
    """

    async def run() -> str:
        try:
            await call()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whose fault it is, is said; the run goes on
            return f"{what} raised {type(error).__name__}: {error}"
        return ""

    task = asyncio.create_task(run(), name=what)
    _, late = await asyncio.wait({task}, timeout=seconds)
    if late:
        task.cancel()
        await asyncio.wait({task}, timeout=seconds)
        return f"{what} did not end within {seconds:g} s"
    return "" if task.cancelled() else task.result()
