"""What GitHub knows: the App, runner groups, runners and their jobs; and what tests may do to it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from emulators.clock import Clock
from emulators.github import listener, reply, rest, workflow_rest
from emulators.github.app import App
from emulators.github.rate_limit import RateLimit
from emulators.github.release import release
from emulators.github.runner import Runner
from emulators.github.scale_sets import Options, QueuedJob, ScaleSet, ScaleSets, connect_rest, queue_rest, service_rest
from emulators.github.scale_sets import reply as service_reply
from emulators.github.workflow import Workflow, WorkflowRun
from emulators.route import Call, Refusal, Reply, Route, Table

SERVICE: Final = ("/rest/", "/scalesets/")
"""Where the paths of the Actions service and its queue begin: no rate limit is counted there."""


@dataclass(kw_only=True)
class RunnerGroup:
    """A runner group of the organization."""

    id: int
    name: str
    visibility: str = "selected"
    usable: bool = True
    """Whether the App's installation may register into it."""
    repositories: set[str] | None = None
    """Whose jobs its scale sets may have; None: every repository's."""


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
    workflows: list[Workflow] = field(default_factory=list[Workflow])
    workflow_runs: dict[int, WorkflowRun] = field(default_factory=dict[int, WorkflowRun])
    """Those that were dispatched. Jobs of scale sets are runs of their own."""
    releases: dict[str, list[dict[str, Any]]] = field(default_factory=dict[str, list[dict[str, Any]]])
    """By OWNER/NAME of the repository, the newest first."""
    knows_run_details: bool = True
    """Whether a dispatch may be asked for its run; an old server of one's own does not know that."""
    changed: int = 0
    """Grows with every change that might answer a poll that is held."""

    def __post_init__(self) -> None:
        self.app = App(seed=self.seed)
        self.rate_limit = RateLimit()
        self.scale_sets = ScaleSets(self)
        parts = (rest, workflow_rest, listener, connect_rest, service_rest, queue_rest)
        self.table = Table([route for part in parts for route in part.routes(self)])
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
        self,
        name: str,
        *,
        labels: list[str] | None = None,
        group_id: int = 1,
        work_folder: str = "_work",
        scale_set_id: int = 0,
    ) -> Runner:
        """Register a runner as the REST call does; labels lose their capitals, as they do there."""
        with self.lock:
            number = self.next_id()
            runner = self.runners[name] = Runner(
                id=number,
                name=name,
                labels=list(dict.fromkeys(label.lower() for label in labels or ())),
                group_id=group_id,
                work_folder=work_folder,
                credential=f"credential-that-must-not-leak-{self.seed}-{number}",
                created=self.clock.now(),
                scale_set_id=scale_set_id,
            )
            self.scale_sets.registered(runner)
            return runner

    def connect(self, name: str, *, version: str = "2.335.0") -> Runner:
        """What happens when a runner's listener connects, without one. A scale set's runner may get a job at once."""
        with self.lock:
            runner = self.runners[name]
            runner.session = f"session-{self.next_id()}"
            runner.version, runner.jit_consumed = version, True
            self.scale_sets.online(runner)
            return runner

    def disconnect(self, name: str) -> None:
        """The listener is gone; the registration stays, if there is one."""
        with self.lock:
            runner = self._runner(name)
            runner.session = ""
            self.scale_sets.offline(runner)

    def start_job(self, name: str, *, job: str = "build") -> Runner:
        """A runner takes a job now; the `busy` flag follows `busy_lag_seconds` later. Connects it if nobody has."""
        with self.lock:
            runner = self.runners[name]
            if not runner.session:
                self.connect(name)
            runner.job, runner.busy_since = job, self.clock.now()
            self.scale_sets.took(runner)
            self.changed += 1
            return runner

    def finish_job(self, name: str, result: str = "succeeded") -> Runner:
        """A runner's job ends; being ephemeral, it is removed. Also one whose registration is gone already."""
        with self.lock:
            runner = self._runner(name)
            runner.job, runner.idle_since, runner.session = "", self.clock.now(), ""
            if not runner.removed:
                self.remove(runner)
            self.scale_sets.finished(runner, result)
            return runner

    def remove(self, runner: Runner) -> None:
        """Delete a registration, whatever the runner does."""
        with self.lock:
            runner.removed, runner.removed_with_job = True, runner.busy
            if self.runners.get(runner.name) is runner:
                del self.runners[runner.name]
            self.gone.append(runner)
            self.scale_sets.removed(runner)
            self.changed += 1

    def _runner(self, name: str) -> Runner:
        """A runner of that name, or the last one that was removed."""
        return self.runners.get(name) or next(gone for gone in reversed(self.gone) if gone.name == name)

    def runner_with_id(self, number: str) -> Runner | None:
        """A registration by its id."""
        return next((runner for runner in self.runners.values() if str(runner.id) == number), None)

    def shown_busy(self, runner: Runner) -> bool:
        """What GitHub believes of a runner now."""
        return runner.shown_busy(self.clock.now(), self.busy_lag_seconds)

    # Scale sets

    @property
    def scale_set_options(self) -> Options:
        """How they behave."""
        return self.scale_sets.options

    @property
    def jobs(self) -> dict[str, QueuedJob]:
        """Every job that was queued, by its id."""
        return self.scale_sets.jobs

    def add_scale_set(self, name: str, *, group: str = "Default", labels: Sequence[str] = ()) -> ScaleSet:
        """Have a scale set, as if a client had made it; without labels its name is its label."""
        with self.lock:
            return self.scale_sets.add(name, self.groups[group], labels)

    def delete_scale_set(self, name: str) -> None:
        """Delete one as an incident does: its jobs wait again, its session ends, whatever its runners do."""
        with self.lock:
            self.scale_sets.delete(self.scale_sets.known(name))

    def queue_job(
        self,
        labels: Sequence[str],
        *,
        repository: str = "widgets",
        name: str = "build",
        event: str = "push",
        job_id: str = "",
        script: str = "",
        branch: str = "main",
    ) -> QueuedJob:
        """Have a job that waits for a scale set with all these labels; `script` is what its runner is handed."""
        with self.lock:
            job = self.scale_sets.queue(
                labels, repository=repository, name=name, event=event, job_id=job_id, script=script
            )
            job.branch = branch
            return job

    def cancel_job(self, job_id: str) -> None:
        """Somebody cancels it: at once if no runner has it, else as soon as its runner is done."""
        with self.lock:
            self.scale_sets.cancel(self.jobs[job_id])

    def premature_completion(self, job_id: str) -> None:
        """Tell its set now that a running job is over, and nothing more when it is."""
        with self.lock:
            self.scale_sets.complete_early(self.jobs[job_id])

    def mute_completions(self, name: str, *, muted: bool = True) -> None:
        """Tell a set no more that its jobs are over; its statistics stay right."""
        with self.lock:
            self.scale_sets.known(name).completions_muted = muted

    def evict_session(self, name: str) -> None:
        """Forget a set's session: its token is worthless, a refresh finds nothing."""
        with self.lock:
            session = self.scale_sets.known(name).session
            if session is not None:
                self.scale_sets.sessions.end(session)

    def expire_admin_tokens(self) -> None:
        """End every admin token that is out, long before its `exp`."""
        with self.lock:
            self.scale_sets.connections.expire()

    def expire_queue_tokens(self) -> None:
        """End every session's token; a refresh gives another."""
        with self.lock:
            self.scale_sets.sessions.expire_tokens()

    def redeliver(self, name: str, message_id: int) -> None:
        """Deliver a set's message once more at its next poll, acknowledged or not."""
        with self.lock:
            self.scale_sets.known(name).log.again(message_id)
            self.changed += 1

    def delay_messages(self, name: str, seconds: float) -> None:
        """Give a set's polls nothing for that long."""
        with self.lock:
            self.scale_sets.known(name).log.silent_until = self.clock.now() + seconds
            self.changed += 1

    def swap_next_messages(self, name: str) -> None:
        """Deliver the next two messages the second first; if there is no second, the first a poll late."""
        with self.lock:
            self.scale_sets.known(name).log.swapping = True

    def restart_sequence(self, name: str) -> None:
        """Number a set's messages from the beginning again; what was not acknowledged comes under new numbers."""
        with self.lock:
            self.scale_sets.known(name).log.restart()
            self.changed += 1

    def post_message(self, name: str, raw: dict[str, Any]) -> int:
        """Have a set's poll answered with this, of whatever form, until it is acknowledged; its number."""
        with self.lock:
            self.changed += 1
            return self.scale_sets.known(name).log.post_raw(raw)

    def tick(self, now: float | None = None) -> None:
        """Let happen what is due by now. Every call does so first."""
        with self.lock:
            self.scale_sets.agenda.run(self.clock.now() if now is None else now)

    def next_due(self) -> float | None:
        """When something will happen by itself."""
        with self.lock:
            return self.scale_sets.agenda.next()

    # Workflows and releases

    def next_run_id(self) -> int:
        """A number for a run, far from those of jobs that scale sets wait for."""
        return 9_000_000_000 + self.next_id()

    def add_workflow(self, repository: str, file: str, **how: Any) -> Workflow:
        """Have a workflow that may be dispatched; `how` are fields of Workflow."""
        with self.lock:
            workflow = Workflow(id=self.next_id(), repository=repository, file=file, **how)
            self.workflows.append(workflow)
            return workflow

    def add_release(
        self, repository: str, tag: str, *, assets: Mapping[str, str] | None = None, body: str = "",
        prerelease: bool = False, draft: bool = False, published: float | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Have a release, newer than those there are; `assets` are names to digests."""
        with self.lock:
            at = self.clock.now() if published is None else published
            made = release(
                self.next_id(),
                repository,
                tag,
                at=at,
                assets=assets or {},
                body=body,
                prerelease=prerelease,
                draft=draft,
            )
            self.releases.setdefault(repository, []).insert(0, made)
            return made

    # Calls

    def handle(self, route: Route, call: Call) -> Reply | None:
        """Answer a call; the door holds the lock."""
        self.tick()
        if route.path.startswith(SERVICE):
            try:
                answer = route.handler(call)
            except Refusal as refusal:
                answer = refusal.reply
            return None if answer is None else self._service_dress(answer)
        limits: dict[str, str] = {}
        if not route.path.startswith("/_runner/"):
            limits = self.rate_limit.count(call, self.clock.now(), self.installation_id)
        answer = route.handler(call)
        if answer is None:
            return None
        version = call.headers.get("X-GitHub-Api-Version") or "2022-11-28"
        common = {"X-GitHub-Api-Version-Selected": version, **self._request_id(), **limits}
        return Reply(status=answer.status, body=answer.body, headers={**common, **answer.headers})

    def _service_dress(self, answer: Reply) -> Reply:
        """An answer of the Actions service as it leaves."""
        number = self._request_id()
        activity = f"{self._last_request:08x}-0000-4000-8000-{self._last_request:012x}"
        headers = {"ActivityId": activity, **number, **answer.headers}
        marked = self.scale_set_options.byte_order_mark and answer.headers.get("Content-Type", "").startswith("appl")
        body = service_reply.BYTE_ORDER_MARK + answer.body if marked else answer.body
        return Reply(status=answer.status, body=body, headers=headers)

    def _request_id(self) -> dict[str, str]:
        self._last_request += 1
        return {"X-GitHub-Request-Id": f"E{self._last_request:07X}"}

    def failure(self, route: str, status: int, retry_after: int | None) -> Reply:
        """What a fault answers."""
        rest = not route.startswith("github.scale_sets.") or route.rpartition(".")[2] in connect_rest.NAMES
        return reply.failure(status, retry_after) if rest else service_reply.failure(status, retry_after)

    def no_route(self, method: str, path: str) -> Reply:  # noqa: ARG002 - GitHub says no more
        """What an unknown path gets."""
        return reply.problem(404, "Not Found")

    def document(self, runner: Runner) -> dict[str, Any]:
        """A runner as the REST API shows it now."""
        return runner.document(self.clock.now(), self.busy_lag_seconds)
