"""The course of a run: turn by turn until every step has ended, then the way back, if it did not pass.

In a turn all that has happened is dealt with, the journal is made durable, and only then is started what follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from rollout.engine.admission import Admission
from rollout.engine.compensate import Undoing, result_of
from rollout.engine.events import Kind
from rollout.engine.gates import Approver
from rollout.engine.graph import Graph
from rollout.engine.inbox import Inbox
from rollout.engine.limits import Limits
from rollout.engine.means import Means
from rollout.engine.report import CompensationResult, Verdict
from rollout.engine.resume import Past, rewind, take_up
from rollout.engine.rules import Change
from rollout.engine.spec import Plan
from rollout.engine.steps import Steps
from rollout.engine.stop import Stage
from rollout.engine.verdict import counts, verdict


class Course:
    """A run under way. Raises, where it is made, JournalError for a past that does not fit the plan."""

    def __init__(
        self,
        plan: Plan,
        graph: Graph,
        limits: Limits,
        means: Means,
        inbox: Inbox,
        approver: Approver | None,
        past: Past,
    ) -> None:
        self.steps = Steps(graph, Admission(limits), means, approver)
        self.begun_at = past.begun_at if past.begun_at is not None else means.wall()
        """Wall time, of the first process."""
        self.ended_at = self.begun_at
        self._plan = plan
        self._limits = limits
        self._means = means
        self._inbox = inbox
        self._past = past
        self._changes: list[Change] = rewind(self.steps, past)
        self._undoing: Undoing | None = None
        self._undone: tuple[CompensationResult, ...] = ()
        """By a former process, which came to its end."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def compensations(self) -> tuple[CompensationResult, ...]:
        """What was undone so far."""
        return tuple(self._undoing.results) if self._undoing else self._undone

    def stop(self, stage: Stage, why: str) -> None:
        """Go on to a stage. What undoes the run's steps goes on in the first, and is ended by the second."""
        if not self._undoing:
            self._inbox.post(self.steps.stop, stage, why)
            return
        self._means.bus.publish(Kind.STOPPING, data={"stage": int(stage), "why": why})
        if stage >= Stage.KILL:
            self._undoing.kill()

    async def run(self) -> Verdict:
        """Until all is over. Raises nothing but what is a fault of the engine."""
        self._introduce()
        await self._take_up()
        while True:
            self._inbox.deal()
            if not await self._means.commit():
                self._inbox.deal()  # that is a stop, and it comes before anything starts
            await self._start()
            if not self.steps.open and not self._inbox:
                break
            await self._inbox.wait()
        said = await self._undo()
        self._means.bus.publish(Kind.RUN_ENDED, data={"verdict": said, "counts": counts(self.steps.records)})
        return said

    def give_up(self, why: str) -> Verdict:
        """Leave all as it is. What has no end gets one in the report, but not in the journal, so that it can go on."""
        self._means.journal = None
        self.steps.stop(Stage.LEAVE, why)
        self.steps.give_up()
        self.ended_at = self._means.wall()
        said = verdict(self.steps.records, stopped=True)
        self._means.bus.publish(Kind.RUN_ENDED, data={"verdict": said, "counts": counts(self.steps.records)})
        return said

    async def leave(self, *, wait: bool) -> None:
        """Let go of whatever still runs, after a fault or in the last stage; normally there is nothing."""
        if self._timer:
            self._timer.cancel()
        tries = [record.try_ for record in self.steps.records.values() if record.try_]
        for attempt in tries:
            attempt.leave()
        seconds = self._means.kill_seconds if wait else 0.0
        await self.steps.gates.close(seconds)
        await asyncio.gather(*(attempt.gone(seconds) for attempt in tries))

    def _introduce(self) -> None:
        means, past = self._means, self._past
        if means.bus.heard:
            limits = {name: units for name, units in self._limits.sources().items() if isinstance(units, int)}
            steps = self.steps.introduced(self.steps.graph.ids)
            data = {"name": self._plan.name, "resumed": past.begun_at is not None, "limits": limits, "steps": steps}
            means.bus.publish(Kind.RUN_STARTED, data=data)
        means.note("begin", at=means.wall())
        if self._plan.timeout_seconds is not None:
            left = self.begun_at + self._plan.timeout_seconds - means.wall()
            why = f"it took longer than {self._plan.timeout_seconds:g} s"
            self._timer = means.later(left, self.steps.stop, Stage.GRACEFUL, why)

    async def _take_up(self) -> None:
        """Go on with what a former process left; what runs outside gets room before anything else does."""
        left = take_up(self.steps, self._past, self._changes, self._means.wall())
        await self._start()
        self.steps.settle(left)
        for step_id, known in self._past.steps.items():
            if known.cancel is not None:
                self.steps.cancel(step_id, known.cancel)

    async def _start(self) -> None:
        begun = self.steps.start_admitted()
        if any(record.step.compensation for record, _ in begun):
            await self._means.commit()  # or a process that dies now would not know what there is to be undone
        for record, attempt in begun:
            attempt.start(record.external_id)
            if self.steps.is_stopping(record):
                attempt.cancel()

    async def _undo(self) -> Verdict:
        if self._past.over:
            undone: Iterable[dict[str, object]] = (known.undo for known in self._past.steps.values() if known.undo)
            self._undone = tuple(map(result_of, undone))
            self.ended_at = self._past.over["at"]
            return self._past.over["verdict"]
        stage = self.steps.stage
        said = verdict(self.steps.records, stopped=stage > Stage.NONE)
        if said != "passed":
            self._undoing = Undoing(self.steps, self._means, self._limits, self._past)
            if stage >= Stage.KILL:
                self._undoing.kill()
            await self._undoing.run()
        self.ended_at = self._means.wall()
        self._means.note("over", verdict=said, at=self.ended_at)
        await self._means.commit()
        return said
