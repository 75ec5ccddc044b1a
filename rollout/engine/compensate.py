"""Undoes what a run that did not pass has done: in reverse order of dependency, and later ends first."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from typing import Any, Literal

from rollout.engine.backend import Busy, Failed, Outcome, Passed
from rollout.engine.events import Kind
from rollout.engine.limits import Limits
from rollout.engine.logs import UNDO
from rollout.engine.means import Means
from rollout.engine.outputs import MissingOutputError, resolve
from rollout.engine.record import Record
from rollout.engine.report import CompensationResult
from rollout.engine.resume import Past
from rollout.engine.retry import wait_while_busy
from rollout.engine.spec import Compensation
from rollout.engine.steps import Steps
from rollout.engine.supervise import Try


class Undoing:
    """All compensations of a run. A step is undone once all that came after it is; one that fails holds up no other.

    A first stop does not touch them: it is what they are for. They keep to the run's total and to its backends' limits.
    """

    def __init__(self, steps: Steps, means: Means, limits: Limits, past: Past) -> None:
        self._steps = steps
        self._means = means
        self._past = past
        self.results: list[CompensationResult] = []
        """In the order in which they ended."""
        self._waits = {step_id: len(self._later(step_id)) for step_id in steps.records}
        """How many steps that came after one are not dealt with."""
        self._room = _Room(limits)
        self._running: dict[Try, asyncio.Future[Outcome]] = {}
        self._killed = asyncio.Event()

    async def run(self) -> None:
        """Undo all that started. Raises nothing of a backend's."""
        async with asyncio.TaskGroup() as group:
            self._go_on(group, [step_id for step_id, count in self._waits.items() if not count])

    def kill(self) -> None:
        """End those that run now, and leave out the others."""
        self._killed.set()
        for attempt in list(self._running):
            attempt.kill()

    # What tries hand in: see `supervise.Desk`.

    async def attached(self, attempt: Try, external_id: str, link: str) -> None:
        """By what name the undoing is known outside."""
        self._means.note("attach", step=attempt.step_id, undo=True, id=external_id, link=link)
        await self._means.commit()

    def progressed(self, attempt: Try, text: str) -> None:
        """What goes on."""
        self._means.bus.publish(Kind.PROGRESS, step=attempt.step_id, data={"text": text})

    def over(self, attempt: Try, outcome: Outcome) -> None:
        """It has ended."""
        self._running[attempt].set_result(outcome)

    def fault(self, text: str) -> None:
        """A log raised."""
        self._means.fault(text)

    # The way back through the graph.

    def _go_on(self, group: asyncio.TaskGroup, free: Iterable[str]) -> None:
        """Begin those that nothing is left after; what needs no undoing is passed over, however long the way is."""
        ready: list[Record] = []
        waiting = deque(free)
        while waiting:
            record = self._steps.records[waiting.popleft()]
            if record.step.compensation and record.started and not self._was_done(record):
                ready.append(record)
            else:
                waiting.extend(self._freed(record))
        for record in sorted(ready, key=lambda record: record.ended_at or 0.0, reverse=True):
            group.create_task(self._deal_with(group, record), name=f"undo {record.step.id}")

    def _freed(self, record: Record) -> list[str]:
        before = [*self._steps.graph.needs(record.step.id), *([record.parent] if record.parent else [])]
        for step_id in before:
            self._waits[step_id] -= 1
        return [step_id for step_id in dict.fromkeys(before) if not self._waits[step_id]]

    def _later(self, step_id: str) -> list[str]:
        """What came after a step: those that need it, and those that it added."""
        return [*self._steps.graph.dependents(step_id), *self._steps.children.get(step_id, ())]

    def _was_done(self, record: Record) -> bool:
        """Whether a former process came to its end; the result is taken over."""
        line = self._past.of(record.step.id).undo
        if line is None or line["outcome"] not in ("passed", "failed"):
            return False
        self.results.append(result_of(line))
        return True

    # One of them.

    async def _deal_with(self, group: asyncio.TaskGroup, record: Record) -> None:
        assert record.step.compensation
        async with self._room.of(record.step.compensation.backend):
            if self._killed.is_set():
                self._ended(record, "left-out", "a second stop came first", 0.0)
            else:
                await self._undo(record, record.step.compensation)
        self._go_on(group, self._freed(record))

    async def _undo(self, record: Record, compensation: Compensation) -> None:
        means, step_id = self._means, record.step.id
        began = means.now()
        try:
            params = resolve(compensation.params, self._steps.outputs, "compensation.params")
        except (MissingOutputError, KeyError) as error:
            self._ended(record, "failed", f"missing-output: {error}", 0.0)
            return
        means.note("undo", step=step_id, outcome="started", message="", seconds=0.0)
        await means.commit()
        means.bus.publish(Kind.COMPENSATING, step=step_id, data={"outcome": "started", "message": ""})
        outcome = await self._tried(record, compensation, params, began + compensation.timeout_seconds)
        self._judge(record, outcome, compensation, means.now() - began)
        await means.commit()

    async def _tried(
        self, record: Record, compensation: Compensation, params: dict[str, Any], deadline: float
    ) -> Outcome:
        """The first outcome that is not Busy, or the last one in time."""
        external_id, times = self._past.of(record.step.id).undo_external_id, 0
        while True:
            attempt = self._means.attempt(record.step.id, UNDO, params, backend=compensation.backend, desk=self)
            outcome = await self._called(attempt, external_id, deadline)
            external_id, times = "", times + 1
            if not isinstance(outcome, Busy) or not await self._wait(record, outcome, times, deadline):
                return outcome

    async def _called(self, attempt: Try, external_id: str, deadline: float) -> Outcome:
        loop = asyncio.get_running_loop()
        over = self._running[attempt] = loop.create_future()
        timer = loop.call_at(deadline, attempt.cancel)
        try:
            attempt.start(external_id)
            return await over
        finally:
            timer.cancel()
            attempt.leave()
            del self._running[attempt]

    async def _wait(self, record: Record, busy: Busy, times: int, deadline: float) -> bool:
        """There is no room: wait, and say whether there is time left."""
        means = self._means
        asked = busy.retry_after_seconds
        seconds = wait_while_busy(record.step.retry, times=times, asked_seconds=asked, random=means.random)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(min(means.now() + seconds, deadline)):
                await self._killed.wait()
        return means.now() < deadline and not self._killed.is_set()

    def _judge(self, record: Record, outcome: Outcome, compensation: Compensation, seconds: float) -> None:
        match outcome:
            case Passed():
                self._ended(record, "passed", outcome.message, seconds)
            case Busy():
                told = f"backend {compensation.backend} had no room in all its time: {outcome.message}"
                self._ended(record, "failed", told, seconds)
            case Failed():
                late = seconds >= compensation.timeout_seconds
                why = f"not done in {compensation.timeout_seconds:g} s, " if late else ""
                why = "a second stop ended it, " if self._killed.is_set() else why
                self._ended(record, "failed", f"{why}{outcome.code}: {outcome.message}", seconds)

    def _ended(
        self, record: Record, outcome: Literal["passed", "failed", "left-out"], message: str, seconds: float
    ) -> None:
        line = {"step": record.step.id, "outcome": outcome, "message": message, "seconds": seconds}
        self.results.append(result_of(line))
        self._means.note("undo", **line)
        data = {"outcome": outcome, "message": message}
        self._means.bus.publish(Kind.COMPENSATING, step=record.step.id, data=data)


def result_of(line: dict[str, Any]) -> CompensationResult:
    """A result as the journal has it."""
    return CompensationResult(
        id=line["step"], outcome=line["outcome"], message=line["message"], run_seconds=line["seconds"]
    )


class _Room:
    """Room for so many at once, in all and on each backend."""

    def __init__(self, limits: Limits) -> None:
        self._total = asyncio.Semaphore(limits.total) if limits.total else None
        self._backends = {name: asyncio.Semaphore(units) for name, units in limits.backends.items()}

    @contextlib.asynccontextmanager
    async def of(self, backend: str) -> AsyncGenerator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for semaphore in (self._backends.get(backend), self._total):
                if semaphore:
                    await stack.enter_async_context(semaphore)
            yield
