"""A plan's steps and what each waits for, in both directions: checked as a whole, and able to grow during a run."""

from __future__ import annotations

import fnmatch
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain

from rollout.engine.draft import ALL_ADDED, Draft, listed
from rollout.engine.limits import Limits
from rollout.engine.node import Node
from rollout.engine.spec import Plan, Step
from rollout.engine.step_faults import of_seconds


class GraphError(Exception):
    """A plan, or what an expansion adds to it, makes no sense. All faults at once, one line each, in `faults`."""

    def __init__(self, name: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        count = f"{len(faults)} faults" if len(faults) != 1 else "1 fault"
        super().__init__(f"{name}: {count}\n" + "\n".join(f"  {fault}" for fault in self.faults))


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What an expansion changed."""

    parent: str
    steps: tuple[str, ...]
    """The new ones, in the order in which they were given."""
    grown: Mapping[str, tuple[str, ...]]
    """Steps that were there and need `…/*`, with the new ones that they now wait for as well."""
    longer: tuple[str, ...]
    """Steps that were there and now have a longer way to the end: their place in the queue may be another."""


class Graph:
    """All steps of a run. `backends` are the names that may be used; None is any. Raises GraphError."""

    def __init__(self, plan: Plan, *, backends: Collection[str] | None = None, limits: Limits | None = None) -> None:
        self._name = plan.name
        self._backends = backends
        self._limits = limits
        self._nodes: dict[str, Node] = {}
        self._ids: list[str] = []
        self._awaited: dict[str, list[str]] = {}
        """Steps that need `NAME/*`, by NAME."""
        self._matches: dict[str, list[str]] = {}
        """What was found for patterns; kept up to date as steps are added."""
        self._take("", plan.steps, [*self._of_limits(), *_of_plan(plan)])

    @property
    def ids(self) -> Sequence[str]:
        """Every step, in the order of submission; an expansion's come last."""
        return self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, step_id: object) -> bool:
        return step_id in self._nodes

    def step(self, step_id: str) -> Step:
        """What was submitted under this id."""
        return self._nodes[step_id].step

    def order(self, step_id: str) -> int:
        """Its place in the order of submission."""
        return self._nodes[step_id].order

    def needs(self, step_id: str) -> Sequence[str]:
        """What it waits for, `…/*` replaced by the steps that are there now."""
        return self._nodes[step_id].needs

    def dependents(self, step_id: str) -> Sequence[str]:
        """What waits for it."""
        return self._nodes[step_id].dependents

    def adders(self, step_id: str) -> AbstractSet[str]:
        """Those of its needs that may add to its needs when they pass."""
        return self._nodes[step_id].adders

    def length(self, step_id: str) -> float:
        """Weight of the longest way from its start to the end of the run: what has the longest goes first."""
        return self._nodes[step_id].length

    def critical_path(self) -> tuple[str, ...]:
        """The steps of the longest way through all of it; of equally long ones, what was submitted first."""
        path: list[str] = []
        following: Sequence[str] = self._ids
        while following:
            path.append(max(following, key=lambda step_id: (self.length(step_id), -self.order(step_id))))
            following = self.dependents(path[-1])
        return tuple(path)

    def matching(self, patterns: Iterable[str]) -> tuple[str, ...]:
        """The steps with one of these ids, or patterns with `*`, in the order of submission."""
        found = set(chain.from_iterable(self._matching(pattern) for pattern in patterns))
        return tuple(sorted(found, key=self.order))

    def add(self, parent: str, steps: Iterable[Step]) -> Added:
        """Take in what a step's expansion gives, before that step's end is passed on.

        The step that adds has passed, so that what is added never waits for it. It may need any step that is there; no
        step that is there comes to need anything new, but for those that need `…/*`. Raises GraphError, and then
        nothing has changed.
        """
        return self._take(parent, steps, [])

    def _matching(self, pattern: str) -> Sequence[str]:
        if "*" not in pattern:
            return [pattern] if pattern in self._nodes else []
        if pattern not in self._matches:
            self._matches[pattern] = fnmatch.filter(self._ids, pattern)
        return self._matches[pattern]

    def _take(self, parent: str, given: Iterable[Step], faults: list[str]) -> Added:
        draft = Draft(self._nodes, self._awaited, self.matching, parent, given)
        faults += draft.faults(self._backends, self._limits)
        if faults:
            raise GraphError(f"{self._name}, what {parent} adds" if parent else self._name, faults)
        return self._commit(draft)

    def _commit(self, draft: Draft) -> Added:
        for step in draft.steps:
            self._nodes[step.id] = Node(
                step=step,
                order=len(self._ids),
                parent=draft.parent,
                needs=draft.needs[step.id],
                adders=draft.adders[step.id],
            )
            self._ids.append(step.id)
            for need in step.needs:
                if need.endswith(ALL_ADDED):
                    self._awaited.setdefault(need.removesuffix(ALL_ADDED), []).append(step.id)
        new = [step.id for step in draft.steps]
        for step_id in new:
            for need in self._nodes[step_id].needs:
                self._nodes[need].dependents.append(step_id)
        for waiter, more in draft.grown.items():
            self._nodes[waiter].needs.extend(more)
            self._nodes[waiter].adders.update(need for need in more if self._nodes[need].step.expand)
            for need in more:
                self._nodes[need].dependents.append(waiter)
        for pattern, found in self._matches.items():
            found.extend(fnmatch.filter(new, pattern))
        longer = self._measure(draft.needs_first, draft.parent)
        return Added(parent=draft.parent, steps=tuple(new), grown=draft.grown, longer=longer)

    def _measure(self, needs_first: Sequence[str], parent: str) -> tuple[str, ...]:
        """Lengths of new steps, the last first, and then of those that were there and lead to them."""
        for step_id in reversed(needs_first):
            node = self._nodes[step_id]
            node.length = node.step.weight + self._longest(node.dependents)
        new = set(needs_first)
        longer: dict[str, None] = {}
        waiting = deque(need for step_id in needs_first for need in self._nodes[step_id].needs if need not in new)
        while waiting:
            step_id = waiting.popleft()
            node = self._nodes[step_id]
            length = node.step.weight + self._longest(node.dependents)
            if step_id != parent and length > node.length:
                node.length = length
                longer[step_id] = None
                waiting.extend(node.needs)
        return tuple(longer)

    def _longest(self, step_ids: Iterable[str]) -> float:
        return max((self._nodes[step_id].length for step_id in step_ids), default=0.0)

    def _of_limits(self) -> Iterator[str]:
        if not self._limits:
            return
        yield from self._limits.faults()
        for name in self._limits.backends:
            if self._backends is not None and name not in self._backends:
                yield f"limit backends.{name}: there is no such backend; there are {listed(self._backends)}"


def _of_plan(plan: Plan) -> Iterator[str]:
    seconds = plan.timeout_seconds
    if seconds is not None:
        yield from of_seconds("timeout_seconds", seconds)
