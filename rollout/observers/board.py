"""A run as its observers know it: folded from events alone, tested alone, and drawn by whoever wants to."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final

from rollout.engine.events import Event, Kind, Reason
from rollout.engine.states import BAD_ENDS, ENDS, State
from rollout.observers.chains import Way, ways

MOST_LISTED: Final = 200
"""A view lists no more steps of a kind than that: no terminal has more lines."""
UNDOING: Final = {"started": "is being undone", "passed": "is undone", "failed": "could not be undone"}
"""What the outcomes of a compensation mean, in words."""
_STAGES: Final = {1: "stopping", 2: "killing what runs", 3: "leaving"}
UNDER_WAY: Final = frozenset({State.RUNNING, State.RETRY_WAIT})


@dataclass(slots=True, kw_only=True)
class StepLine:
    """One step as it stands."""

    id: str
    title: str
    group: str
    backend: str = ""
    state: State = State.SCHEDULED
    since_seconds: float = 0.0
    """When it came into this state, since the run's start."""
    started_seconds: float | None = None
    """When it first ran."""
    attempt: int = 0
    reason: Reason | None = None
    text: str = ""
    """What its backend last said of its progress."""
    link: str = ""
    tail: tuple[str, ...] = ()

    def ran_seconds(self) -> float | None:
        """From its first try to now, or to its end; None where it never ran. Needs a line of an ended step."""
        return None if self.started_seconds is None else self.since_seconds - self.started_seconds


@dataclass(slots=True, kw_only=True)
class GroupLine:
    """The steps of one group, counted."""

    name: str
    counts: Counter[State] = field(default_factory=Counter[State])
    started_seconds: float | None = None
    ended_seconds: float | None = None
    """None while one of its steps has not ended; a group that grows has not either."""

    @property
    def total(self) -> int:
        """How many steps it has so far."""
        return self.counts.total()

    @property
    def ended(self) -> int:
        """How many of them are over, however they ended."""
        return sum(self.counts[state] for state in ENDS)

    @property
    def bad(self) -> int:
        """How many failed, timed out or were killed."""
        return sum(self.counts[state] for state in BAD_ENDS)

    def elapsed_seconds(self, now_seconds: float) -> float:
        """From its first try to now, or to its last step's end; 0 before."""
        if self.started_seconds is None:
            return 0.0
        return (now_seconds if self.ended_seconds is None else self.ended_seconds) - self.started_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A moment of the board that nothing changes any more, for another thread to draw."""

    name: str
    elapsed_seconds: float
    verdict: str
    """Empty while the run goes on."""
    stopping: str
    """Why, and how hard; empty while nobody asked for it."""
    groups: tuple[GroupLine, ...]
    counts: Mapping[State, int]
    failures: tuple[StepLine, ...]
    """The oldest first."""
    gates: tuple[StepLine, ...]
    running: tuple[StepLine, ...]
    """The longest running first; steps between two tries are among them."""
    undoing: tuple[tuple[str, str], ...]
    """Title and outcome of steps that were, or are being, undone."""
    longest_left: Way | None
    is_weighed: bool
    """Whether the plan says how long its steps take; else all count the same, and seconds mean nothing."""
    missed: int

    @property
    def total(self) -> int:
        """All steps that are known."""
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        """Those that are over."""
        return sum(count for state, count in self.counts.items() if state in ENDS)


class Board:
    """Takes every event in `fold`. An event that was missed leaves it a little behind, never wrong for long."""

    def __init__(self) -> None:
        self.name = ""
        """The plan's."""
        self.verdict = ""
        self.stopping = ""
        self.missed = 0
        self.started_at = 0.0
        self.elapsed_seconds = 0.0
        """Of the newest event."""
        self.steps: dict[str, StepLine] = {}
        self.groups: dict[str, GroupLine] = {}
        self.counts: Counter[State] = Counter()
        self.failures: dict[str, StepLine] = {}
        self.undoing: dict[str, str] = {}
        self._gates: dict[str, StepLine] = {}
        self._running: dict[str, StepLine] = {}
        self._described: dict[str, Mapping[str, Any]] = {}
        self._left: list[tuple[float, int, str]] | None = None
        self._ways: dict[str, Way] = {}

    def fold(self, event: Event) -> None:
        """Take one event in."""
        self.elapsed_seconds = max(self.elapsed_seconds, event.elapsed_seconds)
        match event.kind:
            case Kind.RUN_STARTED:
                self.name, self.started_at = event.data.get("name", ""), event.at
                self._add(event.data.get("steps", ()))
            case Kind.STEPS_ADDED:
                self._add(event.data.get("steps", ()))
            case Kind.STATE:
                self._change(event)
            case Kind.ATTACHED | Kind.PROGRESS | Kind.COMPENSATING:
                self._note(event)
            case Kind.STOPPING:
                hard = _STAGES.get(event.data.get("stage", 1), "stopping")
                self.stopping = f"{hard}: {event.data.get('why', '')}"
            case Kind.MISSED:
                self.missed += int(event.data.get("count", 0))
            case Kind.RUN_ENDED:
                self.verdict = event.data.get("verdict", "")
            case Kind.LIMIT:
                pass

    @property
    def ended(self) -> int:
        """How many steps are over."""
        return sum(self.counts[state] for state in ENDS)

    def line(self, step: str) -> StepLine:
        """The line of a step, also of one whose addition was missed."""
        if step not in self.steps:
            self._add([{"id": step}])
        return self.steps[step]

    def view(self, now_seconds: float | None = None) -> View:
        """The board as it is; `now_seconds` since the run's start, the newest event's time where it is not given."""
        now = self.elapsed_seconds if now_seconds is None or self.verdict else max(now_seconds, self.elapsed_seconds)
        return View(
            name=self.name,
            elapsed_seconds=now,
            verdict=self.verdict,
            stopping=self.stopping,
            groups=tuple(replace(group, counts=group.counts.copy()) for group in self.groups.values()),
            counts=dict(self.counts),
            failures=_copied(self.failures),
            gates=_copied(self._gates),
            running=_copied(self._running),
            undoing=tuple((self.line(step).title, outcome) for step, outcome in self.undoing.items()),
            longest_left=None if self.verdict else self._longest_left(),
            is_weighed=any(facts.get("weight", 1) != 1 for facts in self._described.values()),
            missed=self.missed,
        )

    def _add(self, described: Iterable[Mapping[str, Any]]) -> None:
        for facts in described:
            step = facts["id"]
            if step in self.steps:
                continue
            line = StepLine(
                id=step,
                title=facts.get("title") or step,
                group=facts.get("group", ""),
                backend=facts.get("backend", ""),
                state=State(facts.get("state", State.SCHEDULED)),
            )
            self.steps[step], self._described[step] = line, facts
            self._list(line)
            group = self.groups.setdefault(line.group, GroupLine(name=line.group))
            group.counts[line.state] += 1
            group.ended_seconds = self.elapsed_seconds if group.ended == group.total else None
            self.counts[line.state] += 1
        self._left = None

    def _note(self, event: Event) -> None:
        """What is said of a step without changing its state."""
        line, data = self.line(event.step), event.data
        if event.kind is Kind.COMPENSATING:
            self.undoing[event.step] = data.get("outcome", "")
        line.link = data.get("link", "") or line.link
        line.text = data.get("text", line.text)

    def _change(self, event: Event) -> None:
        assert event.new
        line, new = self.line(event.step), event.new
        group = self.groups[line.group]
        for counts in (group.counts, self.counts):
            # From our own state, not from event.old: where events were missed, the sums stay true.
            counts[line.state] -= 1
            counts[new] += 1
        line.state, line.since_seconds, line.reason = new, event.elapsed_seconds, event.reason
        line.attempt = event.data.get("attempt", line.attempt) or line.attempt
        line.link = event.data.get("link", "") or (event.reason.link if event.reason else "") or line.link
        line.tail = tuple(event.data.get("tail", ()))
        if new is State.RUNNING:
            line.text = ""
            line.started_seconds = event.elapsed_seconds if line.started_seconds is None else line.started_seconds
            group.started_seconds = event.elapsed_seconds if group.started_seconds is None else group.started_seconds
        self._list(line)
        if group.ended == group.total:
            group.ended_seconds = event.elapsed_seconds

    def _list(self, line: StepLine) -> None:
        """Let the line stand in the lists where its state belongs, and in no other."""
        for kept, states in ((self._running, UNDER_WAY), (self._gates, {State.BLOCKED_ON_GATE})):
            if line.state not in states:
                kept.pop(line.id, None)
            else:
                kept.setdefault(line.id, line)
        if line.state in BAD_ENDS:
            self.failures[line.id] = line

    def _longest_left(self) -> Way | None:
        """Of all steps that have not ended; each is looked at once more only after the plan has grown."""
        if self._left is None:
            self._ways = ways(self._described)
            self._left = [
                (-way.seconds, -way.steps, step)
                for step, way in self._ways.items()
                if self.steps[step].state not in ENDS
            ]
            heapq.heapify(self._left)
        while self._left and self.steps[self._left[0][2]].state in ENDS:
            heapq.heappop(self._left)
        return self._ways[self._left[0][2]] if self._left else None


def _copied(lines: Mapping[str, StepLine]) -> tuple[StepLine, ...]:
    return tuple(replace(line) for line in islice(lines.values(), MOST_LISTED))
