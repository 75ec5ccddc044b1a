"""What is to be done: steps and plans, frozen. They know nothing of runners, Google or GitHub.

A step is data, but for two references to code: the type of its output, and the function that adds steps. Both have to
be importable by name, so that a run can be resumed from its journal by the same plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel


class Rule(StrEnum):
    """When a step's dependencies let it run; the other rule is `AtLeast`."""

    ALL = "all"
    """Once all passed; it is skipped as soon as one cannot any more."""
    ANY = "any"
    """As soon as one passed; it is skipped once all ended and none did."""
    ALWAYS = "always"
    """Once all ended, however they did: cleanup. In a run that is being stopped it runs if one of them ever started."""
    ON_FAILURE = "on-failure"
    """Once all ended and one of them failed, timed out or was killed: a way back. Otherwise it is skipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtLeast:
    """As soon as so many dependencies passed, or such a share of them; it is skipped as soon as that is out of reach.

    Exactly one is given; a share, above 0 to 1, is rounded up to whole steps.
    """

    steps: int | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Ref:
    """A field of another step's output, anywhere inside a step's `params`; that step must be among its `needs`.

    `default` stands in where that step did not pass, which the rules other than ALL let happen; without one the step
    then fails with the code `missing-output`.
    """

    step: str
    field: str
    default: Any = ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A gate that a person opens, or refuses."""

    question: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bake:
    """A gate that opens so many seconds of wall time after the dependencies allowed the step, resumed runs included."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureBudget:
    """A gate that refuses once more than `most` of the named steps ended badly. It never waits.

    `of` are ids, or patterns of ids with `*`.
    """

    most: int
    of: tuple[str, ...]


Gate = Approval | Bake | FailureBudget


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a step is tried, by the class of its error.

    A class that is not listed is not tried again. A try counts however it ended, but for a backend that said it was
    busy: that takes no try. Waits double from `first_seconds` to `most_seconds`, with full jitter, and are never
    shorter than what the failure asks for.
    """

    tries: Mapping[str, int] = field(default_factory=dict[str, int])
    """Error class, such as "unavailable", to the most tries in all, 2 or more."""
    first_seconds: float = 1.0
    most_seconds: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Compensation:
    """What undoes a step that has started, in a run that does not pass. References may name the step's own output."""

    backend: str
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    timeout_seconds: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do, on one backend."""

    id: str
    """Unique in the plan: letters, digits and `-_./:@`."""
    backend: str
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the backend is told: JSON values and `Ref`s."""
    title: str = ""
    """What people read; the id where it is empty."""
    group: str = ""
    """The row under which it is shown."""
    needs: tuple[str, ...] = ()
    """Ids. `NAME/*` means step NAME and all that it, and what it added, add while the run goes on."""
    rule: Rule | AtLeast = Rule.ALL
    uses: Mapping[str, int] = field(default_factory=dict[str, int])
    """Units of named resources that it holds while it runs, such as {"cpus/us-west1": 96}."""
    weight: float = 1.0
    """Expected seconds; the longest way to the end by weight goes first."""
    retry: Retry = field(default_factory=Retry)
    try_timeout_seconds: float | None = None
    timeout_seconds: float | None = None
    """From when it was first queued to its end: all tries, and the waits between them."""
    gate: Gate | None = None
    output: type[BaseModel] | None = None
    """What the output must be; an output that is not fails the step with the code `output`."""
    expand: Callable[[Any], Iterable[Step]] | None = None
    """A pure function of the output (the model, or the mapping) that gives more steps once this one has passed.

    Their ids begin with this step's id and a slash. A resumed run calls it again.
    """
    compensation: Compensation | None = None
    optional: bool = False
    """Its bad end does not make the run fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All steps that are known at the beginning, in the order in which equals go first."""

    name: str
    steps: tuple[Step, ...]
    timeout_seconds: float | None = None
    """After that the run stops as if it were cancelled."""
