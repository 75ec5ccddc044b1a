"""Workflows that somebody may start, and their runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from emulators.clock import rfc3339


@dataclass(kw_only=True)
class Workflow:
    """A workflow with `workflow_dispatch`. A test may change how its next runs go."""

    id: int
    repository: str
    file: str
    """Its name below .github/workflows."""
    inputs: tuple[str, ...] = ()
    """The names that it declares; GitHub refuses others."""
    run_name: str = ""
    """What its runs are called; inputs in braces are replaced."""
    queue_seconds: float = 0.0
    run_seconds: float = 0.0
    cancel_seconds: float = 0.0
    """How long a run goes on after it was cancelled."""
    conclusion: str = "success"
    enabled: bool = True


@dataclass(kw_only=True)
class WorkflowRun:
    """A run of a workflow, dispatched by somebody."""

    id: int
    workflow: Workflow
    ref: str
    inputs: dict[str, str] = field(default_factory=dict[str, str])
    created: float
    cancelled: float | None = None
    """When somebody cancelled it."""

    @property
    def started(self) -> float:
        """When a runner has it."""
        return self.created + self.workflow.queue_seconds

    @property
    def ended(self) -> float:
        """When it is over: if it is cancelled, sooner."""
        end = self.started + self.workflow.run_seconds
        return end if self.cancelled is None else min(end, self.cancelled + self.workflow.cancel_seconds)

    def status(self, now: float) -> str:
        """What GitHub says of it."""
        return "completed" if now >= self.ended else "in_progress" if now >= self.started else "queued"

    def conclusion(self, now: float) -> str | None:
        """How it ended; one that was cancelled in time, as cancelled."""
        if now < self.ended:
            return None
        in_time = self.cancelled is not None and self.cancelled < self.started + self.workflow.run_seconds
        return "cancelled" if in_time else self.workflow.conclusion

    def document(self, now: float, organization: str) -> dict[str, Any]:
        """The run as the REST API shows it."""
        where = f"https://github.com/{organization}/{self.workflow.repository}/actions/runs/{self.id}"
        name = self.workflow.run_name
        return {
            "id": self.id,
            "name": self.workflow.file,
            "display_title": name.format(**self.inputs) if name else self.workflow.file,
            "path": f".github/workflows/{self.workflow.file}",
            "workflow_id": self.workflow.id,
            "event": "workflow_dispatch",
            "status": self.status(now),
            "conclusion": self.conclusion(now),
            "head_branch": self.ref,
            "head_sha": f"{self.id:040x}",
            "run_attempt": 1,
            "created_at": second(self.created),
            "run_started_at": second(self.created),
            "updated_at": second(min(now, self.ended)),
            "html_url": where,
        }


def second(seconds: float) -> str:
    """A time as GitHub writes it, to the second."""
    return rfc3339(float(int(seconds))).replace(".000Z", "Z")
