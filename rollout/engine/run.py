"""A run: one plan carried out once, from its first step to its report.

Whatever happens (a try ends, a timer is due, somebody calls) is put into one inbox, and one task takes it out and makes
all changes. So no two changes ever meet, and between two things that happen the engine sleeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import secrets
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from random import Random
from typing import Final

from rollout.engine.backend import Backend
from rollout.engine.bus import Bus
from rollout.engine.cautious import cautious, subscribed
from rollout.engine.course import Course
from rollout.engine.events import Kind, Observer
from rollout.engine.gates import Approver, Decision
from rollout.engine.graph import Graph
from rollout.engine.inbox import Inbox
from rollout.engine.journal import Journal, JournalError
from rollout.engine.limits import Limits
from rollout.engine.logs import LogSink
from rollout.engine.means import Means
from rollout.engine.report import Report, Verdict
from rollout.engine.resume import read
from rollout.engine.spec import Plan
from rollout.engine.stop import Stage, stop_on_signals
from rollout.engine.supervise import guarded

__all__ = ["Run", "stop_on_signals"]


LARGE: Final = 5_000
"""Steps of a plan above which the collector's walks over it are worth sparing: tens of megabytes of objects."""
SELDOM: Final = (200_000, 20, 100)
"""Thresholds of the collector's generations; the interpreter's own are 700, 10 and 10."""


class Run:
    """One plan to be carried out. All methods are for the thread of the event loop that `execute` runs on.

    The run closes its backends, its observers and its journal when it is over.
    """

    def __init__(  # noqa: PLR0913 - all that a run has to do with, each by its name
        self,
        plan: Plan,
        backends: Mapping[str, Backend],
        *,
        limits: Limits | None = None,
        journal: Journal | None = None,
        observers: Sequence[Observer] = (),
        approver: Approver | None = None,
        grace_seconds: float = 30.0,
        kill_seconds: float = 10.0,
        logs: LogSink | None = None,
        run_id: str | None = None,
        wall: Callable[[], float] = time.time,
        random: Random | None = None,
    ) -> None:
        """`grace_seconds` is what a try has to end once it was asked to, `kill_seconds` once it was cancelled.

        `wall` gives seconds since 1970, and `random` the jitter of waits.
        """
        self.plan = plan
        self.run_id = run_id or (journal.run_id if journal else new_id(plan, wall()))
        self.stage = Stage.NONE
        """How far it is in stopping."""
        self._backends = dict(backends)
        self._limits = limits or Limits()
        self._journal = journal
        self._observers = tuple(observers)
        self._approver = approver
        self._grace_seconds = grace_seconds
        self._kill_seconds = kill_seconds
        self._logs = logs
        self._wall = wall
        self._random = random or Random()  # noqa: S311 - jitter, not a secret
        self._inbox = Inbox()
        self._left = asyncio.Event()
        self._begun = False
        self._stops: list[tuple[Stage, str]] = []
        self._faults: list[str] = []
        self._observer_faults: list[str] = []
        self._bus: Bus | None = None
        self._course: Course | None = None

    # For callers, at any time.

    def stop(self, why: str) -> None:
        """Go one stage further in stopping; see `Stage`. The first reason is the one that is told."""
        if self.stage < Stage.LEAVE:
            self._stop_to(Stage(self.stage + 1), why)

    def cancel(self, step_id: str, why: str) -> None:
        """End one step; those that need it are skipped, or run, as their rules say. Nothing, if it has ended.

        Like the next two it raises ValueError for a step that is not there.
        """
        self._check(step_id)
        self._tell(lambda course: course.steps.cancel(step_id, why))

    def approve(self, step_id: str, by: str) -> None:
        """Open a step's gate; it may be before the step comes to it. The first word on a gate holds."""
        self._check(step_id)
        self._tell(lambda course: course.steps.decide(step_id, Decision(opened=True, by=by)))

    def refuse(self, step_id: str, by: str, why: str) -> None:
        """Have a step skipped at its gate; otherwise like `approve`."""
        self._check(step_id)
        self._tell(lambda course: course.steps.decide(step_id, Decision(opened=False, by=by, why=why)))

    def set_limit(self, name: str, units: int | None) -> None:
        """Change a limit (`total`, `backends.NAME`, `resources.NAME`) from now on; None is no limit.

        What runs goes on, where it is more. Raises LimitError, and RuntimeError where the run does not go on.
        """
        if self._course is None:
            raise RuntimeError("a limit can be changed only while the run goes on; before, give it to Run")
        self._course.steps.admission.set_limit(name, units)
        self._limit_changed(name)

    async def execute(self) -> Report:
        """Carry the plan out, or go on with what the journal tells of, and say what came of it.

        What steps, backends, observers and callbacks do is in the report, and raises nothing. Raises GraphError for a
        plan that makes no sense, and JournalError for a journal that does not fit it, before anything has begun. To
        cancel the task that waits here is a stop: graceful at first, for as long as the grace, and then at once; a
        second time is the next stage. The cancellation goes on when nothing of the run is left.
        """
        if self._begun:
            raise RuntimeError("a run is carried out once; make another")
        self._begun = True
        engine = asyncio.create_task(self._carry_out(), name="engine")
        patience: asyncio.TimerHandle | None = None
        while not engine.done():
            try:
                await asyncio.wait({engine})
            except asyncio.CancelledError:
                why = "its task was cancelled"
                self.stop(why)
                loop = asyncio.get_running_loop()
                patience = patience or loop.call_later(self._grace_seconds, self._stop_to, Stage.KILL, why)
        report = engine.result()
        if patience:
            patience.cancel()
            raise asyncio.CancelledError
        return report

    # Its course.

    async def _carry_out(self) -> Report:
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(_spared_by_the_collector(len(self.plan.steps)))
            stack.callback(self._close_journal)
            stack.push_async_callback(self._close_backends)
            limits = cautious(self._limits, self._faults.append)
            graph = Graph(self.plan, backends=self._backends, limits=limits)
            past = read(self._journal.lines if self._journal else ())
            bus = Bus(self._observers, wall=self._wall)
            stack.push_async_callback(self._close_bus, bus)
            means = self._means(bus)
            course = Course(self.plan, graph, limits, means, self._inbox, self._approver, past)
            stack.push_async_callback(self._leave, course)
            stack.enter_context(subscribed(limits, self._provider_changed))
            self._go(course, bus)
            verdict = await self._until_over(course)
        return Report(
            run_id=self.run_id,
            plan=self.plan.name,
            verdict=verdict,
            started_at=course.begun_at,
            ended_at=course.ended_at,
            results=tuple(record.result() for record in course.steps.records.values()),
            compensations=course.compensations,
            observer_faults=tuple(self._observer_faults),
            faults=tuple(self._faults),
            stopped=course.steps.why,
        )

    def _go(self, course: Course, bus: Bus) -> None:
        self._course, self._bus = course, bus
        self.stage = max(self.stage, course.steps.stage)
        for stage, why in self._stops:
            course.stop(stage, why)

    async def _until_over(self, course: Course) -> Verdict:
        """Its verdict; where it is left, what it would have been then."""
        course_task = asyncio.create_task(course.run(), name="course")
        left = asyncio.create_task(self._left.wait(), name="left")
        try:
            await asyncio.wait({course_task, left}, return_when=asyncio.FIRST_COMPLETED)
            if course_task.done():
                return course_task.result()
            return course.give_up(self._stops[0][1])
        finally:
            left.cancel()
            course_task.cancel()
            await asyncio.wait({course_task, left})

    def _means(self, bus: Bus) -> Means:
        return Means(
            backends=self._backends,
            bus=bus,
            journal=self._journal,
            journal_failed=self._journal_failed,
            logs=self._logs,
            grace_seconds=self._grace_seconds,
            kill_seconds=self._kill_seconds,
            wall=self._wall,
            random=self._random,
            post=self._inbox.post,
            faults=self._faults,
        )

    def _stop_to(self, stage: Stage, why: str) -> None:
        if stage <= self.stage:
            return
        self.stage = stage
        self._stops.append((stage, why))
        if self._course:
            self._course.stop(stage, why)
        if stage is Stage.LEAVE:
            self._left.set()

    def _journal_failed(self, told: str) -> None:
        self._faults.append(told)
        self._stop_to(Stage.GRACEFUL, told)

    def _tell(self, call: Callable[[Course], None]) -> None:
        """Have it called once there is a course."""

        def told() -> None:
            assert self._course
            call(self._course)

        self._inbox.post(told)

    def _check(self, step_id: str) -> None:
        if any(step.id == step_id for step in self.plan.steps):
            return
        if self._course is None or step_id not in self._course.steps.records:
            raise ValueError(f"there is no step {step_id!r} in plan {self.plan.name!r}; ids are as the report has them")

    def _provider_changed(self, name: str) -> None:
        def changed() -> None:
            assert self._course
            self._course.steps.admission.changed(name)
            self._limit_changed(name)

        self._inbox.post(changed)

    def _limit_changed(self, name: str) -> None:
        assert self._course
        assert self._bus
        self._bus.publish(Kind.LIMIT, data={"name": name, "units": self._course.steps.admission.units(name)})
        self._inbox.post(lambda: None)  # another turn: there may be room

    # Its end.

    async def _leave(self, course: Course) -> None:
        await course.leave(wait=not self._left.is_set())

    async def _close_bus(self, bus: Bus) -> None:
        self._observer_faults += await bus.close()

    async def _close_backends(self) -> None:
        """All at the same time, each for as long as a cancelled try may take."""
        closing = [
            guarded(f"closing backend {name}", backend.close, seconds=self._kill_seconds)
            for name, backend in self._backends.items()
        ]
        self._faults += [fault for fault in await asyncio.gather(*closing) if fault]

    def _close_journal(self) -> None:
        self._course = None
        if self._journal:
            try:
                self._journal.close()
            except JournalError as error:
                self._faults.append(str(error))


def new_id(plan: Plan, at: float) -> str:
    """An id for a run: when, which plan, and a few letters by chance. Good as the name of a folder."""
    name = re.sub(r"[^a-z0-9]+", "-", plan.name.lower()).strip("-")[:40] or "run"
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(at))}-{name}-{secrets.token_hex(2)}"


@contextlib.contextmanager
def _spared_by_the_collector(steps: int) -> Generator[None]:
    """Have a large run collected seldom: its plan and records live as long as it does, and a walk finds nothing.

    The collector's walks would otherwise take a share of the run that grows with the plan (a quarter of it at 100,000
    steps, `benchmarks/engine.py`). It is the process's setting, and is as before when the run is over.
    """
    if steps < LARGE:
        yield
        return
    before = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)
