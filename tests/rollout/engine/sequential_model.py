"""A whole run in the simplest way: one step after the other, every rule by its words over how all dependencies ended.

What a run does at once, early, and by counts must come to the same ends. A step's script is in its params: `tries`, how
one try after the other goes ("pass", "busy" or the class of an error; the last one goes on for ever), and `adds`, the
steps that it adds. So a plan alone says how its run goes, whatever backend reads it, resumed runs included.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel

from rollout.engine.backend import Busy, Failed, Outcome, Passed
from rollout.engine.spec import AtLeast, FailureBudget, Plan, Retry, Rule, Step
from rollout.engine.states import BAD_ENDS, State

NEVER_RAN = {State.SKIPPED, State.CANCELLED}


class Adds(BaseModel):
    """What a scripted step passes with: the steps that it adds, as data."""

    steps: list[dict[str, Any]] = []


def grow(output: Adds) -> list[Step]:
    """The expansion of every scripted step that adds any."""
    return [scripted(**fields) for fields in output.steps]


def scripted(
    step_id: str,
    tries: Iterable[str] = ("pass",),
    adds: Iterable[Mapping[str, Any]] = (),
    needs: Iterable[str] = (),
    retried: int = 1,
    **fields: Any,
) -> Step:
    """A step whose params tell how it goes; `adds` are the arguments of this function for the steps that it adds."""
    adds = [dict(below) for below in adds]
    return Step(
        id=step_id,
        backend=fields.pop("backend", "scripted"),
        params={"tries": list(tries), "adds": adds},
        needs=tuple(needs),
        retry=Retry(
            tries={"unavailable": retried} if retried > 1 else {},
            first_seconds=0.0,
            most_seconds=0.0,
        ),
        output=Adds,
        expand=grow if adds else None,
        **fields,
    )


def outcome(params: Mapping[str, Any], call: int) -> Outcome:
    """How the backend's call with this number goes; the first is 0, and one that meets a busy backend counts, too."""
    tries = params["tries"]
    told = tries[min(call, len(tries) - 1)]
    if told == "pass":
        return Passed(output={"steps": params["adds"]})
    if told == "busy":
        return Busy(message="come again")
    return Failed(code="scripted", message=f"as scripted: {told}", error_class=told)


@dataclass(kw_only=True)
class Ends:
    """What every step comes to."""

    states: dict[str, State] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    """How many tries each took; a busy backend took none."""
    optional: set[str] = field(default_factory=set)

    @property
    def failed(self) -> bool:
        """Whether a step ended badly that is not optional."""
        return any(state in BAD_ENDS and step not in self.optional for step, state in self.states.items())


def predict(plan: Plan, *, cancelled: Collection[str] = (), refused: Collection[str] = ()) -> Ends:
    """The one end that each step can come to, where some are cancelled before the run begins, or a gate is refused.

    A budget's steps have to be among the needs of its step, and the rule one that waits for all of them: otherwise what
    it counts would depend on the order. Of two cancelled ones neither may come after the other, for the same reason.
    """
    ends = Ends(optional={step.id for step in plan.steps if step.optional})
    steps = {step.id: step for step in plan.steps}
    added_by: dict[str, str] = {}
    waiting = list(steps)
    while waiting:
        still = []
        for step_id in waiting:
            needs = resolved(steps[step_id], steps, added_by)
            if step_id in cancelled:
                ends.states[step_id] = State.CANCELLED
            elif any(need not in ends.states for need in needs):
                still.append(step_id)
            else:
                states = {need: ends.states[need] for need in needs}
                ends.states[step_id], added = end(steps[step_id], states, ends, refused)
                for more in added:
                    steps[more.id] = more
                    added_by[more.id] = step_id
                    still.append(more.id)
                    ends.optional |= {more.id} if more.optional else set()
        assert still != waiting, f"nothing goes on: {still}"
        waiting = still
    return ends


def resolved(step: Step, steps: Mapping[str, Step], added_by: Mapping[str, str]) -> set[str]:
    """The step's needs, with `X/*` as X and whatever it, and what it added, added so far."""
    found = set()
    for need in step.needs:
        if not need.endswith("/*"):
            found.add(need)
            continue
        top = need.removesuffix("/*")
        for candidate in steps:
            above = candidate
            while above:
                if above == top:
                    found.add(candidate)
                above = added_by.get(above, "")
    return found


def met(rule: Rule | AtLeast, states: Collection[State]) -> bool:
    """Whether a rule lets a step run, once all of its dependencies have ended."""
    passed = sum(state is State.PASSED for state in states)
    if rule is Rule.ALL:
        return passed == len(states)
    if rule is Rule.ANY:
        return passed > 0
    if rule is Rule.ALWAYS:
        return True
    if rule is Rule.ON_FAILURE:
        return any(state in BAD_ENDS for state in states)
    assert isinstance(rule, AtLeast)
    if rule.steps is not None:
        return passed >= rule.steps
    assert rule.share is not None
    return passed >= math.ceil(round(rule.share * len(states), 6))


def end(step: Step, states: Mapping[str, State], ends: Ends, refused: Collection[str]) -> tuple[State, list[Step]]:
    """How a step ends whose dependencies have all ended, and what it adds."""
    if not met(step.rule, list(states.values())) or step.id in refused:
        return State.SKIPPED, []
    if isinstance(step.gate, FailureBudget):
        named = {need for need in states for pattern in step.gate.of if fnmatch.fnmatchcase(need, pattern)}
        if sum(states[need] in BAD_ENDS for need in named) > step.gate.most:
            return State.SKIPPED, []
    return ran(step, ends)


def ran(step: Step, ends: Ends) -> tuple[State, list[Step]]:
    """How a step ends that runs, and what it adds; its tries are counted in `ends`."""
    tries, call = 0, 0
    while True:
        told = outcome(step.params, call)
        call += 1
        if isinstance(told, Busy):
            continue
        tries += 1
        ends.tries[step.id] = tries
        if isinstance(told, Passed):
            return State.PASSED, grow(Adds.model_validate(told.output)) if step.expand else []
        if tries >= step.retry.tries.get(told.error_class, 1):
            return State.FAILED, []


def contradictions(
    steps: Collection[Step],
    states: Mapping[str, State],
    added_by: Mapping[str, str],
    *,
    stopped: bool,
    cancelled: Collection[str] = (),
    refused: Collection[str] = (),
) -> list[str]:
    """What in a run's ends cannot be, whenever the run was stopped and steps were cancelled: one line each.

    Where a stop or a cancel may come at any time there is no one end to predict; but every end has to follow from the
    ends of the step's dependencies.
    """
    known = {step.id: step for step in steps}
    found = []
    for step in steps:
        state = states[step.id]
        needs = [states[need] for need in resolved(step, known, added_by)]
        lets = met(step.rule, needs)
        began = any(need not in NEVER_RAN for need in needs)
        told = f"{step.id} ({step.rule}) is {state} after {sorted(needs)}"
        if state not in NEVER_RAN and not lets:
            found.append(f"{told}: its rule did not let it run")
        if state is State.SKIPPED and lets and step.gate is None and step.id not in refused:
            found.append(f"{told}: its rule let it run")
        if state is State.CANCELLED and not stopped and step.id not in cancelled:
            found.append(f"{told}: nobody cancelled it")
        if state is State.CANCELLED and step.rule is Rule.ALWAYS and began and step.id not in cancelled:
            found.append(f"{told}: it cleans up after what began, and was not cancelled itself")
    return found


TRIES = st.lists(st.sampled_from(["pass", "busy", "unavailable", "permanent"]), max_size=3).flatmap(
    lambda begin: st.sampled_from(["pass", "pass", "unavailable", "permanent"]).map(lambda last: [*begin, last])
)
RULES = st.one_of(
    st.sampled_from([Rule.ALL, Rule.ALL, *Rule]),
    st.integers(1, 3).map(lambda steps: AtLeast(steps=steps)),
    st.sampled_from([0.01, 0.3, 0.5, 0.8, 1.0]).map(lambda share: AtLeast(share=share)),
)


@st.composite
def plans(
    draw: st.DrawFn, *, most: int = 12, expanding: bool = True, resources: Mapping[str, int] | None = None
) -> Plan:
    """Plans of a few scripted steps: any rules, outcomes, retries, optional steps and expansions, in any order."""
    steps: list[Step] = []
    for number in range(draw(st.integers(1, most))):
        needs = draw(st.sets(st.sampled_from([step.id for step in steps]), max_size=4)) if steps else set()
        adds = draw(additions(f"s{number}")) if expanding and draw(st.integers(0, 4)) == 0 else []
        adding = {step.id for step in steps if step.expand}
        steps.append(
            scripted(
                f"s{number}",
                tries=draw(TRIES),
                adds=adds,
                needs=[f"{need}/*" if need in adding and draw(st.booleans()) else need for need in sorted(needs)],
                retried=draw(st.integers(1, 3)),
                rule=fitting(draw(RULES), needs),
                optional=draw(st.booleans()),
                weight=draw(st.sampled_from([0.0, 1.0, 5.0])),
                uses=draw(uses(resources or {})),
            )
        )
    return Plan(name="random", steps=tuple(draw(st.permutations(steps))))


@st.composite
def additions(draw: st.DrawFn, parent: str, *, deeper: bool = True) -> list[dict[str, Any]]:
    """What an expansion adds, as data: a few steps that may need each other, one of which may add more."""
    found: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 3))):
        step_id = f"{parent}/a{number}"
        before = [fields["step_id"] for fields in found]
        needs = sorted(draw(st.sets(st.sampled_from(before)))) if before else []
        found.append({"step_id": step_id, "tries": draw(TRIES), "needs": needs})
        if deeper and draw(st.booleans()):
            found[-1]["adds"] = draw(additions(step_id, deeper=False))
    return found


def uses(resources: Mapping[str, int]) -> st.SearchStrategy[dict[str, int]]:
    """Some of these resources, never more than there is."""
    return st.fixed_dictionaries({}, optional={name: st.integers(1, most) for name, most in resources.items()})


def fitting(rule: Rule | AtLeast, needs: Collection[str]) -> Rule | AtLeast:
    """The rule, or one that a step with so few needs may have."""
    if isinstance(rule, AtLeast) and needs and rule.steps is not None:
        return AtLeast(steps=min(rule.steps, len(needs)))
    return rule if needs or rule is Rule.ALWAYS else Rule.ALL
