"""The states of a step, and the one table of changes between them.

A step that never ran says so: SKIPPED (its dependencies or its gate forbade it) or CANCELLED (the run, or the step, was
stopped before). KILLED is a step that ran and was ended by a stop. A step that passes while the run stops has passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where a step stands."""

    SCHEDULED = "scheduled"
    """Waits for its dependencies."""
    BLOCKED_ON_GATE = "blocked-on-gate"
    """Its dependencies allow it; an approval, a bake time or a budget does not yet."""
    QUEUED = "queued"
    """Waits for room."""
    RUNNING = "running"
    """A backend has it."""
    RETRY_WAIT = "retry-wait"
    """A try failed, or the backend was busy; the next try has its time. It holds no room meanwhile."""
    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    KILLED = "killed"
    """It ran, and a stop ended it."""
    CANCELLED = "cancelled"
    """A stop came before it ran, or between two of its tries."""
    SKIPPED = "skipped"
    """It never ran: its rule can no longer be met, or its gate refused."""


_END: Final[frozenset[State]] = frozenset()

TRANSITIONS: Final[Mapping[State, frozenset[State]]] = {
    State.SCHEDULED: frozenset({State.BLOCKED_ON_GATE, State.QUEUED, State.SKIPPED, State.CANCELLED}),
    State.BLOCKED_ON_GATE: frozenset({State.QUEUED, State.SKIPPED, State.CANCELLED}),
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.TIMED_OUT}),
    State.RUNNING: frozenset({State.PASSED, State.FAILED, State.TIMED_OUT, State.KILLED, State.RETRY_WAIT}),
    State.RETRY_WAIT: frozenset({State.QUEUED, State.CANCELLED, State.TIMED_OUT}),
    State.PASSED: _END,
    State.FAILED: _END,
    State.TIMED_OUT: _END,
    State.KILLED: _END,
    State.CANCELLED: _END,
    State.SKIPPED: _END,
}

ENDS: Final = frozenset(state for state, after in TRANSITIONS.items() if not after)
"""States that nothing follows."""

BAD_ENDS: Final = frozenset({State.FAILED, State.TIMED_OUT, State.KILLED})
"""Ends of a step that ran and did not pass: what the rule on-failure waits for."""


class IllegalTransitionError(AssertionError):
    """A bug of the engine: a change that the table does not list."""


def check(step: str, old: State, new: State) -> None:
    """Raise IllegalTransitionError for a change that is not in the table; one to the same state is none either."""
    if new not in TRANSITIONS[old]:
        allowed = ", ".join(sorted(TRANSITIONS[old])) or "nothing"
        raise IllegalTransitionError(f"step {step}: {old} to {new}; after {old} there is {allowed}")
