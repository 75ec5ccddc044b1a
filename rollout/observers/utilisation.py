"""How much of each limit was in use over time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Point = tuple[float, int]
"""From so many seconds after the run's start, so many units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One limit: units in use, and units allowed, both as steps over time."""

    name: str
    """A key path, as the engine names limits: total, backends.NAME, resources.NAME."""
    used: tuple[Point, ...]
    allowed: tuple[tuple[float, int | None], ...]
    """Empty, or None from some time on, where nothing bounds it."""
    seconds: float

    @property
    def most(self) -> int:
        """The most units at one moment."""
        return max((units for _, units in self.used), default=0)

    @property
    def unit_seconds(self) -> float:
        """Units in use times seconds."""
        return _area(self.used, self.seconds)

    @property
    def mean(self) -> float:
        """Units in use on average over the whole run."""
        return self.unit_seconds / self.seconds if self.seconds else 0.0

    @property
    def share(self) -> float | None:
        """The share of what was allowed that was in use; None where it was unbounded at any time."""
        bounded = [(at, units) for at, units in self.allowed if units is not None]
        if not bounded or len(bounded) < len(self.allowed) or bounded[0][0] > 0:
            return None
        room = _area(bounded, self.seconds)
        return self.unit_seconds / room if room else None

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "limit": self.name,
            "most": self.most,
            "mean": round(self.mean, 3),
            "share": None if self.share is None else round(self.share, 4),
            "allowed": [[round(at, 6), units] for at, units in self.allowed],
            "used": [[round(at, 6), units] for at, units in self.used],
        }


class Meter:
    """Adds up what is taken and given back."""

    def __init__(self) -> None:
        self._used: defaultdict[str, list[Point]] = defaultdict(list)
        self._allowed: defaultdict[str, list[tuple[float, int | None]]] = defaultdict(list)

    def limit(self, name: str, at: float, units: int | None) -> None:
        """From now on so many units are allowed."""
        # The first one holds from the beginning: it is the run's own, heard of a moment later.
        self._allowed[name].append((at if self._allowed[name] else 0.0, units))

    def take(self, name: str, at: float, units: int) -> None:
        """So many more are in use; or, below 0, fewer."""
        points = self._used[name]
        now = (points[-1][1] if points else 0) + units
        if points and points[-1][0] == at:
            points[-1] = (at, now)
        else:
            points.append((at, now))

    def curves(self, seconds: float) -> tuple[Curve, ...]:
        """All of them, over a run of so many seconds."""
        # The total first, then backends, then resources.
        order = {"total": 0, "backends": 1}
        names = sorted(
            self._used.keys() | self._allowed.keys(), key=lambda name: (order.get(name.partition(".")[0], 2), name)
        )
        return tuple(
            Curve(name=name, used=tuple(self._used[name]), allowed=tuple(self._allowed[name]), seconds=seconds)
            for name in names
        )


def _area(points: Sequence[Point], seconds: float) -> float:
    return sum(units * (end - begin) for (begin, units), (end, _) in pairwise([*points, (seconds, 0)]))
