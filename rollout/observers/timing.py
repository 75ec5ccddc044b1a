"""Where a run's time went, worked out from its events alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from rollout.engine.events import Event, Kind, Reason
from rollout.engine.states import ENDS, State
from rollout.observers.chains import members
from rollout.observers.utilisation import Curve, Meter
from rollout.observers.words import timestamp

FORMAT: Final = 1
"""Of `as_json`: it grows when a key is renamed or leaves."""
_COUNTED: Final = (State.BLOCKED_ON_GATE, State.QUEUED, State.RUNNING, State.RETRY_WAIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stay in one state, in seconds since the run's start."""

    state: State
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.end - self.begin


@dataclass(slots=True, kw_only=True)
class StepTime:
    """One step's time. What is `_at` is wall time in seconds since 1970; all else is of the clock that never jumps."""

    id: str
    title: str
    group: str
    backend: str
    needs: tuple[str, ...] = ()
    state: State = State.SCHEDULED
    reason: Reason | None = None
    link: str = ""
    attempts: int = 0
    spans: list[Span] = field(default_factory=list[Span])
    """Without the time before its dependencies allowed it."""
    allowed: float | None = None
    """When they did; None where they never did."""
    started: float | None = None
    started_at: float | None = None
    ended: float | None = None
    ended_at: float | None = None
    since: float = 0.0
    is_on_path: bool = False

    def seconds_in(self, state: State) -> float:
        """All stays in this state together."""
        return sum(span.seconds for span in self.spans if span.state is state)

    @property
    def seconds(self) -> float:
        """From when it was allowed to its end."""
        return 0.0 if self.allowed is None or self.ended is None else self.ended - self.allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """A whole run's time."""

    name: str
    run_id: str
    verdict: str
    """Empty where the run's end was not heard of."""
    started_at: float
    seconds: float
    steps: tuple[StepTime, ...]
    path: tuple[StepTime, ...]
    """The chain of steps, each allowed by the end of the one before, that ends with the step that ended last."""
    curves: tuple[Curve, ...]
    missed: int
    """Events that were not heard; with any, all of this is incomplete."""

    def longest(self, most: int = 10) -> list[StepTime]:
        """Steps that ran longest, the longest first."""
        ran = [step for step in self.steps if step.seconds_in(State.RUNNING) > 0]
        return sorted(ran, key=lambda step: -step.seconds_in(State.RUNNING))[:most]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "format": FORMAT,
            "name": self.name,
            "run_id": self.run_id,
            "verdict": self.verdict,
            "started_at": self.started_at,
            "started": timestamp(self.started_at),
            "seconds": round(self.seconds, 6),
            "missed_events": self.missed,
            "critical_path": [step.id for step in self.path],
            "longest": [step.id for step in self.longest()],
            "utilisation": [curve.as_json() for curve in self.curves],
            "steps": [_step_json(step) for step in self.steps],
        }


class Clock:
    """Takes events, keeps what counts, and gives the timing at any moment."""

    def __init__(self) -> None:
        self._name = ""
        self._verdict = ""
        self._started_at = 0.0
        self._now = 0.0
        self._now_at = 0.0
        self._missed = 0
        self._steps: dict[str, StepTime] = {}
        self._uses: dict[str, Mapping[str, int]] = {}
        self._meter = Meter()

    def fold(self, event: Event) -> None:
        """Take one event in."""
        self._now = max(self._now, event.elapsed_seconds)
        self._now_at = event.at
        match event.kind:
            case Kind.RUN_STARTED:
                self._name, self._started_at = event.data.get("name", ""), event.at
                for name, units in event.data.get("limits", {}).items():
                    self._meter.limit(name, event.elapsed_seconds, units)
                self._add(event.data.get("steps", ()))
            case Kind.STEPS_ADDED:
                self._add(event.data.get("steps", ()))
            case Kind.LIMIT:
                self._meter.limit(event.data["name"], event.elapsed_seconds, event.data.get("units"))
            case Kind.STATE:
                self._change(event)
            case Kind.MISSED:
                self._missed += int(event.data.get("count", 0))
            case Kind.RUN_ENDED:
                self._verdict = event.data.get("verdict", "")
            case _:
                pass

    def timing(self, run_id: str = "") -> Timing:
        """What it comes to so far; a step that has not ended counts until the newest event."""
        steps = [self._closed(step) for step in self._steps.values()]
        path = taken_path(steps)
        for step in path:
            step.is_on_path = True
        return Timing(
            name=self._name,
            run_id=run_id,
            verdict=self._verdict,
            started_at=self._started_at,
            seconds=self._now,
            steps=tuple(steps),
            path=tuple(path),
            curves=self._meter.curves(self._now),
            missed=self._missed,
        )

    def _add(self, described: Iterable[Mapping[str, Any]]) -> None:
        for facts in described:
            step = facts["id"]
            if step not in self._steps:
                self._steps[step] = StepTime(
                    id=step,
                    title=facts.get("title") or step,
                    group=facts.get("group", ""),
                    backend=facts.get("backend", ""),
                    needs=tuple(facts.get("needs", ())),
                    since=self._now,
                )
                self._uses[step] = facts.get("uses", {})
                if (state := State(facts.get("state", State.SCHEDULED))) is not State.SCHEDULED:
                    self._move(self._steps[step], state, self._now, self._now_at)

    def _change(self, event: Event) -> None:
        if event.step not in self._steps:
            self._add([{"id": event.step}])
        step, new = self._steps[event.step], event.new
        assert new
        self._move(step, new, event.elapsed_seconds, event.at)
        step.reason = event.reason
        step.attempts = event.data.get("attempt", step.attempts) or step.attempts
        step.link = event.data.get("link", "") or step.link
        if new in ENDS:
            step.ended, step.ended_at = event.elapsed_seconds, event.at

    def _move(self, step: StepTime, new: State, now: float, now_at: float) -> None:
        """Close one account and open the next. In a resumed run the time before it is in none."""
        if step.state in _COUNTED:
            step.spans.append(Span(state=step.state, begin=step.since, end=now))
        elif new in _COUNTED and step.allowed is None:
            step.allowed = now
        if (step.state is State.RUNNING) != (new is State.RUNNING):
            change = 1 if new is State.RUNNING else -1
            self._meter.take("total", now, change)
            self._meter.take(f"backends.{step.backend}", now, change)
            for name, units in self._uses[step.id].items():
                self._meter.take(f"resources.{name}", now, change * units)
        step.state, step.since = new, now
        if new is State.RUNNING and step.started is None:
            step.started, step.started_at = now, now_at

    def _closed(self, step: StepTime) -> StepTime:
        spans = list(step.spans)
        if step.state in _COUNTED:
            spans.append(Span(state=step.state, begin=step.since, end=self._now))
        return replace(step, spans=spans)


def taken_path(steps: Iterable[StepTime]) -> list[StepTime]:
    """The critical path as it was taken, in order: what had to be faster for the run to end sooner.

    Back from the step that ran and ended last, each time to that of its dependencies which ended last before it was
    allowed. Time for which a step then waited for room is the path's, too, whoever had the room.
    """
    known = {step.id: step for step in steps}
    ordered = sorted(known)
    ended = [step for step in known.values() if step.ended is not None and step.started is not None]
    if not ended:
        return []
    at = max(ended, key=lambda step: step.ended or 0.0)
    path = [at]
    seen = {at.id}
    while True:
        allowed = path[-1].allowed
        if allowed is None:
            allowed = path[-1].ended or 0.0  # it never ran, and what forbade it goes on the chain
        causes = [
            known[member]
            for need in path[-1].needs
            for member in members(need, ordered)
            if member in known and member not in seen
        ]
        done = [cause for cause in causes if cause.ended is not None and cause.ended <= allowed]
        if not done:
            return path[::-1]
        # One that was skipped allowed it as well, but took no time: where it ends a tie, the one that ran is meant.
        path.append(max(done, key=lambda cause: (cause.ended or 0.0, cause.started is not None)))
        seen.add(path[-1].id)


def _step_json(step: StepTime) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": step.id,
        "title": step.title,
        "group": step.group,
        "backend": step.backend,
        "state": step.state,
        "attempts": step.attempts,
        "is_on_critical_path": step.is_on_path,
        "started_at": step.started_at,
        "ended_at": step.ended_at,
        "allowed_after_seconds": _rounded(step.allowed),
        "started_after_seconds": _rounded(step.started),
        "ended_after_seconds": _rounded(step.ended),
        "gate_seconds": _rounded(step.seconds_in(State.BLOCKED_ON_GATE)),
        "wait_seconds": _rounded(step.seconds_in(State.QUEUED)),
        "run_seconds": _rounded(step.seconds_in(State.RUNNING)),
        "retry_seconds": _rounded(step.seconds_in(State.RETRY_WAIT)),
        "link": step.link,
    }
    if step.reason:
        found["reason"] = {"code": step.reason.code, "message": step.reason.message, "cause": step.reason.cause}
    return found


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
