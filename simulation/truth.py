"""What really happened: kept by the simulated VMs themselves, so that no service's word has to be believed."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class Job:
    """A job of the trace. Times are virtual seconds."""

    id: str
    pool: str
    seconds: float
    """How long it runs."""
    cpu: float
    """The share of its VM's CPU that it uses."""
    queued_at: float
    starts: list[float] = field(default_factory=list[float])
    """When workers began it; once, if all is well."""
    ended_at: float | None = None
    ended: str = ""
    """succeeded, or what took its VM away."""
    boot_seconds: float = 0.0
    """Of the VM that ran it."""

    @property
    def waited_seconds(self) -> float | None:
        """In the queue; None while it waits."""
        return self.starts[0] - self.queued_at if self.starts else None


@dataclass(slots=True, kw_only=True)
class Life:
    """A VM's. Times are virtual seconds; None for what has not happened."""

    name: str
    instance_id: str
    pool: str
    group: str
    on_at: float
    listening_at: float | None = None
    job_at: float | None = None
    job_over_at: float | None = None
    off_at: float | None = None
    job: str = ""
    ended: str = ""

    @property
    def idle_seconds(self) -> float:
        """How long it listened without a job."""
        if self.listening_at is None:
            return 0.0
        until = self.job_at if self.job_at is not None else self.off_at
        return 0.0 if until is None else until - self.listening_at


@dataclass(slots=True, kw_only=True)
class Truth:
    """Everything that is looked at in the end."""

    jobs: dict[str, Job] = field(default_factory=dict[str, Job])
    lives: list[Life] = field(default_factory=list[Life])
    violations: list[str] = field(default_factory=list[str])
    faults: Counter[str] = field(default_factory=Counter[str])
    """How often each struck."""
    log: list[str] | None = None
    """Every event, if somebody wants to read them."""
    _digest: Any = field(default_factory=hashlib.sha256)

    def note(self, at: float, event: str) -> None:
        """An event: it makes the digest, by which two runs are compared."""
        line = f"{at:.6f} {event}"
        self._digest.update(line.encode())
        if self.log is not None:
            self.log.append(line)

    def violate(self, at: float, what: str) -> None:
        """Something that must never happen."""
        self.note(at, f"VIOLATION {what}")
        self.violations.append(f"at {at:.1f} s: {what}")

    @property
    def digest(self) -> str:
        """Of all events so far."""
        return self._digest.hexdigest()
