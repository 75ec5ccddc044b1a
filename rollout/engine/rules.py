"""When a step's dependencies let it run, decided from counts, and what one end means for all that come after it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rollout.engine.events import Reason
from rollout.engine.graph import Added, Graph
from rollout.engine.spec import AtLeast, Rule
from rollout.engine.states import BAD_ENDS, State


class Decision(StrEnum):
    """What a step's dependencies say."""

    WAIT = "wait"
    RUN = "run"
    """It may go to its gate, or to the queue."""
    SKIP = "skip"
    """Its rule can no longer be met: it ends as SKIPPED."""
    CANCEL = "cancel"
    """The run is being stopped, and its rule does not ask for it: it ends as CANCELLED."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """How many of a step's dependencies there are, and how they stand."""

    total: int = 0
    ended: int = 0
    passed: int = 0
    bad: int = 0
    """Failed, timed out or killed."""
    started: int = 0
    """Ended ones that a backend ever had."""
    growing: int = 0
    """Not ended, and may still add dependencies to this step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is new for one step: RUN, SKIP or CANCEL, once and for all."""

    step: str
    decision: Decision
    reason: Reason


def decide(rule: Rule | AtLeast, counts: Counts, *, stopping: bool = False) -> Decision:
    """What the rule says. In a run that is being stopped only ALWAYS asks for anything, and only if something began."""
    if stopping and rule is not Rule.ALWAYS:
        return Decision.CANCEL
    match rule:
        case Rule.ALL:
            return Decision.SKIP if counts.passed < counts.ended else _once_all_ended(counts, Decision.RUN)
        case Rule.ANY:
            return _threshold(counts, 1)
        case Rule.ALWAYS:
            return _once_all_ended(counts, Decision.CANCEL if stopping and not counts.started else Decision.RUN)
        case Rule.ON_FAILURE:
            return _once_all_ended(counts, Decision.RUN if counts.bad else Decision.SKIP)
        case AtLeast(steps=int() as steps):
            return _threshold(counts, steps)
        case AtLeast():
            return Decision.WAIT if counts.growing else _threshold(counts, share_in_steps(rule, counts.total))


def _once_all_ended(counts: Counts, decision: Decision) -> Decision:
    return decision if counts.ended == counts.total else Decision.WAIT


def share_in_steps(rule: AtLeast, total: int) -> int:
    """A share in whole steps, rounded up; 1e-9 of a step too much is a float's error and not another step."""
    return max(1, math.ceil((rule.share or 0.0) * total - 1e-9))


def _threshold(counts: Counts, least: int) -> Decision:
    if counts.passed >= least:
        return Decision.RUN
    out_of_reach = not counts.growing and counts.passed + counts.total - counts.ended < least
    return Decision.SKIP if out_of_reach else Decision.WAIT


_VERBS: Final = {
    State.PASSED: "passed",
    State.FAILED: "failed",
    State.TIMED_OUT: "timed out",
    State.KILLED: "was killed",
    State.CANCELLED: "was cancelled",
    State.SKIPPED: "was skipped",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    state: State
    started: bool
    cause: str
    """The step at which the trouble began: itself, but for one that was skipped for another's sake."""


class Dependencies:
    """How every step's dependencies stand, and what each end changes; the one place where ends are passed on.

    It keeps no states: it tells the run what its rules say, once per step, and is told of every end in turn. What it
    decides to be the end of a step (SKIP, CANCEL) it passes on itself, by a worklist, so that a chain of any length is
    settled by one call.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._counts: dict[str, Counts] = {}
        self._decided: set[str] = set()
        self._ends: dict[str, _End] = {}
        self._blamed: dict[str, str] = {}
        """The dependency that is named in a step's reason: the first that ended badly, else that did not pass."""
        self._stopping = False
        for step_id in graph.ids:
            self._count(step_id)

    def begin(self) -> list[Change]:
        """What may run, or cannot, before anything has ended."""
        return self._look_at(self._graph.ids)

    def settle(self, step_id: str, state: State, *, started: bool) -> list[Change]:
        """Pass an end on: changes of all steps that it decides, nearest first.

        `started` is whether a backend ever had the step. An expansion's steps are added before (`grow`), so that what
        waits for them never sees its last dependency end too early. A second end of a step is ignored.
        """
        if step_id in self._ends:
            return []
        self._decided.add(step_id)
        self._ends[step_id] = _End(state=state, started=started, cause=step_id)
        return self._pass_on(step_id)

    def grow(self, added: Added) -> list[Change]:
        """Take an expansion's steps in, before its parent's end is settled; changes of those that need not wait."""
        assert added.parent not in self._ends, f"{added.parent} ended before what it adds was there"
        for step_id in added.steps:
            self._count(step_id)
        for waiter, more in added.grown.items():
            counts = self._counts[waiter]
            counts.total += len(more)
            counts.growing += sum(need in self._graph.adders(waiter) for need in more)
        return self._look_at(added.steps)

    def stop(self) -> list[Change]:
        """The run is being stopped: changes of all that is not decided yet.

        What has been let run, and has not started, is the caller's to end, where `may_run_in_a_stop` says no.
        """
        self._stopping = True
        return self._look_at(self._graph.ids)

    def may_run_in_a_stop(self, step_id: str) -> bool:
        """Whether a step that its dependencies already let run goes on to run although the run is being stopped."""
        return decide(self._graph.step(step_id).rule, self._counts[step_id], stopping=True) is Decision.RUN

    def counts(self, step_id: str) -> Counts:
        """How its dependencies stand, to tell people; not to be changed."""
        return self._counts[step_id]

    def _count(self, step_id: str) -> None:
        adders = self._graph.adders(step_id)
        needs = self._graph.needs(step_id)
        counts = Counts(total=len(needs), growing=len(adders))
        self._counts[step_id] = counts
        for need in needs:
            if need in self._ends:
                self._tally(step_id, need)

    def _tally(self, step_id: str, need: str) -> None:
        counts, end = self._counts[step_id], self._ends[need]
        counts.ended += 1
        counts.passed += end.state is State.PASSED
        counts.bad += end.state in BAD_ENDS
        counts.started += end.started
        counts.growing -= need in self._graph.adders(step_id)
        blamed = self._blamed.get(step_id)
        if end.state is not State.PASSED and (
            blamed is None or (end.state in BAD_ENDS and self._ends[blamed].state not in BAD_ENDS)
        ):
            self._blamed[step_id] = need

    def _look_at(self, step_ids: Iterable[str]) -> list[Change]:
        changes: list[Change] = []
        for step_id in step_ids:
            if change := self._decide(step_id):
                changes.append(change)
                changes += self._consequences(change)
        return changes

    def _pass_on(self, step_id: str) -> list[Change]:
        changes: list[Change] = []
        ended = deque([step_id])
        while ended:
            need = ended.popleft()
            for dependent in self._graph.dependents(need):
                if dependent in self._decided:
                    continue
                self._tally(dependent, need)
                if change := self._decide(dependent):
                    changes.append(change)
                    if self._ends_it(change):
                        ended.append(dependent)
        return changes

    def _consequences(self, change: Change) -> Iterator[Change]:
        if self._ends_it(change):
            yield from self._pass_on(change.step)

    def _decide(self, step_id: str) -> Change | None:
        if step_id in self._decided:
            return None
        rule = self._graph.step(step_id).rule
        decision = decide(rule, self._counts[step_id], stopping=self._stopping)
        if decision is Decision.WAIT:
            return None
        self._decided.add(step_id)
        return Change(step=step_id, decision=decision, reason=self._reason(step_id, rule, decision))

    def _ends_it(self, change: Change) -> bool:
        if change.decision is Decision.RUN:
            return False
        state = State.SKIPPED if change.decision is Decision.SKIP else State.CANCELLED
        self._ends[change.step] = _End(state=state, started=False, cause=change.reason.cause or change.step)
        return True

    def _reason(self, step_id: str, rule: Rule | AtLeast, decision: Decision) -> Reason:
        counts = self._counts[step_id]
        if decision is Decision.RUN:
            return Reason(code="needs-met", message=self._met(rule, counts))
        if decision is Decision.CANCEL:
            nothing = " and nothing it comes after had started" if rule is Rule.ALWAYS else ""
            return Reason(code="stopped", message=f"the run was stopped before this began{nothing}")
        if rule is Rule.ON_FAILURE:
            return Reason(code="nothing-failed", message=f"none of {_needs(counts.total)} failed")
        told, cause = self._blame(step_id)
        match rule:
            case AtLeast():
                least = rule.steps or share_in_steps(rule, counts.total)
                told = f"{counts.passed} of {_needs(counts.total)} passed and {least} have to{told and ': '}{told}"
            case Rule.ANY if counts.total > 1:
                told = f"none of {_needs(counts.total)} passed: {told}"
            case _:
                pass
        return Reason(code="needs-not-met", message=told, cause=cause)

    def _blame(self, step_id: str) -> tuple[str, str]:
        """What is told of the dependency that stands for all that did not pass, and where its trouble began."""
        blamed = self._blamed.get(step_id)
        if blamed is None:
            return "", ""  # an expansion that added fewer steps than have to pass
        end = self._ends[blamed]
        told = f"{blamed} {_VERBS[end.state]}"
        if end.cause != blamed:
            told += f", since {end.cause} {_VERBS[self._ends[end.cause].state]}"
        return told, end.cause

    @staticmethod
    def _met(rule: Rule | AtLeast, counts: Counts) -> str:
        if not counts.total:
            return "it needs nothing"
        return f"{counts.passed} of {_needs(counts.total)} passed, {counts.bad} failed (rule {_named(rule)})"


def _needs(total: int) -> str:
    return f"{total} needs" if total != 1 else "1 need"


def _named(rule: Rule | AtLeast) -> str:
    if isinstance(rule, Rule):
        return str(rule)
    return f"at least {rule.steps}" if rule.steps is not None else f"at least {rule.share:.0%}"
