"""What goes into a try, and what its outcome means for its step: state, reason, and error class. Facts only.

A step is KILLED or TIMED_OUT only if its try says that it ended because it was asked to. One that failed of itself
while it was being stopped has FAILED, with its own reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from rollout.engine.backend import Failed
from rollout.engine.events import Reason
from rollout.engine.outputs import MissingOutputError, Output, OutputError, check_output, resolve
from rollout.engine.record import Record
from rollout.engine.spec import Step
from rollout.engine.states import State
from rollout.engine.supervise import CANCELLED, DEAF, Try

TRY_TIMEOUT: Final = "try-timeout"
STEP_TIMEOUT: Final = "step-timeout"
TIMEOUT_CLASS: Final = "timeout"
"""The error class of a try that took too long: retries may name it."""


def filled(params: Mapping[str, Any], outputs: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | Reason:
    """A step's params with its references replaced, or why that cannot be."""
    try:
        return resolve(params, outputs) if params else {}
    except MissingOutputError as error:
        return Reason(code="missing-output", message=str(error), cause=error.step)
    except KeyError as error:
        return Reason(code="missing-output", message=f"an output that it refers to has no {error}")


def checked(step: Step, raw: Mapping[str, Any]) -> Output | Reason:
    """What a step passed with, or why it did not pass after all: what is not JSON has no place in a journal."""
    try:
        output = check_output(step, raw)
        if output.data:
            json.dumps(output.data, allow_nan=False)
    except OutputError as error:
        return Reason(code="output", message=str(error))
    except Exception as error:  # noqa: BLE001 - the output's type is the plan's, and so is what its validators raise
        return Reason(code="output", message=f"to check its output raised {type(error).__name__}: {error}")
    return output


def judge(record: Record, attempt: Try, outcome: Failed, stopped: Reason) -> tuple[State, Reason, str]:
    """State and reason if this was the last try, and the error class; `stopped` is why it was stopped, if it was."""
    made_to = outcome.code in (CANCELLED, DEAF)
    more = f"; it {outcome.message}" if outcome.code == DEAF else ""
    if made_to and attempt.timed_out:
        return State.TIMED_OUT, timed_out(record, attempt, more), TIMEOUT_CLASS
    if made_to and attempt.cancelled.is_set():
        reason = Reason(code=stopped.code, message=stopped.message + more, link=record.link)
        return State.KILLED, reason, outcome.error_class
    reason = Reason(code=outcome.code, message=outcome.message, link=record.link)
    return State.FAILED, reason, outcome.error_class


def timed_out(record: Record, attempt: Try | None, more: str = "") -> Reason:
    """The reason of a step whose try, or which as a whole, took too long."""
    step = record.step
    if attempt and attempt.timed_out == TRY_TIMEOUT:
        told = f"try {attempt.number} took longer than {step.try_timeout_seconds:g} s{more}"
        return Reason(code=TRY_TIMEOUT, message=told, link=record.link)
    told = f"was not done {step.timeout_seconds:g} s after it was queued{more}"
    return Reason(code=STEP_TIMEOUT, message=told, link=record.link)
