"""What tests of running runs share: a virtual clock, a backend that acts by each step's params, and an observer."""

# ruff: noqa: ARG001, ARG002 - backends, observers and callbacks take what they are called with
from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from random import Random
from typing import Any, Final

from sequential_model import outcome

from rollout.engine.backend import Attempt, Busy, Failed, Outcome, Passed
from rollout.engine.events import Event, Kind
from rollout.engine.run import Run
from rollout.engine.spec import Step
from rollout.engine.states import ENDS, TRANSITIONS, State
from simulation.loop import VirtualLoop

EPOCH: Final = 1_795_000_000.0


class Clock(VirtualLoop):
    """A virtual clock: what the engine gives to a thread, such as a sync to disk, is done at once, in no time."""

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except OSError as error:
            done.set_exception(error)
        return done

    def wall(self) -> float:
        """Seconds since 1970, which go as the clock goes."""
        return EPOCH + self.time()


def on_clock(main: Callable[[Clock], Coroutine[Any, Any, Any]], *, start: float = 0.0) -> Any:
    """Run it on a virtual clock. A run that would hang raises DeadlockError."""
    loop = Clock(start)
    try:
        return loop.run_until_complete(main(loop))
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        try:
            if left:
                loop.run_until_complete(asyncio.wait(left))
        finally:
            loop.close()


class Scripted:
    """Acts as the step's params say (`sequential_model.outcome`), after times drawn by chance; counts what runs."""

    def __init__(self, *, seed: int = 0, longest_seconds: float = 3.0, by_number: bool = False) -> None:
        self.random = Random(seed)
        self.longest_seconds = longest_seconds
        self.by_number = by_number
        """Go by the try's number, which a resumed run has, too, and never be busy."""
        self.calls: Counter[str] = Counter()
        self.running: Counter[str] = Counter()
        self.started: list[str] = []
        self.closed = 0
        self.look: Callable[[Scripted], None] = lambda _: None
        """Called with every begin."""

    async def run(self, attempt: Attempt) -> Outcome:
        self.started.append(attempt.step_id)
        call = self.calls[attempt.step_id]
        self.calls[attempt.step_id] += 1
        params = dict(attempt.params)
        if self.by_number:
            params["tries"] = [told for told in params["tries"] if told != "busy"]
            call = attempt.number - 1
        self.running[attempt.step_id] += 1
        self.look(self)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.random.choice([0.0, self.random.uniform(0, self.longest_seconds)])):
                    await attempt.cancelled.wait()
            if attempt.cancelled.is_set() and self.random.random() < 0.7:
                return Failed(code="cancelled", message="was asked to end")
            return outcome(params, call)
        finally:
            self.running[attempt.step_id] -= 1

    async def reattach(self, attempt: Attempt, external_id: str) -> Outcome:
        return await self.run(attempt)

    async def cancel(self, attempt: Attempt) -> None: ...

    async def close(self) -> None:
        self.closed += 1


class Acting:
    """A backend of coroutine functions by step id; other steps pass at once. `run` and `reattach` are written down."""

    def __init__(self, acts: Mapping[str, Callable[[Attempt], Coroutine[Any, Any, Any]]] | None = None) -> None:
        self.acts = dict(acts or {})
        self.heard: list[tuple[Any, ...]] = []
        self.close_acts: list[Callable[[], Coroutine[Any, Any, None]]] = []

    @property
    def ran(self) -> list[str]:
        return [heard[1] for heard in self.heard if heard[0] == "run"]

    async def run(self, attempt: Attempt) -> Outcome:
        self.heard.append(("run", attempt.step_id, attempt.number))
        act = self.acts.get(attempt.step_id)
        return await act(attempt) if act else Passed()

    async def reattach(self, attempt: Attempt, external_id: str) -> Outcome:
        self.heard.append(("reattach", attempt.step_id, external_id))
        act = self.acts.get(f"{attempt.step_id} again")
        return await act(attempt) if act else Passed()

    async def cancel(self, attempt: Attempt) -> None:
        self.heard.append(("cancel", attempt.step_id))

    async def close(self) -> None:
        self.heard.append(("close",))
        for act in self.close_acts:
            await act()


async def until_asked(attempt: Attempt) -> Outcome:
    """Goes on until it is asked to end."""
    await attempt.cancelled.wait()
    return Failed(code="cancelled", message="was asked to end")


async def for_ever(attempt: Attempt) -> Outcome:
    """Goes on until its task is cancelled."""
    return await asyncio.get_running_loop().create_future()


async def fails(attempt: Attempt) -> Outcome:
    return Failed(code="broken", message="as told")


def takes(seconds: float, then: Outcome | None = None) -> Callable[[Attempt], Coroutine[Any, Any, Outcome]]:
    """Takes so long, whatever is asked of it."""

    async def act(attempt: Attempt) -> Outcome:
        await asyncio.sleep(seconds)
        return then or Passed()

    return act


def in_turn(*outcomes: Outcome) -> Callable[[Attempt], Coroutine[Any, Any, Outcome]]:
    """One outcome after the other; the last one for ever."""
    left = list(outcomes)

    async def act(attempt: Attempt) -> Outcome:
        return left.pop(0) if len(left) > 1 else left[0]

    return act


BUSY = Busy(message="no room")
UNAVAILABLE = Failed(code="http-503", message="come back", error_class="unavailable")


class Recorder:
    """Hears everything."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = 0

    async def on_event(self, event: Event) -> None:
        self.events.append(event)

    async def close(self) -> None:
        self.closed += 1

    def of(self, kind: Kind) -> list[Event]:
        return [event for event in self.events if event.kind is kind]

    def ways(self) -> dict[str, list[str]]:
        """Every step's states, in order."""
        found: dict[str, list[str]] = {}
        for event in self.of(Kind.STATE):
            found.setdefault(event.step, []).append(str(event.new))
        return found

    def faults(self) -> list[str]:
        """What in the events cannot be: gaps in their numbers, and changes that the table does not have."""
        found = [f"number {e.number} is no {n}" for n, e in enumerate(self.events, start=1) if e.number != n]
        states: dict[str, State] = {}
        ends: Counter[str] = Counter()
        for event in self.of(Kind.STATE):
            assert event.new
            assert event.old
            old = states.get(event.step, event.old)
            if old is not event.old or event.new not in TRANSITIONS[event.old]:
                found.append(f"{event.step}: {event.old} to {event.new}, and it was {old}")
            states[event.step] = event.new
            ends[event.step] += event.new in ENDS
        return found + [f"{step} ended {count} times" for step, count in ends.items() if count != 1]


def step(step_id: str, needs: str = "", **fields: Any) -> Step:
    """A step on the backend `b`; `needs` are ids with spaces between."""
    return Step(**{"id": step_id, "backend": "b", "needs": tuple(needs.split())} | fields)


def states(report: Any) -> dict[str, str]:
    return {result.id: str(result.state) for result in report.results}


def codes(report: Any) -> dict[str, str]:
    return {result.id: result.reason.code for result in report.results if result.reason}


def runs(plan: Any, backend: Any, **fields: Any) -> Callable[[Clock], Coroutine[Any, Any, Any]]:
    """The run of a plan on one backend, for `on_clock`."""

    async def main(clock: Clock) -> Any:
        return await Run(
            plan, {"b": backend, "scripted": backend}, wall=clock.wall, random=Random(0), **fields
        ).execute()

    return main
