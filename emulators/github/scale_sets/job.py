"""A workflow's job on its way to a scale set's runner, and what a listener is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from emulators.clock import rfc3339

ZERO_TIME: Final = "0001-01-01T00:00:00Z"
REST_BASE: Final = 10_000_000_000
"""A job's id at the REST API is so much more than its run's."""


@dataclass(kw_only=True, eq=False)
class QueuedJob:
    """A job. What a test reads is the truth, whatever GitHub told anybody."""

    id: str
    number: int
    """The lower, the longer it waits; its workflow run's id."""
    request_id: int
    """By which Enterprise Server lets it be acquired; 0 on github.com."""
    name: str
    labels: tuple[str, ...]
    owner: str
    repository: str
    event: str
    script: str
    """What its runner is handed."""
    queued_at: float
    branch: str = "main"
    state: str = "queued"
    """queued, assigned, running, completed; or failed, which GitHub itself decided."""
    scale_set: str = ""
    """The name of the set that it is assigned to."""
    scale_set_id: int = 0
    runner_name: str = ""
    runner_id: int = 0
    tries: int = 0
    """How often it was assigned."""
    runs: int = 0
    """How often it was started."""
    assigned_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    result: str = ""
    """succeeded, failed, canceled."""
    cancelling: bool = False
    """Whether it was cancelled while it ran; it then ends as `canceled`."""
    told_completed: bool = False
    """Whether its completion was told before its time."""
    timer: int = field(default=0, repr=False)
    """Of what happens next to it by itself."""

    @property
    def rest_id(self) -> int:
        """Its id at the REST API and in its page's address, which is another than the one that scale sets know."""
        return REST_BASE + self.number

    @property
    def page(self) -> str:
        """Its page's address at github.com."""
        where = f"https://github.com/{self.owner}/{self.repository}/actions/runs/{self.number}"
        return f"{where}/job/{self.rest_id}"

    @property
    def over(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in {"completed", "failed"}

    def message(self, kind: str, **more: Any) -> dict[str, Any]:
        """The job as a message of that kind tells it now."""
        return {
            "messageType": kind,
            "runnerRequestId": self.request_id,
            "jobId": self.id,
            "repositoryName": self.repository,
            "ownerName": self.owner,
            "jobWorkflowRef": f"{self.owner}/{self.repository}/.github/workflows/ci.yml@refs/heads/main",
            "jobDisplayName": self.name,
            "workflowRunId": self.number,
            "eventName": self.event,
            "requestLabels": list(self.labels),
            "queueTime": rfc3339(self.queued_at),
            "scaleSetAssignTime": _time(self.assigned_at),
            "runnerAssignTime": _time(self.started_at),
            "finishTime": _time(self.finished_at),
            **more,
        }


def _time(seconds: float | None) -> str:
    return ZERO_TIME if seconds is None else rfc3339(seconds)
