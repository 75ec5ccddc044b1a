"""All that may happen to a lease and those who want it, in steps of ten seconds, decided by `listener.lease`.

A process reads and writes the object; the service may serve a write late, and its answer may come late or never. A
write that its sender gave up may still be served. A read is one step: what it found counts from its answer on, so one
that was served earlier only shows an older generation, with which nothing can be written. A process may crash, and come
back as somebody else. It may be frozen, its monotonic clock with it; its wall clock goes on. Wall clocks are set, too.

Times are kept as ages, so that a state is the same whenever it comes about; generations are numbered anew in each.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from listener import lease
from listener.lease import Hold, Record, Watch

STEP_SECONDS = 10.0
NOTHING: Mapping[str, Any] = MappingProxyType({})
OLDEST = 3
"""Steps; more is as good as this. The lease is three."""


@dataclass(frozen=True, slots=True)
class Flight:
    """A write under way. `served` is None until the service has acted; then the generation that it made, or -1."""

    kind: str
    condition: int
    record: tuple[str, str]
    age: int = 0
    wall: int = 0
    served: int | None = None


@dataclass(frozen=True, slots=True)
class Process:
    holder: str
    watch: tuple[int, tuple[str, str], int] | None = None
    """Generation, record, age."""
    hold: tuple[int, int, int] | None = None
    """Generation, age, age by the wall clock."""
    flight: Flight | None = None
    ghost: Flight | None = None
    """A write that nobody waits for any more, and that may still be served."""
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class State:
    generation: int
    record: tuple[str, str]
    processes: tuple[Process, ...]
    crashes: int = 0
    freezes: int = 0
    losses: int = 0
    jumps: int = 0


@dataclass(frozen=True)
class Bounds:
    """How much may go wrong on one way."""

    processes: int = 2
    crashes: int = 1
    freezes: int = 1
    losses: int = 1
    jumps: int = 1


def acts(process: Process) -> bool:
    """Whether it may act now: the rule of the code itself."""
    if process.hold is None or process.frozen:
        return False
    _, age, wall = process.hold
    hold = Hold(generation="", began=-age * STEP_SECONDS, began_wall=-wall * STEP_SECONDS)
    return hold.seconds(0.0, 0.0) > 0


def search(bounds: Bounds) -> tuple[int, list[State] | None]:
    """How many states there are, and the way to one where two act."""
    first = State(0, ("", "held"), tuple(Process(f"p{number}") for number in range(bounds.processes)))
    before: dict[State, State | None] = {first: None}
    waiting = deque([first])
    while waiting:
        state = waiting.popleft()
        if sum(acts(process) for process in state.processes) > 1:
            return len(before), _way(before, state)
        for raw in _next(state, bounds):
            after = _numbered(raw)
            if after not in before:
                before[after] = state
                waiting.append(after)
    return len(before), None


def walk(bounds: Bounds, seed: int, steps: int) -> list[State] | None:
    """One way of so many steps, at random; all of it where it comes to a state in which two act.

    Times that pass, and answers that come, are likelier than accidents: else nobody would ever lead.
    """
    chance = random.Random(seed)
    way = [State(0, ("", "held"), tuple(Process(f"p{number}") for number in range(bounds.processes)))]
    for _ in range(steps):
        state = way[-1]
        choices = list(_next(state, bounds))
        quiet = [each for each in choices if _accidents(each) == _accidents(state)]
        way.append(_numbered(chance.choice(quiet if chance.random() < 0.9 else choices)))
        if sum(acts(process) for process in way[-1].processes) > 1:
            return way
    return None


def _accidents(state: State) -> tuple[int, list[bool]]:
    """An end of a frost is as rare as its beginning."""
    count = state.crashes + state.freezes + state.losses + state.jumps
    return count, [process.frozen for process in state.processes]


def _way(before: dict[State, State | None], state: State | None) -> list[State]:
    way: list[State] = []
    while state is not None:
        way.append(state)
        state = before[state]
    return way[::-1]


def _next(state: State, bounds: Bounds) -> Iterator[State]:
    yield _passed(state)
    for index, process in enumerate(state.processes):

        def put(changed: Process, more: Mapping[str, Any] = NOTHING, at: int = index) -> State:
            processes = (*state.processes[:at], changed, *state.processes[at + 1 :])
            return replace(state, processes=processes, **more)

        yield from (put(changed, more) for changed, more in _at_the_service(state, process))
        if process.frozen:
            yield put(replace(process, frozen=False))
            continue
        yield from (put(changed, more) for changed, more in _by_accident(state, process, bounds))
        if process.flight is None:
            yield from (put(each) for each in _asks(process, state))
        elif process.flight.served is not None:
            yield put(_answered(process, process.flight))


Change = tuple[Process, dict[str, Any]]
"""A process, and what else of the state is another."""


def _at_the_service(state: State, process: Process) -> Iterator[Change]:
    if process.ghost is not None:
        yield from ((replace(process, ghost=None), more) for more in _served(state, process.ghost))
    if process.flight is not None and process.flight.served is None:
        for more in _served(state, process.flight):
            yield replace(process, flight=replace(process.flight, served=more.get("generation", -1))), more


def _by_accident(state: State, process: Process, bounds: Bounds) -> Iterator[Change]:
    ghost = process.flight if _unserved_write(process.flight) else process.ghost
    if state.crashes < bounds.crashes:
        yield Process(f"{process.holder}'", ghost=ghost), {"crashes": state.crashes + 1}
    if state.freezes < bounds.freezes:
        yield replace(process, frozen=True), {"freezes": state.freezes + 1}
    if process.flight is not None and state.losses < bounds.losses:
        yield replace(process, flight=None, ghost=ghost), {"losses": state.losses + 1}
    if process.hold is not None and state.jumps < bounds.jumps:
        number, age, wall = process.hold
        for jumped in (wall - OLDEST, wall + OLDEST):
            hold = (number, age, max(-OLDEST, min(jumped, OLDEST)))
            yield replace(process, hold=hold), {"jumps": state.jumps + 1}


def _asks(process: Process, state: State) -> Iterator[Process]:
    """What a process without a request under way may ask."""
    if process.hold is not None and acts(process):
        number = process.hold[0]
        yield replace(process, flight=Flight("renew", number, (process.holder, "held")))
        # Passing it on ends acting first.
        yield replace(process, hold=None, watch=None, flight=Flight("release", number, (process.holder, "released")))
        return
    seen = _seen(process)
    after = lease.watch(seen, str(state.generation), _record(state.record).text(""), 0.0)
    if after is not seen:
        yield replace(process, hold=None, watch=(state.generation, state.record, 0))
    if seen is None or process.watch is None:
        return
    number = process.watch[0]
    if lease.claimable(seen, process.holder, 0.0):
        made = lease.claim(seen, process.holder)
        yield replace(process, hold=None, flight=Flight("claim", number, (made.holder, made.state)))


def _answered(process: Process, flight: Flight) -> Process:
    """An answer that came: what the process makes of it."""
    served = -1 if flight.served is None else flight.served
    process = replace(process, flight=None)
    if served < 0 or flight.kind == "release":
        return process
    return replace(process, hold=(served, flight.age, flight.wall), watch=None)


def _seen(process: Process) -> Watch | None:
    if process.watch is None:
        return None
    number, record, age = process.watch
    return Watch(generation=str(number), record=_record(record), since=-age * STEP_SECONDS)


def _served(state: State, flight: Flight) -> Iterator[dict[str, Any]]:
    """What serving a request does to the object."""
    if flight.condition == state.generation:
        yield {"generation": state.generation + 1000, "record": flight.record}
    else:
        yield {}


def _unserved_write(flight: Flight | None) -> bool:
    return flight is not None and flight.served is None


def _record(record: tuple[str, str]) -> Record:
    holder, state = record
    return Record(holder=holder, fence=0, state="released" if state == "released" else "held")


def _passed(state: State) -> State:
    """Ten seconds later. A frozen process's monotonic clock stands still."""

    def older(age: int, *, stands: bool = False) -> int:
        return age if stands else min(age + 1, OLDEST)

    processes: list[Process] = []
    for process in state.processes:
        stands = process.frozen
        watch = process.watch and (*process.watch[:2], older(process.watch[2], stands=stands))
        hold = process.hold and (process.hold[0], older(process.hold[1], stands=stands), older(process.hold[2]))
        flight = process.flight and replace(
            process.flight, age=older(process.flight.age, stands=stands), wall=older(process.flight.wall)
        )
        processes.append(replace(process, watch=watch, hold=hold, flight=flight))
    return replace(state, processes=tuple(processes))


def _numbered(state: State) -> State:
    """The same with its generations numbered from 0, in their order."""
    used = {state.generation}
    for process in state.processes:
        used |= {process.watch[0]} if process.watch else set()
        used |= {process.hold[0]} if process.hold else set()
        for flight in (process.flight, process.ghost):
            if flight is not None:
                used |= {flight.condition}
                used |= {flight.served} if flight.served is not None and flight.served >= 0 else set()
    order = {number: place for place, number in enumerate(sorted(used))}

    def renumbered(flight: Flight | None) -> Flight | None:
        if flight is None:
            return None
        served = flight.served if flight.served is None or flight.served < 0 else order[flight.served]
        return replace(flight, condition=order[flight.condition], served=served)

    processes = tuple(
        replace(
            process,
            watch=process.watch and (order[process.watch[0]], *process.watch[1:]),
            hold=process.hold and (order[process.hold[0]], *process.hold[1:]),
            flight=renumbered(process.flight),
            ghost=renumbered(process.ghost),
        )
        for process in state.processes
    )
    return replace(state, generation=order[state.generation], processes=processes)
