"""What came of a run: one result for each step, and what was undone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from rollout.engine.events import Reason
from rollout.engine.states import State

Verdict = Literal["passed", "failed", "stopped"]

FORMAT: Final = 1
"""Of `Report.to_json`: it grows when a key is renamed or leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """How one step ended. Times with `_at` are wall times, seconds since 1970; durations are by a clock without jumps.

    Durations count the process that saw the step's end, and of former ones only tries that came to an end.
    """

    id: str
    state: State
    reason: Reason | None = None
    """None for a step that passed."""
    attempts: int = 0
    output: Mapping[str, Any] = field(default_factory=dict[str, Any])
    queued_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    wait_seconds: float = 0.0
    """For room."""
    run_seconds: float = 0.0
    """On a backend, all tries."""
    retry_seconds: float = 0.0
    """Between tries, and while a backend was busy."""
    link: str = ""
    tail: tuple[str, ...] = ()
    """The last lines of the try that ended it, where it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompensationResult:
    """How the undoing of one step ended."""

    id: str
    outcome: Literal["passed", "failed", "left-out"]
    """Left out is one that a second stop forbade."""
    message: str = ""
    run_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of a run."""

    run_id: str
    plan: str
    verdict: Verdict
    started_at: float
    ended_at: float
    results: tuple[StepResult, ...]
    """In the order of submission; steps that were added come after the step that added them has passed."""
    compensations: tuple[CompensationResult, ...] = ()
    """In the order in which they ended."""
    observer_faults: tuple[str, ...] = ()
    """Of observers that raised and heard no more: one line each."""
    faults: tuple[str, ...] = ()
    """Of logs, limits' providers, the approver and the journal: one line each. None of them ended the run by itself."""
    stopped: str = ""
    """Why the run was stopped, where it was."""

    def to_json(self) -> dict[str, Any]:
        """JSON values only; keys keep their meaning as long as `format` stays."""
        return {"format": FORMAT} | json.loads(json.dumps(asdict(self)))
