"""The backend `fake`: steps that do nothing, but how that goes is written down.

A script says by step what each of its tries does: how long it takes, how it ends, whether it obeys. Everything that is
asked of the backend is recorded. The same script and seed take the same times, whatever the order of the steps is.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from rollout.engine.backend import Attempt, Failed, Outcome, Passed

Sleep = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What one try does."""

    outcome: Outcome | Exception = field(default_factory=Passed)
    """How it ends; an exception is raised."""
    seconds: float | tuple[float, float] = 0.0
    """How long it takes, or between which two."""
    hangs: bool = False
    """It ends only if it is made to."""
    ignores_cancel: bool = False
    """It goes on when it is asked to end."""
    cancel_seconds: float = 0.0
    """How long it goes on when it is asked to end."""
    swallows: int = 0
    """So many cancellations of its task it ignores, too, against the protocol."""
    external_id: str = ""
    """It attaches by this name before anything else; `{step}` and `{try}` in it are replaced."""
    progress: Sequence[str] = ()
    """What it says is going on, at its beginning."""
    writes: bytes = b""
    """What goes to its log, at its beginning."""
    found: bool = True
    """Whether `reattach` finds it, and then goes on as `run` does; else it is lost."""


PASSES: Final = Act()


def passes(**output: Any) -> Act:
    """Passes at once."""
    return Act(outcome=Passed(output=output))


def fails(error_class: str = "permanent", *, code: str = "scripted", message: str = "as the script has it") -> Act:
    """Fails at once."""
    return Act(outcome=Failed(code=code, message=message, error_class=error_class))


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What was asked of the backend."""

    kind: Literal["run", "reattach", "cancel", "close"]
    step_id: str = ""
    number: int = 0
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    external_id: str = ""


class Fake:
    """Acts by a script."""

    def __init__(
        self,
        script: Mapping[str, Act | Sequence[Act]] | None = None,
        *,
        seed: int = 0,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`script` is by step id, or by a pattern with `*` and `?`; an id itself goes first, then the first pattern.

        Several acts are one for each call of `run`, calls that are answered with busy included; the last one stands for
        all further calls. `reattach` takes the act that its try number would have had. A step without an act passes.
        """
        self.calls: list[Call] = []
        self.running: Counter[str] = Counter()
        """Tries that run now, by step."""
        self.most_running = 0
        """How many ran at the same time, at most."""
        self._script = {key: (acts,) if isinstance(acts, Act) else tuple(acts) for key, acts in (script or {}).items()}
        if empty := [key for key, acts in self._script.items() if not acts]:
            raise ValueError(f"script of {empty[0]!r} has no act; leave it out and the step passes")
        self._runs: Counter[str] = Counter()
        self._seed = seed
        self._sleep = sleep
        self._asked: dict[int, asyncio.Event] = {}

    async def run(self, attempt: Attempt) -> Outcome:
        """The step's next act."""
        step = attempt.step_id
        self.calls.append(Call(kind="run", step_id=step, number=attempt.number, params=attempt.params))
        self._runs[step] += 1
        act = self._act(step, self._runs[step])
        if act.external_id:
            await attempt.attach(act.external_id.replace("{step}", step).replace("{try}", str(attempt.number)))
        return await self._play(attempt, act)

    async def reattach(self, attempt: Attempt, external_id: str) -> Outcome:
        """The act of that try, from its beginning, unless it is not to be found."""
        step, number = attempt.step_id, attempt.number
        call = Call(kind="reattach", step_id=step, number=number, params=attempt.params, external_id=external_id)
        self.calls.append(call)
        self._runs[step] = max(self._runs[step], number)
        act = self._act(step, number)
        if not act.found:
            return Failed(code="lost", message=f"{external_id} is not to be found")
        return await self._play(attempt, act)

    async def cancel(self, attempt: Attempt) -> None:
        """Heard at once; what comes of it is in the act."""
        self.calls.append(Call(kind="cancel", step_id=attempt.step_id, number=attempt.number, params=attempt.params))
        if asked := self._asked.get(id(attempt)):
            asked.set()

    async def close(self) -> None:
        """Recorded, no more."""
        self.calls.append(Call(kind="close"))

    def order(self) -> list[str]:
        """The steps whose tries were run, in that order."""
        return [call.step_id for call in self.calls if call.kind == "run"]

    def _act(self, step: str, number: int) -> Act:
        acts = self._script.get(step) or next(
            (acts for pattern, acts in self._script.items() if fnmatchcase(step, pattern)), (PASSES,)
        )
        return acts[min(number, len(acts)) - 1]

    async def _play(self, attempt: Attempt, act: Act) -> Outcome:
        asked = self._asked[id(attempt)] = asyncio.Event()
        if attempt.cancelled.is_set():
            asked.set()
        self.running[attempt.step_id] += 1
        self.most_running = max(self.most_running, self.running.total())
        try:
            for text in act.progress:
                attempt.progress(text)
            if act.writes:
                attempt.write(act.writes)
            through = self._through(attempt, act, asked)
            return await (_stubborn(through, act.swallows) if act.swallows else through)
        finally:
            self.running -= Counter([attempt.step_id])
            del self._asked[id(attempt)]

    async def _through(self, attempt: Attempt, act: Act, asked: asyncio.Event) -> Outcome:
        if not act.hangs and not self._seconds(attempt, act) and not asked.is_set():
            return _ended(act)
        takes = asyncio.ensure_future(self._takes(attempt, act))
        obeys = asyncio.ensure_future(self._obeys(act, asked))
        try:
            await asyncio.wait({takes, obeys}, return_when=asyncio.FIRST_COMPLETED)
            return _ended(act) if takes.done() else Failed(code="cancelled", message="it was asked to end")
        finally:
            for task in (takes, obeys):
                task.cancel()
            await asyncio.gather(takes, obeys, return_exceptions=True)

    async def _takes(self, attempt: Attempt, act: Act) -> None:
        if act.hangs:
            await asyncio.Event().wait()
        await self._sleep(self._seconds(attempt, act))

    async def _obeys(self, act: Act, asked: asyncio.Event) -> None:
        await asked.wait()
        if act.ignores_cancel:
            await asyncio.Event().wait()
        if act.cancel_seconds:
            await self._sleep(act.cancel_seconds)

    def _seconds(self, attempt: Attempt, act: Act) -> float:
        if not isinstance(act.seconds, tuple):
            return act.seconds
        key = f"{self._seed}/{attempt.step_id}/{self._runs[attempt.step_id]}"
        chance = random.Random(key)  # noqa: S311 - a delay to be had again, no secret
        return chance.uniform(*act.seconds)


def _ended(act: Act) -> Outcome:
    if isinstance(act.outcome, Exception):
        raise act.outcome
    return act.outcome


async def _stubborn(through: Coroutine[Any, Any, Outcome], swallows: int) -> Outcome:
    """Wait for it, whatever cancellations come, up to so many."""
    task = asyncio.create_task(through)
    for _ in range(swallows):
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            continue
    return await task
