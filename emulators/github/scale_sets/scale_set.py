"""A runner scale set: a name and labels that jobs ask for, the jobs that it has, its runners, its messages."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emulators.clock import rfc3339
from emulators.github.runner import Runner
from emulators.github.scale_sets.job import QueuedJob
from emulators.github.scale_sets.message_log import MessageLog
from emulators.github.scale_sets.session import Session

if TYPE_CHECKING:
    from emulators.github.hub import RunnerGroup


@dataclass(kw_only=True, eq=False)
class ScaleSet:
    """A test may look at everything; what it changes goes through GitHub's own methods."""

    id: int
    name: str
    group: RunnerGroup
    labels: tuple[str, ...]
    repository: str
    """The repository that it was registered for; empty for the organization's."""
    disable_update: bool
    created: float
    service_url: str
    deleted: bool = False
    session: Session | None = None
    log: MessageLog = field(default_factory=MessageLog, repr=False)
    capacity: int | None = None
    """What the last poll said that the set may hold; None when it said nothing."""
    offered: dict[str, QueuedJob] = field(default_factory=dict[str, QueuedJob], repr=False)
    """On Enterprise Server: jobs that its listener may acquire, by their ids."""
    waiting: dict[str, QueuedJob] = field(default_factory=dict[str, QueuedJob], repr=False)
    """Jobs that it has and that no runner has."""
    running: dict[str, QueuedJob] = field(default_factory=dict[str, QueuedJob], repr=False)
    """Jobs that a runner has, as far as GitHub told."""
    runners: dict[str, Runner] = field(default_factory=dict[str, Runner], repr=False)
    """By name."""
    idle: dict[str, Runner] = field(default_factory=dict[str, Runner], repr=False)
    """Those that are online and have no job."""
    busy: dict[str, Runner] = field(default_factory=dict[str, Runner], repr=False)
    """Those that have one, whatever GitHub told of it."""
    completions_muted: bool = False

    def serves(self, repository: str) -> bool:
        """Whether it may have a repository's jobs. Nobody is told when it may not."""
        if self.repository:
            return self.repository == repository
        return self.group.repositories is None or repository in self.group.repositories

    @property
    def room(self) -> bool:
        """Whether one more job fits into the capacity of the current poll."""
        held = len(self.waiting) + len(self.running) + len(self.offered)
        return self.capacity is None or held < self.capacity

    def statistics(self) -> dict[str, int]:
        """The counters, as of now. Only Enterprise Server counts jobs as acquired; that is our guess."""
        acquired = any(job.request_id for job in itertools.islice(self.waiting.values(), 1))
        return {
            "totalAvailableJobs": len(self.offered),
            "totalAcquiredJobs": len(self.waiting) if acquired else 0,
            "totalAssignedJobs": len(self.waiting) + len(self.running),
            "totalRunningJobs": len(self.running),
            "totalRegisteredRunners": len(self.runners),
            "totalBusyRunners": len(self.busy),
            "totalIdleRunners": len(self.idle),
        }

    def document(self) -> dict[str, Any]:
        """The set as the service shows it."""
        base = f"{self.service_url}/_apis/runtime/runnerscalesets/{self.id}"
        return {
            "id": self.id,
            "name": self.name,
            "runnerGroupId": self.group.id,
            "runnerGroupName": self.group.name,
            "labels": [{"type": "System", "name": name} for name in self.labels],
            "RunnerSetting": {"ephemeral": True, "isElastic": True, "disableUpdate": self.disable_update},
            "createdOn": rfc3339(self.created),
            "runnerJitConfigUrl": f"{base}/generatejitconfig",
            "getAcquirableJobsUrl": f"{base}/acquirablejobs",
            "acquireJobsUrl": f"{base}/acquirejobs",
            "statistics": self.statistics(),
            "enabled": True,
        }
