"""Which jobs a VM of a trust level lets run: the table that the job-started hook decides by, as data.

GitHub decides first: a runner group is restricted to repositories and, above `minimal`, to workflow files. This is the
second check, made on the VM before any step of the job, from what GitHub itself tells the runner about the job. Nothing
here decides about a job; that is `startup/lib/job_policy.py`, which runs where nothing but Python's own library is.
"""

from __future__ import annotations

import json

from fleet.schema.base import Model
from fleet.schema.trust_level import TrustSettings
from fleet.trust import LEVELS, allowed_events


class JobPolicy(Model):
    """What must be true of a job. Lists are matched exactly but for refs, where `*` stands for any text."""

    events: tuple[str, ...]
    refs: tuple[str, ...]
    repositories: tuple[str, ...]
    """OWNER/NAME."""
    workflows: tuple[str, ...]
    """OWNER/NAME/.github/workflows/FILE@REF; empty means all."""
    forks: bool
    """Whether a pull request may come from another repository."""
    actor_associations: tuple[str, ...]
    """What the event's author must be to the repository; empty means anybody. Events without an author pass."""

    def text(self) -> str:
        """The policy as one line of JSON."""
        return json.dumps(self.model_dump(), separators=(",", ":"))


def job_policy(level: str, settings: TrustSettings, organization: str) -> JobPolicy:
    """The policy of a level in one environment."""
    return JobPolicy(
        events=allowed_events(level, settings),
        refs=settings.allowed_refs,
        repositories=tuple(f"{organization}/{name}" for name in sorted(settings.repositories)),
        workflows=settings.workflows,
        forks=LEVELS[level].forks,
        actor_associations=settings.actor_associations,
    )
