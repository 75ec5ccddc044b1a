"""What disagrees, and what would mend it. Pure.

A finding has a remedy only where two independent sources prove it; else it is for people to read, and says what is
missing. Whether it is old enough, within its share and not a dry run is `decide`'s to say. The proofs are ADR 0024's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Kind(Enum):
    """What disagrees. The value is what logs and reports say."""

    UNREGISTERED = "unregistered_vm"
    """A VM runs, and GitHub has no runner of it."""
    ORPHAN = "orphan_registration"
    """A runner whose VM is gone."""
    PAST_AGE = "past_age"
    """A VM that should have been ended by Compute Engine."""
    GRANT = "leftover_grant"
    PERMIT = "leftover_permit"
    PLACEHOLDER = "placeholder"
    """A group wants a VM and cannot make it."""
    SILENT = "listener_silent"
    RELEASE = "runner_deadline"
    UNKNOWN_POOL = "unknown_pool"
    """Something of a pool that is no more."""
    RUNNER_GROUP = "runner_group_missing"
    DOUBT = "source_in_doubt"
    """A source could not be read, or said too little; nothing that depends on it is done."""


class Verb(Enum):
    """What can be done. The value is what logs and reports say."""

    END_VM = "delete"
    """Through its group, which in a fixed pool makes it anew."""
    DEREGISTER = "deregister"
    REMOVE_GRANT = "remove grant"
    DROP_PLACEHOLDER = "drop placeholder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """One thing to do, and to what exactly."""

    verb: Verb
    group: str = ""
    instance_id: str = ""
    name: str = ""
    zone: str = ""
    runner_id: int = 0
    generation: str = ""
    """Of the grant, as it was seen; empty where there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One disagreement."""

    kind: Kind
    pool: str
    """Empty where it is of no pool, or nobody knows of which."""
    subject: str
    """What it is about; with the kind it tells one finding from another, in every run."""
    because: str
    """What the sources say, in a sentence."""
    remedy: Remedy | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def key(self) -> str:
        """What the next run knows it by."""
        return f"{self.kind.value}/{self.subject}"
