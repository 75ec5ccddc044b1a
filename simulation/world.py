"""One simulation: clouds, functions, listeners, VMs, jobs and faults, put together and run to its end."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from emulators.door import Door
from emulators.faults import Faults
from emulators.github import GitHub
from emulators.github.runner import Runner
from emulators.google import Google
from emulators.google.instance import Instance
from simulation import faults, loop
from simulation.assumptions import STANDARD, Assumptions
from simulation.autoscaler import LEAST, Autoscalers
from simulation.checks import Checks
from simulation.clock import VirtualClock, WallClocks
from simulation.deployment import BUCKETS, GITHUB_URL, GOOGLE_URL, Deployment, audience, functions_of, listener_settings
from simulation.fleet import Fleet, Group, fleet
from simulation.functions import Function
from simulation.listeners import Listeners
from simulation.machine import Plan, Surroundings, json_object
from simulation.machines import Machines
from simulation.network import Network
from simulation.pulse import Pulse
from simulation.trace import Arrival, bursts
from simulation.truth import Job, Truth

RECONCILE_SECONDS: Final = 300
"""Between two runs of the reconciler: fleet/services.py."""
IDENTITY_SECONDS: Final = 3000
"""A VM asks for a new identity token after this; one is good for an hour."""
LOOK_SECONDS: Final = 60.0
QUIET_LOOKS: Final = 3
"""How many looks in a row must find nothing left to do."""
PATIENCE_SECONDS: Final = 8 * 3600.0
"""After the last job has come, plus what a fault may take, everything must be over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is simulated. The same scenario gives the same events, whenever and wherever."""

    seed: int = 0
    jobs: int = 40
    pools: tuple[str, ...] = ("postsubmit-gpu", "presubmit-cpu")
    faults: str = "some"
    """none, all, some, or names; see `faults.chosen`."""
    assumed: Assumptions = STANDARD
    arrivals: tuple[Arrival, ...] = ()
    """The jobs, in place of drawn ones."""
    signal: str = "jobs"
    """What sizes the pools: `jobs`, the listener; `cpu`, the original fleet's rule."""
    at_least_seconds: float = 0.0
    """How long to go on although nothing is left to do."""
    keep_log: bool = False
    signed: bool = True
    """Whether identity tokens are signed and verified. It changes no event, only how long a run takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of it."""

    scenario: Scenario
    truth: Truth
    fleet: Fleet
    seconds: float
    """Virtual ones."""
    requests: Mapping[str, int]
    """By part."""
    lines: Mapping[str, int]
    """Of the listeners' log, by message."""


def run(scenario: Scenario) -> Outcome:
    """Simulate to the end. Whatever must not happen is in the outcome's truth; a bug of the simulation is raised."""
    before = random.getstate()
    random.seed(f"{scenario.seed}/jitter")  # the pauses of a client that nobody gave another source
    try:
        with loop.running() as virtual:
            world = World(virtual, scenario)
            return virtual.run_until_complete(world.play())
    finally:
        random.setstate(before)


class World:
    """Everything there is, for faults and checks to look at and to change."""

    def __init__(self, virtual: loop.VirtualLoop, scenario: Scenario) -> None:
        self.loop = virtual
        self.scenario = scenario
        self.assumed = scenario.assumed
        self.fleet = fleet(scenario.pools, signal=scenario.signal)
        self.truth = Truth(log=[] if scenario.keep_log else None)
        self.clock = VirtualClock(virtual)
        self.clocks = WallClocks(self.clock)
        lock = threading.RLock()
        seed = scenario.seed
        self.github = GitHub(
            clock=self.clock, lock=lock, seed=seed, organization=self.fleet.organization, url=GITHUB_URL
        )
        self.google = Google(clock=self.clock, lock=lock, seed=seed, project=self.fleet.project)
        self.google.url = GOOGLE_URL
        self.door = Door(self.clock, self.github, self.google, Faults(seed=seed), record=False)
        self.pulse = Pulse(self.clock, self.github, self.google)
        self.network = Network(self.door, self.clock, self.pulse, self.assumed, self.chance("network"))
        self.plans: list[Callable[[Plan, str], None]] = []
        """What goes wrong with a VM to come, of a pool."""
        self.scarcity = asyncio.Lock()
        """Held by a fault that keeps VMs from being made."""
        self.functions: dict[str, Function] = {}
        self._identities: dict[tuple[str, str], tuple[float, str]] = {}
        around = Surroundings(
            truth=self.truth,
            github=self.github,
            pulse=self.pulse,
            assumed=self.assumed,
            ask=self.ask,
            job_known=self.job_known,
            power_off=self.power_off,
            host_fails=self.host_fails,
        )
        pools = {group.name: group.pool for group in self.fleet.groups}
        self.machines = Machines(self.google, around, pools, self._plan, self.chance("machines"))
        self.checks = Checks(self)
        self.autoscalers = Autoscalers(self)
        self.arrivals: Sequence[Arrival] = scenario.arrivals or bursts(
            self.fleet.pools, scenario.jobs, self.assumed, self.chance("trace")
        )
        self.span_seconds = max(arrival.at for arrival in self.arrivals)
        """In which jobs come."""

    def chance(self, purpose: str) -> random.Random:
        """Randomness of its own for each purpose, so that one more draw of one does not change the others."""
        return random.Random(f"{self.scenario.seed}/{purpose}")  # noqa: S311 - to be repeated, not secret

    # Playing.

    async def play(self) -> Outcome:
        """All of it."""
        self._furnish()
        self._deploy()
        self.pulse.observers += [self.machines.look, self.checks.look]
        self.network.observers.append(self.checks.written)
        if self.scenario.signal == "cpu":
            self.pulse.observers.append(self.autoscalers.hand_out)
        sizing = self.autoscalers.run() if self.scenario.signal == "cpu" else self.listeners.run()
        background = [
            self._start("pulse", self.pulse.run()),
            self._start("sizing", sizing),
            self._start("reconciler", self._reconcile()),
            *(self._start(fault.name, fault.strike(self, self.chance(fault.name))) for fault in self._faults()),
        ]
        await self._queue_jobs()
        await self._until_quiet(background)
        self.checks.in_the_end()
        for task in background:
            task.cancel()
        await self.listeners.end()
        return Outcome(
            scenario=self.scenario,
            truth=self.truth,
            fleet=self.fleet,
            seconds=self.loop.time(),
            requests=dict(self.network.asked),
            lines=dict(self.listeners.lines),
        )

    def _faults(self) -> list[faults.Fault]:
        return faults.chosen(self.scenario.faults, self.chance("faults"))

    @staticmethod
    def _start(name: str, work: Any) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work, name=name)

    async def _queue_jobs(self) -> None:
        labels = {group.pool: group.labels for group in self.fleet.groups}
        for number, arrival in enumerate(self.arrivals):
            await asyncio.sleep(arrival.at - self.loop.time())
            job = Job(
                id=f"job-{number:04}",
                pool=arrival.pool,
                seconds=arrival.seconds,
                cpu=arrival.cpu,
                queued_at=self.loop.time(),
            )
            self.truth.jobs[job.id] = job
            self.truth.note(self.loop.time(), f"{job.id} queued for {job.pool}")
            if self.scenario.signal == "cpu":
                self.autoscalers.queue(job.id, labels[arrival.pool])
            else:
                self.github.queue_job(labels[arrival.pool], name=job.id, job_id=job.id)
            self.pulse.beat()

    async def _until_quiet(self, background: Sequence[asyncio.Task[None]]) -> None:
        until = self.loop.time() + PATIENCE_SECONDS
        quiet = 0
        least = self.scenario.at_least_seconds
        while self.loop.time() < least or (quiet < QUIET_LOOKS and self.loop.time() < until):
            await asyncio.sleep(LOOK_SECONDS)
            for task in background:
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    raise error
            quiet = quiet + 1 if self._is_quiet() else 0

    def _is_quiet(self) -> bool:
        """Whether every job is over, and no pool has more VMs than it keeps."""
        known = self.github.jobs
        if self.github.outage or any(
            not ((job.id in known and known[job.id].over) or job.ended) for job in self.truth.jobs.values()
        ):
            return False
        return not self.checks.leftovers()

    async def _reconcile(self) -> None:
        while True:
            await asyncio.sleep(RECONCILE_SECONDS)
            await self.functions["reconciler"].ask("POST", "/", {}, RECONCILE_SECONDS - 1.0)

    # What others ask of it.

    async def ask(
        self, service: str, method: str, path: str, vm: Instance, timeout_seconds: float
    ) -> tuple[int, Mapping[str, Any]]:
        """A VM's request to a function."""
        headers = {"Authorization": f"Bearer {self._identity(vm, audience(service))}"}
        status, body = await self.functions[service].ask(method, path, headers, timeout_seconds)
        return status, json_object(body)

    def _identity(self, vm: Instance, service_url: str) -> str:
        made, token = self._identities.get((vm.id, service_url), (float("-inf"), ""))
        if self.loop.time() - made > IDENTITY_SECONDS:
            token = self.google.identity_token(vm, service_url, alg="RS256" if self.scenario.signed else "none")
            self._identities[vm.id, service_url] = self.loop.time(), token
        return token

    @staticmethod
    def job_known(runner: Runner) -> str:
        """The job of the trace that a runner was given."""
        return runner.job_id or runner.job

    def power_off(self, vm: Instance) -> None:
        """A guest shuts down."""
        self.machines.power_off(vm)

    def host_fails(self, vm: Instance) -> None:
        """Nothing on a VM runs any more."""
        self.machines.host_fails(vm)

    def struck(self, fault: str) -> None:
        """A fault has struck."""
        self.truth.faults[fault] += 1
        self.truth.note(self.loop.time(), f"fault {fault}")

    def routes(self, prefix: str) -> list[str]:
        """The stand-ins' routes whose names begin so."""
        return [name for name in [*self.github.table.names, *self.google.table.names] if name.startswith(prefix)]

    def some_scale_set(self, chance: random.Random) -> str | None:
        """The name of one that exists."""
        names = sorted(each.name for each in self.github.scale_sets.all)
        return chance.choice(names) if names else None

    def some_group(self, chance: random.Random) -> Group:
        """A group of the fleet, deployed or not."""
        return chance.choice(self.fleet.groups)

    def deploy(self, group: Group) -> None:
        """Have a group, empty, as `pulumi up` makes it."""
        self.google.add_group(
            group.name,
            region=group.region,
            zones=tuple(f"{group.region}-{zone}" if len(zone) == 1 else zone for zone in group.zones),
            service_account=group.service_account,
            target_size=LEAST if self.scenario.signal == "cpu" else 0,
            autoscaler={"name": group.name, "min": LEAST, "max": group.max} if self.scenario.signal == "cpu" else None,
            project=self.fleet.project,
        )
        self.pulse.beat()

    def _plan(self, pool: str) -> Plan:
        plan = Plan()
        for spoil in self.plans:
            spoil(plan, pool)
        return plan

    def _furnish(self) -> None:
        self.google.autofill = True
        compute, options = self.google.compute, self.github.scale_set_options
        compute.operation_seconds = self.assumed.operation_seconds
        compute.create_seconds = self.assumed.create_seconds
        compute.stop_seconds = self.assumed.stop_seconds
        compute.retry_seconds = self.assumed.retry_seconds
        options.hold_seconds = self.assumed.poll_hold_seconds
        options.session_lapse_seconds = self.assumed.session_lapse_seconds
        options.assignment_seconds = self.assumed.assignment_seconds
        options.assignment_tries = int(self.assumed.assignment_tries)
        self.github.busy_lag_seconds = self.assumed.busy_lag_seconds
        for name in sorted({group.runner_group for group in self.fleet.groups}):
            self.github.add_runner_group(name)
        for group in self.fleet.groups:
            self.deploy(group)
        for bucket in BUCKETS.values():
            self.google.add_bucket(bucket)
        self.google.put_secret("key", self.github.app_key_pem)

    def _deploy(self) -> None:
        deployment = Deployment(
            table=self.fleet.text,
            app_id=str(self.github.app_id),
            installation_id=str(self.github.installation_id),
            boot_deadline_seconds=int(self.assumed.boot_deadline_seconds),
            max_run_seconds=int(self.assumed.max_run_seconds),
        )
        for name, (make, settings, sessions, identity) in functions_of(deployment).items():
            self.functions[name] = Function(
                name,
                make,
                settings,
                sessions,
                network=self.network,
                google=self.google,
                clocks=self.clocks,
                assumed=self.assumed,
                chance=self.chance(name),
                identity=None if self.scenario.signed else identity,
                **({"workers": 1} if name == "reconciler" else {}),  # with more it would ask in threads
            )
        self.listeners = Listeners(
            settings=listener_settings(deployment),
            network=self.network,
            google=self.google,
            clocks=self.clocks,
            truth=self.truth,
            look_seconds=self.scenario.assumed.standby_look_seconds,
        )
