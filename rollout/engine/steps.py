"""All steps of a run, and what becomes of each. Every change of every step is made here, in the engine's own task."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rollout.engine.admission import Admission
from rollout.engine.backend import Busy, Failed, Outcome, Passed
from rollout.engine.desk import StepDesk
from rollout.engine.events import Kind, Reason
from rollout.engine.gates import Approver, Asking, Decision, over_budget
from rollout.engine.graph import Graph, GraphError
from rollout.engine.means import Means
from rollout.engine.outcomes import STEP_TIMEOUT, TRY_TIMEOUT, checked, filled, judge, timed_out
from rollout.engine.outputs import Output
from rollout.engine.record import Record
from rollout.engine.retry import wait_before_next_try, wait_while_busy
from rollout.engine.rules import Change, Dependencies
from rollout.engine.rules import Decision as Verdict
from rollout.engine.spec import Approval, Bake, FailureBudget, Rule
from rollout.engine.states import State
from rollout.engine.stop import Stage
from rollout.engine.supervise import CANCELLED, Try

STOPPED: Final = "stopped"
"""The code of whatever ended because the run was stopped."""


class Steps:
    """The records, and the rules, limits, gates, tries and timeouts that move them."""

    def __init__(self, graph: Graph, admission: Admission, means: Means, approver: Approver | None) -> None:
        self.records = {step_id: Record(step=graph.step(step_id)) for step_id in graph.ids}
        self.open = len(self.records)
        """How many have not ended."""
        self.stage = Stage.NONE
        self.why = ""
        self.graph = graph
        self.admission = admission
        self.dependencies = Dependencies(graph)
        self.children: dict[str, tuple[str, ...]] = {}
        """What steps added."""
        self.outputs: dict[str, Mapping[str, Any]] = {}
        """Of the steps that passed."""
        self.decisions: dict[str, Decision] = {}
        """Said by people; some of them before the gate was reached."""
        self.gates = Asking(approver, lambda step, said: means.post(self.decide, step, said), means.fault)
        self._means = means
        self._desk = StepDesk(self.records, means, self.take)
        self._changes: deque[Change] = deque()
        now = means.now()
        for record in self.records.values():
            record.since = now

    # What the run calls, in the engine's own task.

    def start_admitted(self) -> list[tuple[Record, Try]]:
        """Those that room was found for, RUNNING, with tries that the caller is to start."""
        found = [self._start(self.records[step_id]) for step_id in self.admission.admit()]
        return [(record, record.try_) for record in found if record.try_]

    def stop(self, stage: Stage, why: str) -> None:
        """Go on to a stage of the stop."""
        if stage <= self.stage:
            return
        first = self.stage is Stage.NONE
        self.stage, self.why = stage, self.why or why
        self._means.bus.publish(Kind.STOPPING, data={"stage": int(stage), "why": why})
        if first:
            self._means.note("stop", stage=int(stage), why=why)
            self._changes += self.dependencies.stop()
        for record in list(self.records.values()):
            self._stop_one(record)
        self.settle([])

    def cancel(self, step_id: str, why: str) -> None:
        """End one step; the rules say what that is to those that need it."""
        record = self.records.get(step_id)
        if record is None or record.ended or record.cancel:
            return
        record.cancel = Reason(code=CANCELLED, message=why)
        self._means.note("cancel", step=step_id, why=why)
        if record.try_:
            record.try_.cancel()
        else:
            self._end(record, State.CANCELLED, record.cancel)
        self.settle([])

    def decide(self, step_id: str, said: Decision) -> None:
        """Somebody said something of a gate. The first word holds; a word said before its time is kept."""
        if self.decisions.setdefault(step_id, said) is not said:
            return
        record = self.records.get(step_id)
        if record and record.state is State.BLOCKED_ON_GATE and isinstance(record.step.gate, Approval):
            self._decided(record, said)
            self.settle([])

    def take(self, attempt: Try, outcome: Outcome) -> None:
        """A try has ended."""
        record = self.records[attempt.step_id]
        assert record.try_ is attempt, f"{record.step.id}: a try ended that is not the one that runs"
        record.try_ = None
        self.admission.release(record.step.id)
        match outcome:
            case Passed():
                self._passed(record, outcome)
            case Busy():
                self._was_busy(record, attempt, outcome)
            case Failed():
                self._failed(record, attempt, outcome)
        self.settle([])

    def give_up(self) -> None:
        """The run is left: what has no end gets the one that is nearest to the truth."""
        for record in self.records.values():
            if record.ended:
                continue
            if attempt := record.try_:
                record.try_ = None
                attempt.leave()
                told = Reason(code=STOPPED, message="the run was left while this ran, and it may still run")
                self._end(record, State.KILLED, told)
            else:
                self._end(record, State.CANCELLED, self._stopped())

    def settle(self, changes: Iterable[Change]) -> None:
        """Do what the rules say of these, and of all that follows from them."""
        self._changes += changes
        while self._changes:
            change = self._changes.popleft()
            record = self.records[change.step]
            if record.state is not State.SCHEDULED:
                continue  # it was ended meanwhile, by a stop
            match change.decision:
                case Verdict.RUN:
                    self.let(record)
                case Verdict.SKIP:
                    self._end(record, State.SKIPPED, change.reason)
                case Verdict.CANCEL:
                    self._end(record, State.CANCELLED, self._stopped())
                case Verdict.WAIT:
                    pass

    def let(self, record: Record) -> None:
        """Its dependencies allow it: on to its gate, or to the queue."""
        gate = record.step.gate
        if self.stage and (self._is_over_for(record) or isinstance(gate, (Approval, Bake))):
            self._end(record, State.CANCELLED, self._stopped())  # nobody waits at a gate in a stop
            return
        if record.queued_at is not None:
            self.queue(record)  # a former process let it through its gate
            return
        match gate:
            case None:
                self.queue(record)
            case FailureBudget():
                if refused := over_budget(gate, self.graph, self.records):
                    self._end(record, State.SKIPPED, Reason(code="over-budget", message=refused))
                else:
                    self.queue(record)
            case Bake():
                self.bake(record, gate, self._means.wall() if record.gate_since is None else record.gate_since)
            case Approval():
                self._change(record, State.BLOCKED_ON_GATE, Reason(code="approval", message=gate.question))
                if said := self.decisions.get(record.step.id):
                    self._decided(record, said)
                else:
                    self.gates.ask(record.step.id, gate)

    def _is_over_for(self, record: Record) -> bool:
        return self.stage >= Stage.KILL or not self.dependencies.may_run_in_a_stop(record.step.id)

    def bake(self, record: Record, gate: Bake, since: float) -> None:
        """Wait until so long after `since`, by wall time."""
        if record.state is State.SCHEDULED:
            self._means.note("gate", step=record.step.id, since=since)
            reason = Reason(code="bake", message=f"until {gate.seconds:g} s after its dependencies allowed it")
            self._change(record, State.BLOCKED_ON_GATE, reason)
        left = since + gate.seconds - self._means.wall()
        if left <= 0:
            self.queue(record)
        else:
            record.timer = self._means.later(left, self._baked, record, gate, since)

    def queue(self, record: Record) -> None:
        """Let it wait for room."""
        means, step = self._means, record.step
        if record.queued_at is None:
            record.queued_at = means.wall()
        if step.timeout_seconds is not None and record.deadline is None:
            left = record.queued_at + step.timeout_seconds - means.wall()
            record.deadline = means.later(left, self._step_timed_out, record)
        self._change(record, State.QUEUED)
        self.admission.queue(step, length=self.graph.length(step.id), order=self.graph.order(step.id))

    def wait_to_retry(self, record: Record, seconds: float) -> None:
        """Have it queued again after so long; it is RETRY_WAIT already."""
        record.timer = self._means.later(seconds, self._again, record)

    # What becomes of one step.

    def _start(self, record: Record) -> Record:
        means, step, wall = self._means, record.step, self._means.wall()
        record.attempts += 1
        record.started = True
        record.started_at = record.started_at or wall
        self._change(record, State.RUNNING)
        means.note("start", step=step.id, n=record.attempts, queued_at=record.queued_at, started_at=record.started_at)
        if record.external_id:
            means.note("attach", step=step.id, id=record.external_id, link=record.link)
        params = filled(step.params, self.outputs)
        if isinstance(params, Reason):
            self._end_failed(record, params)
            return record
        record.try_ = means.attempt(step.id, record.attempts, params, backend=step.backend, desk=self._desk)
        if step.try_timeout_seconds is not None:
            record.timer = means.later(step.try_timeout_seconds, self._try_timed_out, record, record.try_)
        return record

    def _end_failed(self, record: Record, reason: Reason) -> None:
        """It failed before a backend had it."""
        record.started = record.attempts > 1
        self.admission.release(record.step.id)
        self._end(record, State.FAILED, reason)
        self._means.post(self.settle, ())  # in a turn of its own: this end, too, is durable before anything follows it

    def _passed(self, record: Record, outcome: Passed) -> None:
        step = record.step
        record.link = outcome.link or record.link
        output = checked(step, outcome.output)
        if isinstance(output, Reason):
            self._end(record, State.FAILED, output)
            return
        try:
            added = self.expand(record, output)
        except Exception as error:  # noqa: BLE001 - the function that adds steps is the plan's, and so is what it raises
            told = "; ".join(error.faults) if isinstance(error, GraphError) else f"{type(error).__name__}: {error}"
            self._end(record, State.FAILED, Reason(code="expand", message=f"what it adds is at fault: {told}"))
            return
        if added:
            self._means.bus.publish(Kind.STEPS_ADDED, step=step.id, data={"steps": self.introduced(added)})
        record.output = self.outputs[step.id] = output.data
        self._end(record, State.PASSED, None, added=added)

    def expand(self, record: Record, output: Output) -> tuple[str, ...]:
        """Take in the steps that a passed one adds; gives their ids. Raises GraphError, and what `expand` raises."""
        step = record.step
        if step.expand is None:
            return ()
        added = self.graph.add(step.id, tuple(step.expand(output.value)))
        now = self._means.now()
        for step_id in added.steps:
            self.records[step_id] = Record(step=self.graph.step(step_id), parent=step.id, since=now)
        self.open += len(added.steps)
        self.children[step.id] = added.steps
        self._changes += self.dependencies.grow(added)
        for step_id in added.longer:
            self.admission.lengthen(step_id, self.graph.length(step_id))
        return added.steps

    def introduced(self, step_ids: Iterable[str]) -> list[dict[str, Any]]:
        """Steps as the events that name them first carry them."""
        return [self.records[step_id].introduced(self.graph.needs(step_id)) for step_id in step_ids]

    def _was_busy(self, record: Record, attempt: Try, outcome: Busy) -> None:
        record.attempts -= 1
        record.busy += 1
        record.started = record.attempts > 0
        seconds = wait_while_busy(
            record.step.retry,
            times=record.busy,
            asked_seconds=outcome.retry_after_seconds,
            random=self._means.random,
        )
        self._retry(record, seconds, Reason(code="busy", message=outcome.message))
        if attempt.timed_out == STEP_TIMEOUT:
            self._end(record, State.TIMED_OUT, timed_out(record, attempt))
        elif self.is_stopping(record):
            self._end(record, State.CANCELLED, record.cancel or self._stopped())

    def _failed(self, record: Record, attempt: Try, outcome: Failed) -> None:
        record.busy = 0
        record.link = outcome.link or record.link
        record.tail = outcome.tail
        state, reason, error_class = judge(record, attempt, outcome, record.cancel or self._stopped())
        final = state is State.KILLED or self.is_stopping(record) or attempt.timed_out == STEP_TIMEOUT
        seconds = wait_before_next_try(
            record.step.retry,
            error_class=error_class,
            tries=record.attempts,
            asked_seconds=outcome.retry_after_seconds,
            random=self._means.random,
        )
        if final or seconds is None:
            self._end(record, state, reason)
        else:
            self._retry(record, seconds, reason)

    def _retry(self, record: Record, seconds: float, reason: Reason) -> None:
        record.external_id = ""
        self._change(record, State.RETRY_WAIT, reason)
        self._means.note(
            "retry",
            step=record.step.id,
            n=record.attempts,
            started=record.started,
            busy=record.busy,
            not_before=self._means.wall() + seconds,
        )
        self.wait_to_retry(record, seconds)

    def lose(self, record: Record) -> None:
        """Its try was cut short with its process, nothing is known of it, and it is not to be made again."""
        told = "; it was cut short when its process died, and may still run"
        why = record.cancel or self._stopped()
        self._end(record, State.KILLED, Reason(code=why.code, message=why.message + told))

    def _again(self, record: Record) -> None:
        if record.state is State.RETRY_WAIT:
            self.queue(record)

    def _baked(self, record: Record, gate: Bake, since: float) -> None:
        if record.state is State.BLOCKED_ON_GATE:
            self.bake(record, gate, since)  # which looks at the wall clock again: it may have been set meanwhile

    def _decided(self, record: Record, said: Decision) -> None:
        step_id = record.step.id
        self.gates.drop(step_id)
        self._means.note("gate", step=step_id, opened=said.opened, by=said.by, why=said.why)
        if said.opened:
            self.queue(record)
        else:
            told = f"{said.by} refused it" + (f": {said.why}" if said.why else "")
            self._end(record, State.SKIPPED, Reason(code="refused", message=told))

    # Stops and timeouts.

    def _stop_one(self, record: Record) -> None:
        if record.ended:
            return
        if record.try_ and self.stage >= Stage.KILL:
            record.try_.kill()
        elif record.try_ and record.step.rule is not Rule.ALWAYS:
            record.try_.cancel()
        elif self.stage >= Stage.KILL or record.state is State.BLOCKED_ON_GATE or self._not_in_a_stop(record):
            self._end(record, State.CANCELLED, self._stopped())

    def _not_in_a_stop(self, record: Record) -> bool:
        if record.external_id:
            return False  # it runs somewhere, and is to be ended there
        waits = record.state in (State.QUEUED, State.RETRY_WAIT)
        return waits and not self.dependencies.may_run_in_a_stop(record.step.id)

    def is_stopping(self, record: Record) -> bool:
        """Whether it is to come to an end: it is tried no more."""
        if record.cancel or self.stage >= Stage.KILL:
            return True
        return self.stage >= Stage.GRACEFUL and record.step.rule is not Rule.ALWAYS

    def _stopped(self) -> Reason:
        return Reason(code=STOPPED, message=f"the run was stopped: {self.why}")

    def _try_timed_out(self, record: Record, attempt: Try) -> None:
        if record.try_ is attempt and not attempt.cancelled.is_set():
            attempt.timed_out = TRY_TIMEOUT
            attempt.cancel()

    def _step_timed_out(self, record: Record) -> None:
        if attempt := record.try_:
            if attempt.timed_out or not attempt.cancelled.is_set():
                attempt.timed_out = STEP_TIMEOUT
                attempt.cancel()
        elif record.state in (State.QUEUED, State.RETRY_WAIT):
            self._end(record, State.TIMED_OUT, timed_out(record, None))
            self.settle([])

    # The changes themselves.

    def _end(self, record: Record, state: State, reason: Reason | None, *, added: tuple[str, ...] = ()) -> None:
        means, step_id = self._means, record.step.id
        if record.state is State.QUEUED:
            self.admission.withdraw(step_id)
        elif record.state is State.BLOCKED_ON_GATE:
            self.gates.drop(step_id)
        record.ended_at = means.wall()
        self._change(record, state, reason)
        self.open -= 1
        if means.journal:
            means.note("end", added=added, **record.line())
        self._changes += self.dependencies.settle(step_id, state, started=record.started)

    def _change(self, record: Record, new: State, reason: Reason | None = None) -> None:
        old = record.change(new, self._means.now())
        record.reason = reason
        bus = self._means.bus
        if bus.heard:
            bus.publish(Kind.STATE, step=record.step.id, old=old, new=new, reason=reason, data=record.told())
