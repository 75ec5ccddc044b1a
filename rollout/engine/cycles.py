"""Order and cycles of a graph that may be very deep: no recursion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence


def needs_first(starts: Iterable[str], needs: Callable[[str], Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Everything that the starts lead to, each after its needs; and cycles, each member followed by one it needs.

    Of every knot of cycles at least one is told, and no step is in two of them. They begin with their member that was
    reached first. With cycles the order is of no use.
    """
    done: dict[str, None] = {}
    place: dict[str, int] = {}
    """Where on the way down a step stands."""
    told: set[str] = set()
    cycles: list[list[str]] = []
    for start in starts:
        if start in done:
            continue
        way: list[tuple[str, Iterator[str]]] = [(start, iter(needs(start)))]
        place[start] = 0
        while way:
            step_id, left = way[-1]
            need = next(left, None)
            if need is None:
                way.pop()
                del place[step_id]
                done[step_id] = None
            elif need in place:
                cycle = [member for member, _ in way[place[need] :]]
                if told.isdisjoint(cycle):
                    told.update(cycle)
                    cycles.append(cycle)
            elif need not in done:
                place[need] = len(way)
                way.append((need, iter(needs(need))))
    return list(done), cycles
