"""Steps beside the graph that they are to become part of: judged as a whole before anything changes."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from rollout.engine import step_faults
from rollout.engine.cycles import needs_first
from rollout.engine.limits import Limits, resource_limit
from rollout.engine.node import Node
from rollout.engine.outputs import has_field, refs
from rollout.engine.spec import FailureBudget, Ref, Step

ALL_ADDED: Final = "/*"
"""How a need ends that means a step and all that it, and what it added, add."""

_SUGGESTIONS: Final = 20
"""So many misspelt ids are looked up among all; a plan with more has another trouble, and a look-up takes its time."""


class Draft:
    """Steps that are to be added to a graph, or are all of it."""

    def __init__(
        self,
        nodes: Mapping[str, Node],
        awaited: Mapping[str, Sequence[str]],
        matching: Callable[[Iterable[str]], Sequence[str]],
        parent: str,
        given: Iterable[Step],
    ) -> None:
        self._matching = matching
        self._nodes = nodes
        self.parent = parent
        self.steps: list[Step] = []
        self._new: dict[str, Step] = {}
        self._repeated: list[str] = []
        for step in given:
            if step.id in nodes or step.id in self._new:
                self._repeated.append(step.id)
            else:
                self._new[step.id] = step
                self.steps.append(step)
        self._suggestions = _SUGGESTIONS
        self._above = list(self._line(parent))
        self.needs: dict[str, list[str]] = {}
        self.adders: dict[str, set[str]] = {}
        waiters = dict.fromkeys(waiter for above in self._above for waiter in awaited.get(above, ()))
        self.grown = {waiter: tuple(self._new) for waiter in waiters if self._new}
        self.needs_first: list[str] = []

    def faults(self, backends: Collection[str] | None, limits: Limits | None) -> list[str]:
        """Every fault, one line each; fills in `needs`, `adders` and `needs_first`."""
        found = [f"step {step_id}: there is another of this id; ids are unique in a run" for step_id in self._repeated]
        for step in self.steps:
            faults = [*step_faults.of_step(step), *self._of_needs(step), *self._of_place(step)]
            faults += [*self._of_refs(step), *_of_backends(step, backends), *self._of_budget(step)]
            if limits:
                faults += _of_uses(step, limits)
            found += [f"step {step.id}: {fault}" for fault in faults]
        return found + [_cycle_told(cycle) for cycle in self._cycles()]

    def _line(self, step_id: str) -> Iterator[str]:
        while step_id:
            yield step_id
            step_id = self._nodes[step_id].parent

    def _get(self, step_id: str) -> Step | None:
        node = self._nodes.get(step_id)
        return node.step if node else self._new.get(step_id)

    def _of_place(self, step: Step) -> Iterator[str]:
        if self.parent and not step.id.startswith(f"{self.parent}/"):
            yield f"a bad id; what {self.parent} adds begins with {self.parent}/"

    def _of_needs(self, step: Step) -> Iterator[str]:
        needs: dict[str, None] = {}
        adders: set[str] = set()
        if isinstance(step.needs, str):
            yield f"needs: {step.needs!r} is a text; give a tuple of ids"
        else:
            for need in step.needs:
                yield from self._of_need(step, need, needs, adders)
        self.needs[step.id] = list(needs)
        self.adders[step.id] = adders

    def _of_need(self, step: Step, need: str, needs: dict[str, None], adders: set[str]) -> Iterator[str]:
        name = need.removesuffix(ALL_ADDED)
        target = self._get(name)
        if target is None:
            yield f"needs: there is no step {name!r}{self._meant(name)}"
        elif name == step.id or (need != name and name in self._above):
            yield f"needs: {need} is the step itself, or what it is part of"
        elif need == name:
            needs[name] = None
        elif target.expand is None:
            yield f"needs: {need}, and {name} adds no steps; say {name}"
        else:
            for member in self._members(name):
                needs[member] = None
                known = self._get(member)
                if known and known.expand:
                    adders.add(member)

    def _members(self, name: str) -> Iterator[str]:
        """A step and all that it, and what it added, have added so far."""
        yield name
        if name in self._nodes:
            yield from (step_id for step_id in self._matching([f"{name}{ALL_ADDED}"]) if name in self._line(step_id))

    def _meant(self, name: str) -> str:
        if not self._suggestions:
            return ""
        self._suggestions -= 1
        close = difflib.get_close_matches(name, [*self._nodes, *self._new], n=1)
        return f"; is {close[0]} meant?" if close else ""

    def _of_refs(self, step: Step) -> Iterator[str]:
        needs = self.needs[step.id]
        for path, ref in refs(step.params, "params"):
            if ref.step not in needs:
                yield f"{path}: refers to {ref.step!r}, which is not among its needs ({listed(needs)})"
            else:
                yield from self._of_ref(path, ref)
        if step.compensation:
            for path, ref in refs(step.compensation.params, "compensation.params"):
                if ref.step not in needs and ref.step != step.id:
                    yield f"{path}: refers to {ref.step!r}, which is neither it nor among its needs ({listed(needs)})"
                else:
                    yield from self._of_ref(path, ref)

    def _of_ref(self, path: str, ref: Ref) -> Iterator[str]:
        target = self._get(ref.step)
        assert target
        if target.output is None:
            yield f"{path}: refers to {ref.step}.{ref.field}, and {ref.step} says no output; name its type there"
        elif not has_field(target.output, ref.field):
            fields = listed(target.output.model_fields)
            yield f"{path}: refers to {ref.step}.{ref.field}; {target.output.__name__} has {fields}"

    def _of_budget(self, step: Step) -> Iterator[str]:
        if not isinstance(step.gate, FailureBudget):
            return
        for pattern in step.gate.of:
            begin = pattern.partition("*")[0]
            here = fnmatch.filter(self._new, pattern) or self._matching([pattern])
            if not here and not self._may_come(pattern, begin):
                yield f"gate failure budget: {pattern!r} is no step, nor could one be added of that name"

    def _may_come(self, pattern: str, begin: str) -> bool:
        every = chain((node.step for node in self._nodes.values()), self.steps)
        below = (f"{step.id}/" for step in every if step.expand)
        return any(begin.startswith(place) or ("*" in pattern and place.startswith(begin)) for place in below)

    def _cycles(self) -> list[list[str]]:
        """Every cycle that these steps close. Older ones matter only where one of them will wait for these."""

        def leads_to(step_id: str) -> Sequence[str]:
            if step_id in self._new:
                return self.needs[step_id]
            if step_id == self.parent or not self.grown:
                return ()
            return [*self._nodes[step_id].needs, *self.grown.get(step_id, ())]

        order, cycles = needs_first(self._new, leads_to)
        self.needs_first = [step_id for step_id in order if step_id in self._new]
        return cycles


def _of_backends(step: Step, backends: Collection[str] | None) -> Iterator[str]:
    if backends is None:
        return
    if step.backend not in backends:
        yield f"backend: there is no {step.backend!r}; there are {listed(backends)}"
    if step.compensation and step.compensation.backend not in backends:
        yield f"compensation.backend: there is no {step.compensation.backend!r}; there are {listed(backends)}"


def _of_uses(step: Step, limits: Limits) -> Iterator[str]:
    for name, units in step.uses.items():
        if name not in limits.resources:
            yield f"uses.{name}: there is no such resource; there are {listed(limits.resources)}"
            continue
        most = limits.resources[name]
        if isinstance(most, int) and units > most:
            yield f"uses.{name}: {units} units, and {resource_limit(name)} is {most}; it could never run"


def _cycle_told(cycle: Sequence[str]) -> str:
    most = 20
    named = [*cycle[:most], f"({len(cycle) - most} more)"] if len(cycle) > most else list(cycle)
    return f"cycle: {' -> '.join([*named, cycle[0]])}; each of them needs the next"


def listed(names: Iterable[str]) -> str:
    """What there is, for people."""
    return ", ".join(names) or "none"
