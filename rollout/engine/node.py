"""A step among the others: what it waits for, what waits for it, and how long the way is from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from rollout.engine.spec import Step


@dataclass(slots=True, kw_only=True)
class Node:
    """A step in its graph."""

    step: Step
    order: int
    parent: str
    """The step that added it; empty for one of the plan's."""
    needs: list[str]
    adders: set[str] = field(default_factory=set[str])
    dependents: list[str] = field(default_factory=list[str])
    length: float = 0.0
