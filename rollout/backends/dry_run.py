"""A plan, told instead of done: every call is printed in the order in which it would be made, and passes.

What is not known before is shown as a placeholder: `<step.field>` for another step's output. Steps that a step would
add cannot be told, only that it would. Gates do not wait and are printed instead.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from rollout.engine.backend import Attempt, Failed, Outcome, Passed
from rollout.engine.spec import Approval, Bake, FailureBudget, Plan, Ref, Retry, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A call that would be made."""

    step_id: str
    backend: str
    params: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    """What comes before or after it: a gate, steps that it adds, what would undo it."""

    def __str__(self) -> str:
        lines = [f"{self.step_id}: {self.backend} {json.dumps(self.params, ensure_ascii=False)}"]
        return "\n".join([*lines, *(f"    {note}" for note in self.notes)])


class DryRun:
    """A plan like the given one, and backends for all its names, to be run in its place."""

    def __init__(self, plan: Plan, tell: Callable[[str], object]) -> None:
        """`tell` gets the text of each call, of one or more lines."""
        self.told: list[Told] = []
        self._tell = tell
        self._steps = {step.id: step for step in plan.steps}
        self.plan = dataclasses.replace(plan, steps=tuple(map(_harmless, plan.steps)), timeout_seconds=None)
        self.backends = {name: Printed(self.record) for name in sorted(_backends(plan))}

    def record(self, step_id: str, params: Mapping[str, Any]) -> None:
        """Tell one call."""
        step = self._steps[step_id]
        told = Told(step_id=step_id, backend=step.backend, params=params, notes=tuple(_notes(step)))
        self.told.append(told)
        self._tell(str(told))


class Printed:
    """The backend of dry runs: it tells what it is asked to do, and says that it is done."""

    def __init__(self, record: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._record = record

    async def run(self, attempt: Attempt) -> Outcome:
        """Told, not done."""
        self._record(attempt.step_id, attempt.params)
        return Passed(message="not done, only told")

    async def reattach(self, attempt: Attempt, external_id: str) -> Outcome:  # noqa: ARG002 - the protocol's names
        """There is nothing to come back to."""
        return Failed(code="lost", message="a dry run begins nothing that could be found again")

    async def cancel(self, attempt: Attempt) -> None:
        """Nothing runs."""

    async def close(self) -> None:
        """Nothing is held."""


def _harmless(step: Step) -> Step:
    """The same step without what waits, what needs an output, and what would only confuse if the run were stopped."""
    params = cast("dict[str, Any]", _with_placeholders(step.params))
    expand = adds_nothing if step.expand else None  # others may need what it adds
    return dataclasses.replace(
        step, params=params, gate=None, output=None, expand=expand, compensation=None, retry=Retry()
    )


def adds_nothing(_output: object) -> tuple[Step, ...]:
    """What a step adds whose output nobody knows."""
    return ()


def _with_placeholders(value: Any) -> Any:
    if isinstance(value, Ref):
        return f"<{value.step}.{value.field}>"
    if isinstance(value, Mapping):
        return {key: _with_placeholders(below) for key, below in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_with_placeholders(below) for below in cast("list[Any]", value)]
    return value


def _notes(step: Step) -> Iterator[str]:
    match step.gate:
        case Approval(question=question):
            yield f"before: somebody approves: {question}"
        case Bake(seconds=seconds):
            yield f"before: {seconds:g} s pass"
        case FailureBudget(most=most, of=of):
            yield f"before: at most {most} of {', '.join(of)} have failed"
        case None:
            pass
    if step.expand:
        yield "after: it may add steps, by what it finds"
    if step.compensation:
        params = json.dumps(_with_placeholders(step.compensation.params), ensure_ascii=False)
        yield f"undone, should the run fail, by: {step.compensation.backend} {params}"


def _backends(plan: Plan) -> set[str]:
    undo = {step.compensation.backend for step in plan.steps if step.compensation}
    return {step.backend for step in plan.steps} | undo
