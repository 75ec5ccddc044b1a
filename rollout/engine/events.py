"""What observers hear: frozen events, numbered without a gap from 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from rollout.engine.states import State


class Kind(StrEnum):
    """What happened."""

    RUN_STARTED = "run-started"
    """data: name, steps (a list of {id, title, group, backend, needs, weight, uses}), resumed (bool), limits (name to
    units, as in LIMIT). In a resumed run a step has `state` as well, where a former process left it in another than
    scheduled: no event of its own tells that"""
    STEPS_ADDED = "steps-added"
    """data: steps, as above; `step` is the one that added them"""
    STATE = "state"
    """A step changed: `old`, `new`, `reason`; data: attempt, and in an end link, tail and output, where there are"""
    ATTACHED = "attached"
    """data: external_id, link"""
    PROGRESS = "progress"
    """data: text. The newest of a step is all that matters: these are the first to be left out."""
    LIMIT = "limit"
    """A limit was changed; data: name, units (None: unbounded)"""
    STOPPING = "stopping"
    """data: stage (1, 2 or 3), why"""
    COMPENSATING = "compensating"
    """`step` is being undone; data: outcome ("started", "passed", "failed"), message"""
    MISSED = "missed"
    """Only in one observer's queue, which was full: data: count of events left out right before this one"""
    RUN_ENDED = "run-ended"
    """data: verdict ("passed", "failed", "stopped"), counts by state"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a step came into a state."""

    code: str
    message: str
    cause: str = ""
    """The id of the step that caused it, where another did."""
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened."""

    number: int
    at: float
    """Wall time, seconds since 1970: what cloud logs are matched by."""
    elapsed_seconds: float
    """Since the run's start, by a clock that never jumps."""
    kind: Kind
    step: str = ""
    old: State | None = None
    new: State | None = None
    reason: Reason | None = None
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Observer(Protocol):
    """Hears of a run, in its own task, through a queue of its own: one that is slow misses events, and is told so.

    One that raises is heard of in the report and hears no more.
    """

    async def on_event(self, event: Event) -> None:
        """Called for one event after the other, in the order of their numbers."""
        ...

    async def close(self) -> None:
        """The run is over, or this observer has failed."""
        ...
