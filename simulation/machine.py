"""A runner VM: boots, registers, waits for a job, runs it, has itself deleted; or is idle, and asks to leave.

It does what startup/bin and startup/lib do, as far as anybody outside can tell, and with the same limits. What it knows
about its worker is the truth that everything is judged by.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from emulators.github import GitHub
from emulators.github.runner import Runner
from emulators.google.instance import Instance
from simulation import retiring
from simulation.assumptions import Assumptions
from simulation.pulse import Pulse
from simulation.truth import Life, Truth

CALL_SECONDS: Final = 60.0
JIT_BUDGET_SECONDS: Final = 180
DELETE_BUDGET_SECONDS: Final = 120
"""startup/lib/common.sh, startup/bin/register, startup/bin/delete-self."""
FAILED_BOOT_SECONDS: Final = 240
"""A VM that failed to boot goes so long after its start, and up to a quarter later: startup/bin/delete-self."""
TAKEN_SECONDS: Final = 180
"""A VM that the deleter took waits so long to be gone, then powers off: startup/bin/delete-self."""
RECONNECT_SECONDS: Final = 5.0
IDLE_CPU: Final = 0.01
"""Assumed."""
REPORT_SECONDS: Final = 2.0
"""From the worker's end until the record is written and deletion is asked for; assumed."""


class BootFailedError(Exception):
    """The step that failed."""


@dataclass(slots=True, kw_only=True)
class Plan:
    """What will go wrong with a VM, drawn when it is made. Empty: nothing."""

    boot_fails: bool = False
    dies_in_job: float | None = None
    """The share of its job after which its host fails: nothing on it runs any more, and nobody is told."""
    preempted_after: float | None = None
    """Seconds from power-on until Compute Engine takes it away."""


@dataclass(slots=True, kw_only=True)
class Surroundings:
    """What VMs have to do with."""

    truth: Truth
    github: GitHub
    pulse: Pulse
    assumed: Assumptions
    ask: Callable[[str, str, str, Instance, float], Awaitable[tuple[int, Mapping[str, Any]]]]
    """A request to a function with a VM's identity: service, method, path, VM, time limit in seconds."""
    job_known: Callable[[Runner], str]
    """The job of the trace that GitHub has given a runner."""
    power_off: Callable[[Instance], None]
    """The guest shuts its VM down."""
    host_fails: Callable[[Instance], None]
    """Nothing on a VM runs any more."""


@dataclass(kw_only=True)
class Machine:
    """One VM, from power-on until it is gone. `run` is its whole life, cancelled when the VM is."""

    instance: Instance
    life: Life
    around: Surroundings
    plan: Plan
    chance: random.Random
    saved_stage: str | None = None
    """What the last run of the machine in `retiring` left."""
    runner: Runner | None = None
    worker: bool = False
    """Whether a worker runs: the truth."""
    dead: bool = False
    """Whether its host has failed."""
    _running: asyncio.Event = field(default_factory=asyncio.Event)
    """Not set while the listener is frozen."""
    _connected: bool = False
    _left: asyncio.Event = field(default_factory=asyncio.Event)
    _had_worker: bool = False

    @property
    def has_unfinished_job(self) -> bool:
        """Whether GitHub has given it a job that it has not reported the end of, begun or on its way."""
        return self.worker or (self.runner is not None and bool(self.runner.job) and not self._had_worker)

    @property
    def cpu(self) -> float:
        """The share of its CPU that is used: a booting or waiting VM hardly uses any."""
        return self.around.truth.jobs[self.life.job].cpu if self.worker else IDLE_CPU

    async def run(self) -> None:
        """Live, until deleted."""
        try:
            await self._boot()
            await self._register()
            await self._listen()
        except BootFailedError as error:
            self.life.ended = f"boot-failed:{error}"
            await self._until_uptime(FAILED_BOOT_SECONDS * (1 + self.chance.random() / 4))
        self._note(f"ends as {self.life.ended}")
        await self._delete_self()

    def stop(self, why: str) -> None:
        """Whatever runs on it runs no more: deleted, preempted, or its host has failed."""
        runner, self.runner = self.runner, None
        self.worker = False
        if self._connected and runner is not None and not runner.removed:
            self.around.github.disconnect(runner.name)
        self._connected = False
        if self.life.off_at is None:
            self.life.off_at = self._now()
            self.life.ended = self.life.ended or why
            self._note(f"off: {why}")

    # Booting.

    async def _boot(self) -> None:
        assumed = self.around.assumed
        steps = {
            "kernel": assumed.boot_kernel_seconds,
            "bundle": assumed.boot_bundle_seconds,
            "preflight": assumed.boot_preflight_seconds,
            "install": assumed.boot_install_seconds,
        }
        fails = self.chance.choice(["bundle", "preflight", "install"]) if self.plan.boot_fails else ""
        for step, spread in steps.items():
            await asyncio.sleep(spread.draw(self.chance))
            if step == fails:
                raise BootFailedError(step)

    async def _register(self) -> None:
        """Get the one configuration; its listener then connects."""
        status, said = await self._call("broker", "POST", "/jit", JIT_BUDGET_SECONDS)
        if status != 200:
            raise BootFailedError(f"register:{status}")
        number = str(said["runner_id"])
        await asyncio.sleep(self.around.assumed.connect_seconds.draw(self.chance))
        left = self.around.assumed.boot_deadline_seconds - self._uptime()
        try:
            async with asyncio.timeout(max(left, 0)):
                await self._reachable()
        except TimeoutError:
            raise BootFailedError("deadline") from None
        self.runner = self.around.github.runner_with_id(number)
        if self.runner is None:
            raise BootFailedError("run")
        self._connected = True
        self._running.set()
        self.around.github.connect(self.runner.name)
        self.life.listening_at = self._now()
        self._note("listens")
        self.around.pulse.beat(anyway=True)  # GitHub counts none where there is no scale set

    # Listening.

    async def _listen(self) -> None:
        """Until a job is done, or this VM leaves, or somebody else has removed its registration."""
        retires = asyncio.ensure_future(self._retire_now_and_then())
        job = asyncio.ensure_future(self._job_arrives())
        leaves = asyncio.ensure_future(self._left.wait())
        gone = asyncio.ensure_future(self._registration_gone())
        try:
            await asyncio.wait({job, leaves, gone}, return_when=asyncio.FIRST_COMPLETED)
            if job.done():
                await self._work()
            elif not self._left.is_set():
                raise BootFailedError("run")
        finally:
            for task in (retires, job, leaves, gone):
                task.cancel()

    async def _registration_gone(self) -> None:
        """Return when the listener ends because GitHub knows its runner no more; silent while the VM leaves."""
        runner = self.runner
        assert runner is not None
        await self.around.pulse.until(lambda: runner.removed and not runner.job)
        while True:
            await asyncio.sleep(self.around.assumed.poll_hold_seconds)
            if self.saved_stage in {None, "resting"} and not runner.job:
                return

    async def _job_arrives(self) -> None:
        runner = self.runner
        assert runner is not None
        await self.around.pulse.until(lambda: bool(runner.job))
        await asyncio.sleep(self.around.assumed.deliver_seconds.draw(self.chance))
        await self._running.wait()  # the message lies in the socket of a process that is frozen
        self.worker = self._had_worker = True

    async def _work(self) -> None:
        runner = self.runner
        assert runner is not None
        job = self.around.truth.jobs[self.around.job_known(runner)]
        job.starts.append(self._now())
        job.boot_seconds = (self.life.listening_at or 0) - self.life.on_at
        self.life.job, self.life.job_at = job.id, self._now()
        self._note(f"starts {job.id}")
        if self.plan.dies_in_job is not None:
            await asyncio.sleep(job.seconds * self.plan.dies_in_job)
            self.around.host_fails(self.instance)
            await asyncio.Event().wait()
        await asyncio.sleep(job.seconds)
        job.ended_at = self._now()
        await self._reachable()  # a worker that cannot tell its result is not done
        self._connected = self.worker = False
        self.around.github.finish_job(runner.name)
        self.around.pulse.beat()
        job.ended = "succeeded"
        self.life.job_over_at, self.life.ended = self._now(), "finished"
        self._note(f"finished {job.id}")
        await asyncio.sleep(REPORT_SECONDS)

    # Leaving. What `retiring.run` wants of a VM.

    async def _retire_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self.around.assumed.retire_pause_seconds.draw(self.chance))
            await retiring.run(self)

    def idle(self) -> bool:
        """Whether it has listened for the idle timeout."""
        since = self.life.listening_at
        return since is not None and self._now() - since >= self.around.assumed.idle_timeout_seconds

    def has_job(self) -> bool:
        """Whether it has or had a worker."""
        return self._had_worker

    def freeze(self) -> None:
        """Let no worker start."""
        self._running.clear()

    def thaw(self) -> None:
        """Let it listen on."""
        self._running.set()

    def leave(self) -> None:
        """The listener is gone; the VM's end follows."""
        runner = self.runner
        if self.worker:
            self.around.truth.violate(self._now(), f"{self.life.name} killed its listener while its worker ran")
        if runner is not None and runner.job:
            self.around.truth.violate(self._now(), f"{self.life.name} left with job {runner.job} on its way to it")
        self.life.ended = "idle"
        self._left.set()

    async def ask(self, service: str, method: str, path: str, timeout_seconds: float) -> tuple[int, Mapping[str, Any]]:
        """One request with this VM's identity."""
        return await self.around.ask(service, method, path, self.instance, timeout_seconds)

    # The end.

    async def _delete_self(self) -> None:
        status, _ = await self._call("deleter", "DELETE", "/", DELETE_BUDGET_SECONDS)
        if 200 <= status < 300:
            await asyncio.sleep(TAKEN_SECONDS)
        self._note(f"powers off: the deleter answered {status}")
        self.around.power_off(self.instance)

    async def _call(self, service: str, method: str, path: str, budget_seconds: float) -> tuple[int, Mapping[str, Any]]:
        """The last answer: tried again within the budget while it may pass, as `call` of startup/lib/common.sh does."""
        backoff, left = 1, budget_seconds
        while True:
            began = self._now()
            status, said = await self.ask(service, method, path, min(left, CALL_SECONDS))
            if status not in {0, 408, 429} and status < 500:
                return status, said
            pause = backoff + self.chance.randrange(backoff + 1)
            left -= self._now() - began + pause
            if left <= 0:
                return status, said
            await asyncio.sleep(pause)
            backoff = min(16, 2 * backoff)

    async def _reachable(self) -> None:
        """Return when GitHub can be reached; a runner tries for as long as it lives."""
        while self.around.github.outage:  # noqa: ASYNC110 - as it does, at its own pace
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _until_uptime(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds - self._uptime()))

    def _uptime(self) -> float:
        return self._now() - self.life.on_at

    def _note(self, what: str) -> None:
        self.around.truth.note(self._now(), f"{self.life.name} {what}")

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def json_object(body: bytes) -> Mapping[str, Any]:
    """What a reply says; nothing where it is no JSON object."""
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}  # pyright: ignore[reportUnknownVariableType]
