"""A self-hosted runner as GitHub knows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

IMPLIED: Final = frozenset({"self-hosted", "linux", "windows", "macos", "x64", "arm", "arm64"})
"""Labels that GitHub calls read-only."""


@dataclass(kw_only=True)
class Runner:
    """A registration and the listener behind it. What a test reads is the truth; what GitHub says, `shown_busy`."""

    id: int
    name: str
    labels: list[str]
    group_id: int
    work_folder: str
    credential: str
    """What its listener proves itself with; in the just-in-time configuration."""
    created: float
    version: str = ""
    session: str = ""
    """Of the listener that is connected."""
    jit_consumed: bool = False
    """Whether a listener has ever connected with the configuration."""
    scale_set_id: int = 0
    """Of the scale set that it belongs to, if it does."""
    job: str = ""
    """What it runs."""
    job_id: str = ""
    """Of the queued job that this is, also afterwards; empty for one that a test handed out by the runner's name."""
    busy_since: float | None = None
    idle_since: float | None = None
    removed: bool = False
    removed_with_job: bool = False
    """Whether its registration was deleted while a job ran, which GitHub lets happen."""

    @property
    def status(self) -> str:
        """`offline` until a listener is connected."""
        return "online" if self.session else "offline"

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return bool(self.job)

    def shown_busy(self, now: float, lag_seconds: float) -> bool:
        """The `busy` flag, which follows the truth in both directions this much later."""
        if self.job:
            return self.busy_since is not None and now >= self.busy_since + lag_seconds
        return self.idle_since is not None and now < self.idle_since + lag_seconds

    def document(self, now: float, lag_seconds: float) -> dict[str, Any]:
        """The runner as the REST API shows it; of a scale set's it does not say that they are ephemeral.

        That was seen at github.com; the documentation does not say so.
        """
        labels = [
            {"id": n, "name": name, "type": "read-only" if name in IMPLIED else "custom"}
            for n, name in enumerate(self.labels, 1)
        ]
        return {
            "id": self.id,
            "name": self.name,
            "os": "linux" if self.jit_consumed else "unknown",
            "status": self.status,
            "busy": self.shown_busy(now, lag_seconds),
            **({} if self.scale_set_id else {"ephemeral": True}),
            "runner_group_id": self.group_id,
            "labels": labels,
            **({"version": self.version} if self.version else {}),
        }
