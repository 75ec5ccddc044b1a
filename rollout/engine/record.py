"""What the engine knows of one step while a run goes on: the only thing of a step that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

from rollout.engine.events import Reason
from rollout.engine.report import StepResult
from rollout.engine.spec import Step
from rollout.engine.states import ENDS, State, check
from rollout.engine.supervise import Try

_NOTHING: Final[Mapping[str, Any]] = {}
"""One for all: a run may have very many steps."""
_REASON: Final = tuple(field.name for field in fields(Reason))


@dataclass(slots=True, kw_only=True, eq=False)
class Record:
    """One step's state, and how it came there."""

    step: Step
    parent: str = ""
    """The step that added it; empty for one of the plan's."""
    state: State = State.SCHEDULED
    reason: Reason | None = None
    attempts: int = 0
    """Tries that were begun; one that the backend was too busy for is taken back."""
    busy: int = 0
    """How often in a row the backend was busy."""
    started: bool = False
    """Whether a backend ever had it, and did not say that it was busy: then there may be something to undo."""
    output: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    link: str = ""
    tail: tuple[str, ...] = ()
    external_id: str = ""
    """Of a try of a former process that is to be waited for again."""
    gate_since: float | None = None
    """Since when, by wall time, its bake time goes, where a former process began it."""
    queued_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    wait_seconds: float = 0.0
    run_seconds: float = 0.0
    retry_seconds: float = 0.0
    since: float = 0.0
    """When it came into its state, by the loop's clock."""
    try_: Try | None = None
    """The one that goes on."""
    cancel: Reason | None = None
    """Why it, and not the whole run, was stopped."""
    timer: asyncio.TimerHandle | None = None
    """Of the current try, wait or gate."""
    deadline: asyncio.TimerHandle | None = None
    """Of the step."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDS

    def change(self, new: State, now: float) -> State:
        """Come into another state at a time of the loop's clock; gives the old one. Raises IllegalTransitionError."""
        old = self.state
        check(self.step.id, old, new)
        match old:
            case State.QUEUED:
                self.wait_seconds += now - self.since
            case State.RUNNING:
                self.run_seconds += now - self.since
            case State.RETRY_WAIT:
                self.retry_seconds += now - self.since
            case _:
                pass
        self.state, self.since = new, now
        if self.timer:
            self.timer.cancel()
            self.timer = None
        if new in ENDS and self.deadline:
            self.deadline.cancel()
            self.deadline = None
        return old

    def result(self) -> StepResult:
        """For the report."""
        return StepResult(
            id=self.step.id,
            state=self.state,
            reason=self.reason,
            attempts=self.attempts,
            output=self.output,
            queued_at=self.queued_at,
            started_at=self.started_at,
            ended_at=self.ended_at,
            wait_seconds=self.wait_seconds,
            run_seconds=self.run_seconds,
            retry_seconds=self.retry_seconds,
            link=self.link,
            tail=self.tail,
        )

    def told(self) -> dict[str, Any]:
        """What the event of a change carries."""
        data: dict[str, Any] = {"attempt": self.attempts}
        if self.ended:
            more = {"link": self.link, "tail": list(self.tail), "output": self.output}
            data |= {key: value for key, value in more.items() if value}
        return data

    def introduced(self, needs: Sequence[str]) -> dict[str, Any]:
        """What the event that names it for the first time carries; its state where a former process left it in one."""
        step = self.step
        data: dict[str, Any] = {"id": step.id, "title": step.title or step.id, "group": step.group}
        data |= {"backend": step.backend, "needs": list(needs), "weight": step.weight, "uses": dict(step.uses)}
        return data if self.state is State.SCHEDULED else data | {"state": self.state}

    def line(self) -> dict[str, Any]:
        """What the journal keeps of its end."""
        reason = self.reason
        return {
            "step": self.step.id,
            "state": self.state,
            "reason": reason and {name: getattr(reason, name) for name in _REASON},
            "n": self.attempts,
            "started": self.started,
            "output": self.output,
            "link": self.link,
            "tail": self.tail,
            "at": [self.queued_at, self.started_at, self.ended_at],
            "seconds": [self.wait_seconds, self.run_seconds, self.retry_seconds],
        }

    def restore(self, line: Mapping[str, Any], reason: Reason | None) -> None:
        """Stand where the journal says that it ended. This is no change: it was one in a former process."""
        self.state, self.reason = State(line["state"]), reason
        self.attempts, self.started, self.output = line["n"], line["started"], line["output"]
        self.link, self.tail = line["link"], tuple(line["tail"])
        self.queued_at, self.started_at, self.ended_at = line["at"]
        self.wait_seconds, self.run_seconds, self.retry_seconds = line["seconds"]
