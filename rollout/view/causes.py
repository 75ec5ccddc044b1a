"""The causes for which a job waits: the whole list, in the order in which they are looked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """A cause's name, which does not change."""

    HELD = "held"
    """GitHub itself holds the job back: an approval, a concurrency group."""
    HOSTED = "hosted"
    """It asks for GitHub's own runners."""
    LABELS = "labels"
    """No pool has all its labels."""
    REPOSITORY = "repository"
    """The pool's trust level does not serve its repository."""
    WORKFLOW = "workflow"
    """The pool's trust level does not serve its workflow file, or not on that ref."""
    RUNNER_GROUP = "runner-group"
    """The runner group at GitHub is not as the stack says."""
    NOT_DEPLOYED = "not-deployed"
    """The pool's groups do not exist."""
    ZERO = "zero"
    """The pool's maximum is 0."""
    LISTENER = "listener"
    """The demand listener is silent."""
    RUNNER_RELEASE = "runner-release"
    """GitHub gives the version's runner no jobs any more."""
    MAXIMUM = "maximum"
    """All VMs that the pool may have are there."""
    STOCK_OUT = "stock-out"
    """Google has no such machine."""
    QUOTA = "quota"
    """The project may have no more of them."""
    REFUSED = "refused"
    """The group cannot be had, looked at or resized, or its VMs not be made."""
    CANARY = "canary"
    """Only the canary's VMs fail to register."""
    BOOT = "boot"
    """VMs fail to register."""
    RESERVE = "reserve"
    """VMs in reserve are being resumed."""
    COMING = "coming"
    """A VM is on its way."""
    BUSY = "busy"
    """All VMs have jobs, and what sizes the pool has asked for no more."""
    ASSIGNING = "assigning"
    """A runner is idle: GitHub takes its time."""
    NOT_OFFERED = "not-offered"
    """The listener hears nothing of the job."""
    NEW = "new"
    """It was queued this minute."""
    UNKNOWN = "unknown"
    """A source that may hold the cause could not be read."""
    UNEXPLAINED = "unexplained"
    """Everything was read, and nothing explains it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One cause: what is so, and what mends it."""

    code: Code
    says: str
    fix: str

    def to_json(self) -> dict[str, str]:
        """As JSON has it."""
        return {"code": self.code.value, "says": self.says, "fix": self.fix}
