"""The real demand listener, started as Cloud Scheduler does: one request leads, another stands by.

Each request is a process of its own here: own transport, own wall clock, own name on the network. A crash takes the
process away with whatever it had on its way; nobody closes its sessions or gives its lease back.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from listener import serve as listener_serve
from listener.settings import Settings

from emulators.google import Google
from simulation.clock import WallClocks
from simulation.network import Network
from simulation.transport import VirtualTransport
from simulation.truth import Truth

BESIDE_SECONDS: Final = 5.0
"""After the first, which has half of its time behind it already, the second is started."""
PERIOD_SECONDS: Final = 900
"""Between two calls of Cloud Scheduler: two jobs, each every half hour, a quarter of an hour apart."""


@dataclass(slots=True, kw_only=True)
class _Process:
    part: str
    stop: asyncio.Event
    task: asyncio.Future[Any] | None = None
    leads: bool = False


@dataclass(kw_only=True)
class Listeners:
    """All listeners of one simulation."""

    settings: Settings
    network: Network
    google: Google
    clocks: WallClocks
    truth: Truth
    look_seconds: float
    """How often one that stands by reads the lease."""
    lines: Counter[str] = field(default_factory=Counter[str])
    """What they logged, by message."""
    _alive: dict[str, _Process] = field(default_factory=dict[str, _Process])
    _count: int = 0
    _failures: list[BaseException] = field(default_factory=list[BaseException])

    @property
    def parts(self) -> list[str]:
        """The names of those that run."""
        return list(self._alive)

    async def run(self) -> None:
        """Start one whenever it is time, for ever. In the beginning there are two, as at any other time."""
        self.start("listener", serve_seconds=PERIOD_SECONDS)
        await asyncio.sleep(BESIDE_SECONDS)
        while True:
            self.start("listener")
            await asyncio.sleep(PERIOD_SECONDS)

    def start(self, name: str, *, serve_seconds: int | None = None) -> None:
        """One request, in a process of its own. Raises what broke an earlier one."""
        if self._failures:
            raise self._failures[0]
        self._count += 1
        process = _Process(part=f"{name}-{self._count}", stop=asyncio.Event())
        self._alive[process.part] = process
        settings = replace(self.settings, serve_seconds=serve_seconds or self.settings.serve_seconds)
        process.task = asyncio.ensure_future(self._serve(process, settings))
        process.task.add_done_callback(lambda task: self._ended(process, task))

    def crash(self, chance: random.Random) -> bool:
        """Kill one: the leader, if there is one. False where none runs."""
        if not self._alive:
            return False
        leaders = [process for process in self._alive.values() if process.leads]
        process = chance.choice(leaders or list(self._alive.values()))
        self.network.cut_off.add(process.part)  # also for what its tasks would still send while they are cancelled
        if process.task is not None:
            process.task.cancel()
        return True

    async def end(self) -> None:
        """Stop all of them as a deployment does."""
        for process in list(self._alive.values()):
            process.stop.set()
        tasks = [process.task for process in self._alive.values() if process.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=60)

    async def _serve(self, process: _Process, settings: Settings) -> None:
        def now() -> float:
            return self.clocks.of(process.part)

        def log(entry: Mapping[str, Any]) -> None:
            message = str(entry.get("message", ""))
            self.lines[message] += 1
            if message in {"leads", "hands over", "stands by"}:
                process.leads = message == "leads"
                self.truth.note(asyncio.get_running_loop().time(), f"{process.part} {message}")

        await listener_serve.serve(
            settings,
            VirtualTransport(self.network, process.part),
            token=self._token,
            now=now,
            log=log,
            stop=process.stop,
            holder=process.part,
            look_seconds=self.look_seconds,
        )

    async def _token(self) -> str:
        return self.google.tokens.of(self.google.function_account, self.google.clock.now()).token

    def _ended(self, process: _Process, task: asyncio.Future[Any]) -> None:
        self._alive.pop(process.part, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failures.append(error)
