"""How far the reconciler may go: what it is configured to, and the times that its proofs rest on."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

SETTLE_SECONDS: Final = 180
"""A disagreement is at least this old, and seen in two runs, before anything is done about it. GitHub's flags are late
by 25 to 60 s (actions/runner#4422, terraform-aws-github-runner#5228), and runs come every five minutes."""
APART_SECONDS: Final = 1800
"""Two runs further apart than this do not follow one another: nobody has looked in between."""
REGISTRATION_MARGIN_SECONDS: Final = 300
"""After the boot deadline. The broker gives nothing later than that, and a request takes it 45 s at most; the rest is
for clocks that disagree."""
AGE_MARGIN_SECONDS: Final = 900
"""After a VM's longest run. Compute Engine ends it itself at that time; this is for its doing so."""
DAY_SECONDS: Final = 86_400
RELEASE_DAYS: Final = 30
"""A runner's release must be replaced within 30 days of its successor's (actions/runner#3405; enforced since autumn
2026, GitHub changelog of 2026-06-12)."""
RELEASE_WARNING_DAYS: Final = 7
"""A release whose deadline is nearer than this is reported."""
CLOCK_SECONDS: Final = 60
"""By how much the function's clock and Cloud Storage's may differ. Every age rests on it."""
LEASE_SILENT_SECONDS: Final = 120
"""The listener's leader renews its lease far more often than this."""
MOST_LOOKS: Final = 300
"""How many VMs, and how many grants, are looked at one by one in a run. The others wait for another run."""
MOST_LEFTOVERS: Final = 100
"""How many grants are cleared up in a run, oldest first; the bucket's own lifecycle is behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is configured."""

    dry_run: bool
    most_percent: int
    """Of a pool's VMs (or registrations, or grants) that one run may remove; one may always be."""
    boot_deadline_seconds: int
    max_run_seconds: int
    runner_releases: Mapping[str, datetime.date] = field(default_factory=dict[str, datetime.date])
    """When each release was made."""

    @property
    def registered_by_seconds(self) -> int:
        """The age from which a VM that has no configuration can get none any more."""
        return self.boot_deadline_seconds + REGISTRATION_MARGIN_SECONDS

    def share_of(self, count: int) -> int:
        """How many of so many may go in one run."""
        return max(1, count * self.most_percent // 100)
