"""What a journal tells of the processes before, and how a resumed run takes up from there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rollout.engine.events import Reason
from rollout.engine.gates import Decision
from rollout.engine.journal import JournalError, Line
from rollout.engine.outputs import check_output
from rollout.engine.record import Record
from rollout.engine.rules import Change
from rollout.engine.states import State
from rollout.engine.steps import Steps
from rollout.engine.stop import Stage
from rollout.engine.supervise import CANCELLED


@dataclass(slots=True, kw_only=True)
class StepPast:
    """What is known of one step."""

    attempts: int = 0
    started: bool = False
    running: bool = False
    """The process died while a try went on."""
    external_id: str = ""
    link: str = ""
    queued_at: float | None = None
    started_at: float | None = None
    not_before: float | None = None
    """The process died while the step waited for its next try."""
    busy: int = 0
    gate_since: float | None = None
    decision: Decision | None = None
    cancel: str | None = None
    """Why it was cancelled by itself."""
    end: Line | None = None
    undo: Line | None = None
    """The last line of its compensation."""
    undo_external_id: str = ""


@dataclass(slots=True, kw_only=True)
class Past:
    """What is known of a run."""

    steps: dict[str, StepPast] = field(default_factory=dict[str, StepPast])
    turns: list[str | None] = field(default_factory=list[str | None])
    """Steps in the order in which they ended; None where the stop was asked for."""
    begun_at: float | None = None
    """Wall time of the first process's begin; None where there was none."""
    stopped: str | None = None
    """Why, if it was."""
    over: Line | None = None

    def of(self, step_id: str) -> StepPast:
        """One step's; an empty one where nothing is known."""
        return self.steps.setdefault(step_id, StepPast())


def read(lines: Iterable[Line]) -> Past:
    """All that the lines say. Lines of a kind that is not known are left out: they are a later release's notes."""
    past = Past()
    for line in lines:
        _take(past, line)
    return past


def _take(past: Past, line: Line) -> None:
    match line["kind"]:
        case "stop":
            if past.stopped is None:
                past.stopped = line["why"]
                past.turns.append(None)
        case "begin":
            past.begun_at = line["at"] if past.begun_at is None else past.begun_at
        case "over":
            past.over = line
        case "start" | "attach" | "retry" | "gate" | "cancel" | "end" | "undo" as kind:
            _take_step(past, past.of(line["step"]), kind, line)
        case _:
            pass


def _take_step(past: Past, step: StepPast, kind: str, line: Line) -> None:
    match kind:
        case "start":
            step.attempts, step.started, step.running = line["n"], True, True
            step.queued_at = line["queued_at"]
            step.started_at = line["started_at"]
            step.external_id, step.not_before = "", None
        case "attach":
            if line.get("undo"):
                step.undo_external_id = line["id"]
            else:
                step.external_id, step.link = line["id"], line["link"]
        case "retry":
            step.attempts, step.started, step.busy = line["n"], line["started"], line["busy"]
            step.running, step.external_id, step.not_before = False, "", line["not_before"]
        case "gate" if "opened" in line:
            step.decision = Decision(opened=line["opened"], by=line["by"], why=line["why"])
        case "gate":
            step.gate_since = line["since"]
        case "cancel":
            step.cancel = line["why"]
        case "end":
            step.end, step.running = line, False
            past.turns.append(line["step"])
        case _:
            step.undo = line


def rewind(steps: Steps, past: Past) -> list[Change]:
    """Put every step that ended back to its end, in order; gives what the rules say of the others.

    Raises JournalError where the plan's code does not give again what it gave before.
    """
    changes = steps.dependencies.begin()
    for step_id in past.turns:
        if step_id is None:
            steps.stage, steps.why = Stage.GRACEFUL, past.stopped or ""
            changes += steps.dependencies.stop()
        else:
            changes += _put_back(steps, step_id, past)
    for change in changes:
        record, known = steps.records[change.step], past.of(change.step)
        if not record.ended and known.not_before is not None and known.cancel is None and not steps.is_stopping(record):
            record.state = State.RETRY_WAIT
    return changes


def take_up(steps: Steps, past: Past, changes: Iterable[Change], wall: float) -> list[Change]:
    """Put every step that was under way where it goes on; gives the changes that are left to be made.

    What runs outside is queued here, before anything else is: the caller finds room for it first.
    """
    left: list[Change] = []
    for change in changes:
        record, known = steps.records[change.step], past.of(change.step)
        if record.ended:
            continue
        record.attempts, record.started, record.busy = known.attempts, known.started, known.busy
        record.queued_at, record.started_at, record.link = known.queued_at, known.started_at, known.link
        if known.decision:
            steps.decisions[change.step] = known.decision
        record.gate_since = known.gate_since
        if known.running:
            record.cancel = None if known.cancel is None else Reason(code=CANCELLED, message=known.cancel)
        if known.running and _goes_on(steps, record, known.external_id):
            continue
        if record.state is State.RETRY_WAIT and known.not_before is not None:
            steps.wait_to_retry(record, known.not_before - wall)
        else:
            left.append(change)
    return left


def _put_back(steps: Steps, step_id: str, past: Past) -> list[Change]:
    line = past.of(step_id).end
    record = steps.records.get(step_id)
    if record is None or line is None:
        raise JournalError(
            f"the journal tells of step {step_id}, and the plan has none: its code has changed; begin anew"
        )
    record.restore(line, None if line["reason"] is None else Reason(**line["reason"]))
    steps.open -= 1
    if record.state is State.PASSED:
        _pass_again(steps, record, line)
    return steps.dependencies.settle(step_id, record.state, started=record.started)


def _pass_again(steps: Steps, record: Record, line: Line) -> None:
    step_id = record.step.id
    try:
        output = check_output(record.step, record.output)
        added = steps.expand(record, output)
    except Exception as error:
        told = f"its code has changed ({type(error).__name__}: {error}); begin anew"
        raise JournalError(f"step {step_id} cannot be taken over from the journal: {told}") from error
    if list(added) != line["added"]:
        told = f"it adds {list(added)} now; its code has changed, or is no pure function of the output; begin anew"
        raise JournalError(f"step {step_id} added {line['added']} when it passed, and {told}")
    steps.outputs[step_id] = output.data


def _goes_on(steps: Steps, record: Record, external_id: str) -> bool:
    """A try was cut short: waited for where it has a name outside, else made again in its turn. False for that."""
    if not external_id and steps.is_stopping(record):
        record.state = State.RUNNING
        steps.lose(record)
        return True
    record.attempts -= 1  # it is the same try again
    record.external_id = external_id
    if external_id:
        steps.queue(record)
    return bool(external_id)
