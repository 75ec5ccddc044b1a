"""Which queued steps start now: the longest way to the end first, never over a limit, and nothing starves.

Steps of one demand stand in one line, and a line that does not fit is filed at the limit that it lacks. A look at the
queue goes only through lines that are new, and through those filed at limits that got room, and there only so far as
the room goes; so what is blocked costs nothing, however much of it there is.

Smaller and later steps go past one that does not fit, so that nothing idles for it; but only so often (`PATIENCE`).
Passed over is a step each time a limit that it lacks gives units to one that ranks below it or that came later. Then
it is favoured: it goes first, and what it lacks is kept for it, limit by limit as each is found to be lacking and from
then on, while all else stays open to others. Of two favoured ones the older goes first, so that they never wait for
each other. Nothing is kept for a step that asks for more than there is at all, as after a limit was lowered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Final

from rollout.engine.limits import TOTAL, Limits, Provider, backend_limit, demand, resource_limit
from rollout.engine.queue_line import Age, Filings, Line, Queued
from rollout.engine.spec import Step

PATIENCE: Final = 8
"""So often may others go past a step before units are kept for it.

Measured by `benchmarks/patience.py`: at 8 a step that takes half of the units or more waits at longest a third of what
it waits where nothing is kept, and all of it ends 5 % sooner; from 1 to 32 the end differs by no more than 6 %.
"""


class LimitError(Exception):
    """A limit that cannot be set so. Its text is one line for people."""


@dataclass(slots=True, kw_only=True)
class _Limit:
    """One limit, what of it is in use, and who waits for it."""

    name: str
    units: int | None = None
    in_use: int = 0
    waiting: dict[int, Filings] = field(default_factory=dict[int, Filings])
    """Lines filed here, most urgent first, by how many units they take: those that take too many are not looked at."""
    tried: list[Line] = field(default_factory=list[Line])
    """Lines filed here in the present look, which does not look at them again."""
    by_age: Filings = field(default_factory=Filings)
    by_rank: Filings = field(default_factory=Filings)
    """All lines filed here, to find who is being passed over."""
    claims: list[tuple[Age, int, Queued]] = field(default_factory=list[tuple[Age, int, Queued]])
    """Favoured steps for which units are kept here; only the oldest one's are."""

    def room(self, queued: Queued) -> int | None:
        """Units that this step could take; None is no end of them."""
        if self.units is None:
            return None
        while self.claims and not (self.claims[0][2].favoured and not self.claims[0][2].gone):
            heappop(self.claims)
        kept = 0
        if self.claims:
            holder = self.claims[0][2]
            if holder is not queued and not (queued.favoured and queued.age < holder.age):
                kept = holder.line.demand[self.name]
        return self.units - self.in_use - kept

    def fits(self, queued: Queued) -> bool:
        room = self.room(queued)
        return room is None or queued.line.demand[self.name] <= room


class Admission:
    """The queue, and what is in use. Pure: it starts nothing itself, and knows no clock."""

    def __init__(self, limits: Limits, *, patience: int = PATIENCE) -> None:
        self._patience = patience
        self._sources: dict[str, int | Provider | None] = dict(limits.sources())
        self._limits: dict[str, _Limit] = {}
        self._lines: dict[tuple[tuple[str, int], ...], Line] = {}
        self._queued: dict[str, Queued] = {}
        self._held: dict[str, Line] = {}
        """What admitted steps hold is what their line takes."""
        self._numbers = count()
        self._filings = count(1)
        self._look = 0
        self._to_look_at = Filings()
        self._freed: dict[str, None] = {}
        self._touched: dict[str, None] = {}
        for name in self._sources:
            self._limit(name)

    def queue(self, step: Step, *, length: float, order: int) -> None:
        """A step waits for room from now on; `length` and `order` are the graph's."""
        assert step.id not in self._queued, f"{step.id} is queued already"
        taken = demand(step)
        line = self._lines.setdefault(tuple(taken.items()), Line(demand=taken))
        before = (line.head(), line.oldest())
        number = next(self._numbers)
        queued = Queued(step_id=step.id, number=number, rank=(-length, order), age=(self._look, order), line=line)
        self._queued[step.id] = queued
        line.push(queued)
        self._place(line, before)

    def withdraw(self, step_id: str) -> bool:
        """Take a step out that is not to start any more; False where it was not queued."""
        queued = self._queued.pop(step_id, None)
        if queued is None:
            return False
        before = (queued.line.head(), queued.line.oldest())
        queued.gone = True
        if queued.favoured:
            self._freed.update(dict.fromkeys(queued.line.demand))
        self._place(queued.line, before)
        return True

    def lengthen(self, step_id: str, length: float) -> None:
        """A step has a longer way to the end than it had; nothing happens where it has not, or is not queued."""
        queued = self._queued.get(step_id)
        if queued and -length < queued.rank[0]:
            queued.line.advance(queued, (-length, queued.rank[1]))
            if queued.line.head() is queued:
                self._file_anew(queued.line)

    def admit(self) -> list[str]:
        """The steps that start now, in order. What they take is in use until `release`."""
        self._look += 1
        admitted: list[str] = []
        while self._freed or self._to_look_at.first():
            freed, self._freed = self._freed, {}
            for name in freed:
                self._call_next(name)
            while line := self._to_look_at.pop():
                if step_id := self._look_at(line):
                    admitted.append(step_id)
            self._end_of_look()
        return admitted

    def release(self, step_id: str) -> None:
        """An admitted step holds nothing any more."""
        for name, units in self._held.pop(step_id).demand.items():
            self._limit(name).in_use -= units
            self._freed[name] = None

    def set_limit(self, name: str, units: int | None) -> None:
        """Change a limit, a provider's too (which is not asked any more). None is no limit, 0 lets nothing more start.

        One that is below what is in use takes nothing away: it waits. Raises LimitError.
        """
        resources = [known for known in self._sources if known.startswith(resource_limit(""))]
        if name != TOTAL and not name.startswith(backend_limit("")) and name not in resources:
            raise LimitError(f"there is no limit {name!r}; there are {', '.join([TOTAL, 'backends.NAME', *resources])}")
        if units is not None and (type(units) is not int or units < 0):
            raise LimitError(f"limit {name}: {units!r} is not a whole number, 0 or more, nor none")
        self._sources[name] = units
        self.changed(name)

    def changed(self, name: str) -> None:
        """A provider says that its units are others."""
        limit = self._limit(name)
        limit.units = self._units(name)
        for line in self._lines.values():
            if name in line.demand and line.head():
                self._put_forward(line)

    def units(self, name: str) -> int | None:
        """How many there are; None is no limit."""
        return self._limit(name).units

    def in_use(self, name: str) -> int:
        """Units that running steps hold."""
        return self._limit(name).in_use

    def waits_for(self, step_id: str) -> str:
        """Why a queued step has not been admitted, for people; empty where nobody has looked yet."""
        queued = self._queued[step_id]
        if not queued.line.lacks:
            return ""
        limit = self._limit(queued.line.lacks)
        wanted = queued.line.demand[limit.name]
        kept = ", which are being kept for it" if queued.favoured else ""
        return f"{limit.name}: {wanted} wanted{kept}, {limit.in_use} of {limit.units} in use"

    def _limit(self, name: str) -> _Limit:
        limit = self._limits.get(name)
        if limit is None:
            limit = self._limits[name] = _Limit(name=name, units=self._units(name))
        return limit

    def _units(self, name: str) -> int | None:
        source = self._sources.get(name)
        return source if source is None or isinstance(source, int) else source.units()

    def _place(self, line: Line, before: tuple[Queued | None, Queued | None]) -> None:
        if before != (line.head(), line.oldest()):
            self._file_anew(line)

    def _file_anew(self, line: Line) -> None:
        """Who stands first in a line is another, which changes nothing about whether it fits."""
        if not line.head():
            line.filing = next(self._filings)
            line.lacks = ""
        elif line.lacks:
            self._file(line, self._limit(line.lacks))
            self._end_of_look()
        else:
            self._put_forward(line)

    def _put_forward(self, line: Line) -> None:
        """A line is to be looked at; where it was filed its entries are void."""
        line.lacks = ""
        line.filing = next(self._filings)
        self._to_look_at.push(line.urgency(), line)

    def _call_next(self, name: str) -> None:
        """Put forward the most urgent line filed at a limit for which there is room now."""
        limit = self._limit(name)
        best: Line | None = None
        for filed in limit.waiting.values():
            line = filed.first()
            head = line.head() if line else None
            if line and head and limit.fits(head) and (best is None or line.urgency() < best.urgency()):
                best = line
        if best:
            best.called_by = name
            self._put_forward(best)

    def _look_at(self, line: Line) -> str | None:
        """Admit the line's head and give its id, or file the line at the limit that it lacks."""
        called_by, line.called_by = line.called_by, ""
        head = line.head()
        step_id = None
        if head:
            lacking = self._lacking(head)
            if lacking:
                self._file(line, lacking)
            else:
                step_id = head.step_id
                self._take(head)
        if called_by:
            self._call_next(called_by)
        return step_id

    def _lacking(self, head: Queued) -> _Limit | None:
        limits = [self._limit(name) for name in head.line.demand]
        for limit in limits:
            if limit.units is not None and head.line.demand[limit.name] > limit.units:
                return limit
        return next((limit for limit in limits if not limit.fits(head)), None)

    def _file(self, line: Line, limit: _Limit) -> None:
        head, oldest = line.head(), line.oldest()
        assert head
        assert oldest
        line.lacks = limit.name
        line.filing = next(self._filings)
        wanted = line.demand[limit.name]
        if limit.units is not None and wanted > limit.units:
            self._give_up(head)
            return
        limit.tried.append(line)
        self._touched[limit.name] = None
        limit.by_age.push(oldest.age, line)
        limit.by_rank.push(head.rank, line)
        if head.favoured:
            heappush(limit.claims, (head.age, head.number, head))

    def _give_up(self, head: Queued) -> None:
        """It asks for more than there is: the line waits for the limit to change, and nothing is kept for it."""
        if head.favoured:
            head.favoured = False
            head.passed_over = 0
            head.line.favourite = None
            self._freed.update(dict.fromkeys(head.line.demand))

    def _end_of_look(self) -> None:
        """What was filed is open to being called again."""
        for name in self._touched:
            limit = self._limit(name)
            for line in limit.tried:
                if line.lacks == name and line.head():
                    filed = limit.waiting.setdefault(line.demand[name], Filings())
                    filed.push(line.urgency(), line)
            limit.tried.clear()
        self._touched.clear()

    def _take(self, head: Queued) -> None:
        line = head.line
        head.gone = True
        del self._queued[head.step_id]
        self._held[head.step_id] = line
        for name, units in line.demand.items():
            self._limit(name).in_use += units
        if line.head():
            self._put_forward(line)
        for waiting in self._passed_by(head):
            waiting.passed_over += 1
            if waiting.passed_over >= self._patience and not waiting.line.favourite:
                self._favour(waiting)

    def _passed_by(self, admitted: Queued) -> list[Queued]:
        """Of those that lack what it took, the oldest and the first by rank, if they rank above it or came before."""
        others = {id(oldest): oldest} if (oldest := admitted.line.oldest()) else {}
        for name in admitted.line.demand:
            limit = self._limit(name)
            if by_age := limit.by_age.first():
                oldest = by_age.oldest()
                if oldest:
                    others[id(oldest)] = oldest
            if by_rank := limit.by_rank.first():
                head = by_rank.head()
                if head:
                    others[id(head)] = head
        return [other for other in others.values() if other.rank < admitted.rank or other.age[0] < admitted.age[0]]

    def _favour(self, queued: Queued) -> None:
        queued.favoured = True
        queued.line.favourite = queued
        self._put_forward(queued.line)
