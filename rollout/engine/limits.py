"""How much may run at once: in all, on each backend, and of each named resource.

A limit's name is a key path: `total`, `backends.NAME` or `resources.NAME`. A step takes one of the total, one of its
backend's, and what it `uses` of resources. A limit that is not there is unbounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from rollout.engine.spec import Step

TOTAL: Final = "total"
_BACKENDS: Final = "backends."
_RESOURCES: Final = "resources."


class Provider(Protocol):
    """A resource whose units change while a run goes on, such as a region's quota."""

    def units(self) -> int | None:
        """How many there are, those in use by the run included; None is unbounded. Answers from memory, at once."""
        ...

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed`, on the run's event loop, whenever `units` may answer otherwise; the result ends that.

        Nobody polls: a change that is not told is seen only by chance.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run begins with; all of it can be changed while it goes on."""

    total: int | None = None
    backends: Mapping[str, int] = field(default_factory=dict[str, int])
    resources: Mapping[str, int | Provider] = field(default_factory=dict[str, "int | Provider"])
    """Every resource that a step uses is listed."""

    def sources(self) -> dict[str, int | Provider]:
        """Every limit by its name."""
        total: dict[str, int | Provider] = {} if self.total is None else {TOTAL: self.total}
        backends = {backend_limit(name): units for name, units in self.backends.items()}
        resources = {resource_limit(name): units for name, units in self.resources.items()}
        return total | backends | resources

    def providers(self) -> Iterator[tuple[str, Provider]]:
        """The resources that change, by their limit's name: who runs the plan subscribes to them."""
        for name, units in self.resources.items():
            if not isinstance(units, int):
                yield resource_limit(name), units

    def faults(self) -> list[str]:
        """What is wrong with static figures, one line each. A dynamic one may be anything, nought too: steps wait."""
        return [
            f"limit {name}: {units!r} is not a whole number of 1 or more; leave it out for no limit"
            for name, units in self.sources().items()
            if isinstance(units, (int, float)) and (type(units) is not int or units < 1)
        ]


def backend_limit(backend: str) -> str:
    """The name of a backend's limit."""
    return _BACKENDS + backend


def resource_limit(resource: str) -> str:
    """The name of a resource's limit."""
    return _RESOURCES + resource


def demand(step: Step) -> dict[str, int]:
    """What a step takes while it runs: units by limit's name."""
    resources = {resource_limit(name): units for name, units in sorted(step.uses.items())}
    return {TOTAL: 1, backend_limit(step.backend): 1} | resources
