"""What GitHub knows: the App, runner groups, runners and their jobs; and what tests may do to it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

from emulators.clock import Clock
from emulators.github import listener, reply, rest
from emulators.github.app import App
from emulators.github.rate_limit import RateLimit
from emulators.github.runner import Runner
from emulators.route import Call, Reply, Route, Table


@dataclass(kw_only=True)
class RunnerGroup:
    """A runner group of the organization."""

    id: int
    name: str
    visibility: str = "selected"
    usable: bool = True
    """Whether the App's installation may register into it."""


@dataclass(kw_only=True)
class Job:
    """A job that waits for a runner by its name, which is how tests hand jobs out."""

    name: str
    runner: str
    result: str = ""


@dataclass(kw_only=True)
class GitHub:
    """One organization with an App installed."""

    clock: Clock
    lock: threading.RLock = field(repr=False)
    seed: int
    organization: str
    url: str = ""
    """Where it is served."""
    groups: dict[str, RunnerGroup] = field(default_factory=dict[str, RunnerGroup])
    runners: dict[str, Runner] = field(default_factory=dict[str, Runner])
    """The registrations, by name."""
    gone: list[Runner] = field(default_factory=list[Runner])
    """Registrations that were removed, in that order."""
    busy_lag_seconds: float = 0.0
    """By which the `busy` flag is late, in both directions."""
    minimum_version: str = "2.329.0"
    """Of runners; older ones are refused when their listener connects."""
    refused_versions: set[str] = field(default_factory=set[str])
    outage: str = ""
    """A kind of fault (`status` for 503, `reset`, `hang`) that every request meets; empty: none."""
    server_url: str = ""
    """What the just-in-time configuration names as the server; empty: this one."""

    def __post_init__(self) -> None:
        self.app = App(seed=self.seed)
        self.rate_limit = RateLimit()
        self.table = Table([*rest.routes(self), *listener.routes(self)])
        self._last_id = self._last_request = 0
        self.add_runner_group("Default")

    @property
    def app_id(self) -> int:
        """The App's id."""
        return self.app.id

    @property
    def app_key_pem(self) -> str:
        """The App's private key."""
        return self.app.key.private_pem

    @property
    def installation_id(self) -> int:
        """Of the App in the organization."""
        return self.app.installation_id

    def next_id(self) -> int:
        """A new number."""
        self._last_id += 1
        return self._last_id

    def add_runner_group(self, name: str, *, usable: bool = True) -> int:
        """Have a group; its id."""
        with self.lock:
            group = RunnerGroup(id=self.next_id(), name=name, usable=usable)
            self.groups[name] = group
            return group.id

    def add_runner(
        self, name: str, *, labels: list[str] | None = None, group_id: int = 1, work_folder: str = "_work"
    ) -> Runner:
        """Register a runner as the REST call does; labels lose their capitals, as they do there."""
        with self.lock:
            number = self.next_id()
            self.runners[name] = Runner(
                id=number,
                name=name,
                labels=list(dict.fromkeys(label.lower() for label in labels or ())),
                group_id=group_id,
                work_folder=work_folder,
                credential=f"credential-that-must-not-leak-{self.seed}-{number}",
                created=self.clock.now(),
            )
            return self.runners[name]

    def connect(self, name: str, *, version: str = "2.335.0") -> Runner:
        """What happens when a runner's listener connects, without one."""
        with self.lock:
            runner = self.runners[name]
            runner.session = f"session-{self.next_id()}"
            runner.version, runner.jit_consumed = version, True
            return runner

    def disconnect(self, name: str) -> None:
        """The listener is gone; the registration stays."""
        with self.lock:
            self.runners[name].session = ""

    def start_job(self, name: str, *, job: str = "build") -> Runner:
        """A runner takes a job now; the `busy` flag follows `busy_lag_seconds` later. Connects it if nobody has."""
        with self.lock:
            runner = self.runners[name]
            if not runner.session:
                self.connect(name)
            runner.job, runner.busy_since = job, self.clock.now()
            return runner

    def finish_job(self, name: str) -> Runner:
        """A runner's job ends; being ephemeral, it is removed. Also one whose registration is gone already."""
        with self.lock:
            runner = self.runners.get(name) or next(gone for gone in reversed(self.gone) if gone.name == name)
            runner.job, runner.idle_since, runner.session = "", self.clock.now(), ""
            if not runner.removed:
                self.remove(runner)
            return runner

    def remove(self, runner: Runner) -> None:
        """Delete a registration, whatever the runner does."""
        with self.lock:
            runner.removed, runner.removed_with_job = True, runner.busy
            if self.runners.get(runner.name) is runner:
                del self.runners[runner.name]
            self.gone.append(runner)

    def runner_with_id(self, number: str) -> Runner | None:
        """A registration by its id."""
        return next((runner for runner in self.runners.values() if str(runner.id) == number), None)

    def handle(self, route: Route, call: Call) -> Reply | None:
        """Answer a call; the site holds the lock."""
        limits: dict[str, str] = {}
        if not route.path.startswith("/_runner/"):
            limits = self.rate_limit.count(call, self.clock.now(), self.installation_id)
        answer = route.handler(call)
        if answer is None:
            return None
        self._last_request += 1
        request = {"X-GitHub-Request-Id": f"E{self._last_request:07X}"}
        common = {"X-GitHub-Api-Version-Selected": "2022-11-28", **request, **limits}
        return Reply(status=answer.status, body=answer.body, headers={**common, **answer.headers})

    def failure(self, route: str, status: int, retry_after: int | None) -> Reply:  # noqa: ARG002 - same for all routes
        """What a fault answers."""
        return reply.failure(status, retry_after)

    def no_route(self, method: str, path: str) -> Reply:  # noqa: ARG002 - GitHub says no more
        """What an unknown path gets."""
        return reply.problem(404, "Not Found")

    def document(self, runner: Runner) -> dict[str, Any]:
        """A runner as the REST API shows it now."""
        return runner.document(self.clock.now(), self.busy_lag_seconds)
