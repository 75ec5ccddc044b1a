"""Whether a run passed, from how its steps ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from rollout.engine.record import Record
from rollout.engine.report import Verdict
from rollout.engine.states import BAD_ENDS, State

NOT_NEEDED: Final = "nothing-failed"
"""The reason's code of an on-failure step for which there was no need."""


def verdict(records: Mapping[str, Record], *, stopped: bool) -> Verdict:
    """Stopped, if a stop of the run kept a step from its own end; else failed, if a step did not pass that has to.

    A step that was skipped did not pass either, unless it is one for the case of failure, or one that needs such a one.
    If all steps passed in spite of a stop, so did the run.
    """
    if stopped and any(record.state in (State.KILLED, State.CANCELLED) for record in records.values()):
        return "stopped"
    return "failed" if any(_is_fault(record, records) for record in records.values()) else "passed"


def _is_fault(record: Record, records: Mapping[str, Record]) -> bool:
    if record.step.optional:
        return False
    if record.state in BAD_ENDS or record.state is State.CANCELLED:
        return True
    if record.state is not State.SKIPPED or record.reason is None:
        return False
    origin = records.get(record.reason.cause, record).reason
    return origin is None or origin.code != NOT_NEEDED


def counts(records: Mapping[str, Record]) -> dict[str, int]:
    """How many steps are in each state."""
    return dict(Counter(record.state.value for record in records.values()))
