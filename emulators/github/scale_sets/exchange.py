"""What becomes of jobs: they wait, a poll with room takes them into its set, an idle runner of the set takes them.

Nothing else assigns a job: without a poll it waits, and the capacity that the poll states is looked at then and only
then. A job whose set has no runner for too long goes back to where it waited, which its set is told as a completion
with the result `canceled`; after the third time GitHub gives it up. A runner that vanishes with its job costs the job.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from emulators.agenda import Agenda
from emulators.clock import rfc3339
from emulators.github.runner import Runner
from emulators.github.scale_sets.connection import Connections
from emulators.github.scale_sets.job import QueuedJob
from emulators.github.scale_sets.job_queue import JobQueue
from emulators.github.scale_sets.message_log import Event
from emulators.github.scale_sets.options import Options
from emulators.github.scale_sets.scale_set import ScaleSet
from emulators.github.scale_sets.sessions import Sessions

if TYPE_CHECKING:
    from emulators.github.hub import GitHub, RunnerGroup


class ScaleSets:
    """All scale sets of the organization, and the jobs. The hub holds the lock."""

    def __init__(self, hub: GitHub) -> None:
        self.options = Options()
        self.jobs: dict[str, QueuedJob] = {}
        """By id, also those that are over."""
        self.agenda = Agenda()
        self.connections = Connections(self.options)
        self.sessions = Sessions(hub, self.options)
        self._hub = hub
        self._queue = JobQueue()
        self._sets: dict[int, ScaleSet] = {}
        self._random = random.Random(f"{hub.seed}/scale-sets")  # noqa: S311 - to be repeated, not secret
        self._last = 0

    # Scale sets

    @property
    def all(self) -> list[ScaleSet]:
        """Those that exist."""
        return list(self._sets.values())

    def by_name(self, name: str) -> ScaleSet | None:
        """The one of that name; of two groups', the older one."""
        return next((each for each in self._sets.values() if each.name == name), None)

    def known(self, name: str) -> ScaleSet:
        """The one of that name. Raises KeyError with those that exist."""
        found = self.by_name(name)
        if found is None:
            raise KeyError(f"no scale set is called {name!r}; there are {[each.name for each in self.all]}")
        return found

    def with_id(self, number: str) -> ScaleSet | None:
        """The one of that id."""
        return self._sets.get(int(number)) if number.isdecimal() else None

    def add(
        self,
        name: str,
        group: RunnerGroup,
        labels: Sequence[str],
        *,
        repository: str = "",
        disable_update: bool = False,
    ) -> ScaleSet:
        """Have one; without labels its name is its label."""
        made = ScaleSet(
            id=self._number(),
            name=name,
            group=group,
            labels=self._kept_labels(name, labels),
            repository=repository,
            disable_update=disable_update,
            created=self._hub.clock.now(),
            service_url=self.service_url,
        )
        self._sets[made.id] = made
        self._hub.changed += 1
        return made

    def relabel(self, scale_set: ScaleSet, labels: Sequence[str]) -> None:
        """Give it other labels; the jobs that it has it keeps."""
        if self.options.labels_can_change:
            scale_set.labels = self._kept_labels(scale_set.name, labels)
            self._queue.forget(scale_set)
            self._hub.changed += 1

    def delete(self, scale_set: ScaleSet) -> None:
        """It is gone: its jobs without a runner wait again, its runners without a job are removed."""
        del self._sets[scale_set.id]
        scale_set.deleted = True
        if scale_set.session is not None:
            self.sessions.end(scale_set.session)
        for job in list(scale_set.waiting.values()):
            self._unassign(job)
        for runner in [each for each in scale_set.runners.values() if not each.busy]:
            self._hub.remove(runner)
        scale_set.offered.clear()
        self._hub.changed += 1

    @property
    def service_url(self) -> str:
        """Of the Actions service, as a registration is told it."""
        return f"{self._hub.url}/rest"

    @property
    def queue_url(self) -> str:
        """Of the message queue; Enterprise Server's carries a query."""
        query = "?tenant=1" if self.options.flavour == "ghes" else ""
        return f"{self._hub.url}/scalesets/message{query}"

    def perhaps_again(self, scale_set: ScaleSet, number: int) -> None:
        """An acknowledged message may come once more."""
        if self.options.duplicate_share and self._random.random() < self.options.duplicate_share:
            scale_set.log.again(number)
            self._hub.changed += 1

    # Jobs

    def queue(
        self, labels: Sequence[str], *, repository: str, name: str, event: str, job_id: str, script: str
    ) -> QueuedJob:
        """Have a job."""
        if not labels:
            raise ValueError("a job needs at least one label: what its `runs-on` says")
        now = self._hub.clock.now()
        number = self._number()
        job = QueuedJob(
            id=job_id or str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            number=number,
            request_id=number + 5000 if self.options.flavour == "ghes" else 0,
            name=name,
            labels=tuple(labels),
            owner=self._hub.organization,
            repository=repository,
            event=event,
            script=script or name,
            queued_at=now,
        )
        if job.id in self.jobs:
            raise ValueError(f"there is a job {job.id} already")
        self.jobs[job.id] = job
        self._wait(job, self.options.assignment_delay_seconds)
        return job

    def assign(self, scale_set: ScaleSet, capacity: int | None) -> None:
        """A poll that states this capacity, None for any, takes what fits."""
        scale_set.capacity = capacity
        if self.options.flavour == "ghes":
            for job in self._queue.all(scale_set):
                if not scale_set.room:
                    break
                if job.id not in scale_set.offered:
                    scale_set.offered[job.id] = job
                    url = f"{self.service_url}/_apis/runtime/runnerscalesets/{scale_set.id}/acquirejobs"
                    self._tell(scale_set, job.message("JobAvailable", acquireJobUrl=url))
            return
        while scale_set.room and (job := self._queue.first(scale_set)) is not None:
            self._assign(scale_set, job)
        self._match(scale_set)

    def acquire(self, scale_set: ScaleSet, requests: Sequence[int]) -> list[int]:
        """The listener wants offered jobs; those that it gets."""
        offered = {job.request_id: job for job in scale_set.offered.values()}
        won = [number for number in dict.fromkeys(requests) if number in offered]
        for number in won:
            self._assign(scale_set, offered[number])
        self._match(scale_set)
        return won

    def cancel(self, job: QueuedJob) -> None:
        """Somebody cancels it: at once if no runner has it, else when its runner is done."""
        if job.state == "running":
            job.cancelling = True
        elif not job.over:
            self._end(job, "completed", "canceled")

    def complete_early(self, job: QueuedJob) -> None:
        """Tell that a job is over that goes on running."""
        if job.state != "running":
            raise ValueError(f"job {job.id} does not run: it is {job.state}")
        self._complete(job, "canceled")

    # Runners, as the hub reports what becomes of them

    def registered(self, runner: Runner) -> None:
        """A runner of a set has a registration."""
        if (scale_set := self._sets.get(runner.scale_set_id)) is not None:
            scale_set.runners[runner.name] = runner

    def online(self, runner: Runner) -> None:
        """Its listener has connected."""
        scale_set = self._sets.get(runner.scale_set_id)
        if scale_set is not None and not runner.busy:
            scale_set.idle[runner.name] = runner
            self._match(scale_set)

    def offline(self, runner: Runner) -> None:
        """Its listener is gone. A job that it has is failed, unless the listener comes back in time."""
        if (scale_set := self._sets.get(runner.scale_set_id)) is not None:
            scale_set.idle.pop(runner.name, None)
        job = self.jobs.get(runner.job_id)
        if job is not None and job.state == "running":
            at = self._hub.clock.now() + self.options.lost_runner_seconds
            self._next(job, at, lambda: self._lose(job, runner))

    def took(self, runner: Runner) -> None:
        """It has got a job."""
        if (scale_set := self._sets.get(runner.scale_set_id)) is not None:
            scale_set.idle.pop(runner.name, None)
            scale_set.busy[runner.name] = runner

    def finished(self, runner: Runner, result: str) -> None:
        """The job that it had is done."""
        job = self.jobs.get(runner.job_id)
        if job is not None and job.state == "running":
            self._end(job, "completed", "canceled" if job.cancelling else result)

    def removed(self, runner: Runner) -> None:
        """Its registration is gone. A job that it runs goes on."""
        scale_set = self._sets.get(runner.scale_set_id)
        if scale_set is not None and scale_set.runners.get(runner.name) is runner:
            for runners in (scale_set.runners, scale_set.idle, scale_set.busy):
                runners.pop(runner.name, None)

    # Steps

    def _wait(self, job: QueuedJob, seconds: float) -> None:
        """In the queue, after a while."""
        self.agenda.cancel(job.timer)
        job.state = "queued"
        if seconds > 0:
            self._next(job, self._hub.clock.now() + seconds, lambda: self._ready(job))
        else:
            self._ready(job)

    def _ready(self, job: QueuedJob) -> None:
        self._queue.put(job)
        self._hub.changed += 1

    def _assign(self, scale_set: ScaleSet, job: QueuedJob) -> None:
        now = self._hub.clock.now()
        self._withdraw(job)
        job.state, job.scale_set, job.scale_set_id, job.assigned_at = "assigned", scale_set.name, scale_set.id, now
        job.tries += 1
        scale_set.waiting[job.id] = job
        self._tell(scale_set, job.message("JobAssigned"))
        self._next(job, now + self.options.assignment_seconds, lambda: self._expire(job))

    def _match(self, scale_set: ScaleSet) -> None:
        """Idle runners take the set's jobs, the oldest first."""
        while scale_set.waiting and scale_set.idle:
            job = next(iter(scale_set.waiting.values()))
            match self.options.runner_choice:
                case "last":
                    name = next(reversed(scale_set.idle))
                case "random":
                    name = self._random.choice(list(scale_set.idle))
                case _:
                    name = next(iter(scale_set.idle))
            self._start(scale_set, job, scale_set.idle[name])

    def _start(self, scale_set: ScaleSet, job: QueuedJob, runner: Runner) -> None:
        del scale_set.waiting[job.id]
        scale_set.running[job.id] = job
        self.agenda.cancel(job.timer)
        job.state, job.started_at, job.runner_name = "running", self._hub.clock.now(), runner.name
        job.runner_id, job.runs = runner.id, job.runs + 1
        runner.job_id = job.id
        self._hub.start_job(runner.name, job=job.script)
        document = job.message("JobStarted", runnerId=runner.id, runnerName=runner.name)
        self._tell(scale_set, document, wakes=self.options.wake_for_started)

    def _expire(self, job: QueuedJob) -> None:
        """Nobody started it in time."""
        if job.tries >= self.options.assignment_tries:
            self._end(job, "failed", "canceled")
            return
        self._complete(job, "canceled")
        self._unassign(job, self.options.reassignment_delay_seconds * job.tries)

    def _unassign(self, job: QueuedJob, seconds: float = 0.0) -> None:
        """Back to where it waited."""
        self._leave(job)
        job.scale_set, job.scale_set_id, job.assigned_at, job.told_completed = "", 0, None, False
        self._wait(job, seconds)

    def _lose(self, job: QueuedJob, runner: Runner) -> None:
        if not runner.session:
            self._end(job, "failed", "failed")
            if not runner.removed:
                self._hub.remove(runner)

    def _end(self, job: QueuedJob, state: str, result: str) -> None:
        self.agenda.cancel(job.timer)
        self._withdraw(job)
        job.finished_at, job.result = self._hub.clock.now(), result
        self._complete(job, result)
        self._leave(job)
        job.state = state

    def _complete(self, job: QueuedJob, result: str) -> None:
        """Tell the job's set that it is over, once."""
        scale_set = self._sets.get(job.scale_set_id)
        if scale_set is None or job.told_completed:
            return
        job.told_completed = True
        scale_set.running.pop(job.id, None)
        runner = {"runnerId": job.runner_id, "runnerName": job.runner_name}
        finished = rfc3339(self._hub.clock.now())
        if not scale_set.completions_muted:
            document = job.message("JobCompleted", result=result, **runner, finishTime=finished)
            self._tell(scale_set, document, seconds=self.options.completion_delay_seconds)

    def _leave(self, job: QueuedJob) -> None:
        """It counts for its set no more."""
        if (scale_set := self._sets.get(job.scale_set_id)) is not None:
            scale_set.waiting.pop(job.id, None)
            scale_set.running.pop(job.id, None)

    def _withdraw(self, job: QueuedJob) -> None:
        """It waits no more, and nobody can acquire it any more."""
        self._queue.drop(job)
        if job.request_id:
            for each in self._sets.values():
                each.offered.pop(job.id, None)

    def _tell(self, scale_set: ScaleSet, document: dict[str, Any], *, wakes: bool = True, seconds: float = 0.0) -> None:
        due = self._hub.clock.now() + self.options.message_delay_seconds + seconds
        scale_set.log.post(Event(document=document, due=due, wakes=wakes))
        self._hub.changed += 1

    def _next(self, job: QueuedJob, at: float, action: Callable[[], object]) -> None:
        self.agenda.cancel(job.timer)
        job.timer = self.agenda.add(at, action)

    def _kept_labels(self, name: str, labels: Sequence[str]) -> tuple[str, ...]:
        kept = tuple(dict.fromkeys(labels)) or (name,)
        return (name,) if self.options.drop_extra_labels else kept

    def _number(self) -> int:
        self._last += 1
        return self._last
