"""Queued steps that take the same of every limit: where the first of them does not fit, none does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

Rank = tuple[float, int]
Age = tuple[int, int]


@dataclass(slots=True, kw_only=True, eq=False)
class Queued:
    """A step that waits for room."""

    step_id: str
    number: int
    """By which two are told apart where all else is equal: a step that comes again may still be in its old places."""
    rank: Rank
    """What is smaller goes first: the longest way to the end (its length, negative), then what was submitted first."""
    age: Age
    """What is smaller has waited longer: before which look at the queue it came, then what was submitted first."""
    line: Line
    passed_over: int = 0
    favoured: bool = False
    """It was passed over too often: it goes first, and what it lacks is kept for it."""
    gone: bool = False
    """Admitted or withdrawn; in heaps it is left until it comes up."""


@dataclass(slots=True, kw_only=True, eq=False)
class Line:
    """Queued steps of one demand."""

    demand: Mapping[str, int]
    """Units by limit's name."""
    lacks: str = ""
    """The limit at which it was found not to fit; empty while it is to be looked at, or empty."""
    filing: int = 0
    """The number of its newest entries in `Filings`; older ones are void."""
    called_by: str = ""
    """The limit that got room, for which it is looked at again."""
    favourite: Queued | None = None
    _by_rank: list[tuple[Rank, int, Queued]] = field(default_factory=list[tuple[Rank, int, Queued]])
    _by_age: list[tuple[Age, int, Queued]] = field(default_factory=list[tuple[Age, int, Queued]])

    def push(self, queued: Queued) -> None:
        """One more step."""
        heappush(self._by_rank, (queued.rank, queued.number, queued))
        heappush(self._by_age, (queued.age, queued.number, queued))

    def advance(self, queued: Queued, rank: Rank) -> None:
        """One of its steps goes sooner than it did; at its old place, further behind, it is gone when that comes up."""
        queued.rank = rank
        heappush(self._by_rank, (rank, queued.number, queued))

    def head(self) -> Queued | None:
        """Who goes next: the favourite, else the first by rank."""
        if self.favourite and not self.favourite.gone:
            return self.favourite
        self.favourite = None
        while self._by_rank and self._by_rank[0][2].gone:
            heappop(self._by_rank)
        return self._by_rank[0][2] if self._by_rank else None

    def oldest(self) -> Queued | None:
        """Who has waited longest."""
        while self._by_age and self._by_age[0][2].gone:
            heappop(self._by_age)
        return self._by_age[0][2] if self._by_age else None

    def urgency(self) -> tuple[int, Any]:
        """What is smaller is looked at first: favourites by age, then the others by rank. For lines with a head."""
        head = self.head()
        assert head
        return (0, head.age) if head.favoured else (1, head.rank)


class Filings:
    """Lines in some order. An entry is void once its line was filed anew, anywhere, and left until it comes up."""

    def __init__(self) -> None:
        self._entries: list[tuple[Any, int, Line]] = []

    def push(self, key: Any, line: Line) -> None:
        """File a line under its present number; numbers are unique, so that lines are never compared."""
        heappush(self._entries, (key, line.filing, line))

    def first(self) -> Line | None:
        """The first line, left where it is."""
        entries = self._entries
        while entries and entries[0][1] != entries[0][2].filing:
            heappop(entries)
        return entries[0][2] if entries else None

    def pop(self) -> Line | None:
        """The first line, taken out."""
        line = self.first()
        if line:
            heappop(self._entries)
        return line
