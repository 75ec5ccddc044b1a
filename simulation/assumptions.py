"""What the simulation takes for granted about the world: one table, each figure with its source.

Change one by editing its line here, or for one run with `--set create_seconds=60`. A spread is LOW .. HIGH with a most
frequent value between, drawn from a triangle; `--set` takes one number or three: `--set api_seconds=0.1,0.2,1`.

"Assumed" says that nobody measured it for us: a plausible value, which the comparison in docs/scaling.md depends on as
much as on the others. docs/scaling.md repeats this table.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Spread:
    """Numbers between `low` and `high`, most of them near `mode`."""

    low: float
    mode: float
    high: float

    def draw(self, chance: random.Random) -> float:
        """One of them."""
        if self.low == self.high:
            return self.low
        return chance.triangular(self.low, self.high, self.mode)

    def __str__(self) -> str:
        return f"{self.low:g}" if self.low == self.high else f"{self.low:g} .. {self.mode:g} .. {self.high:g}"


def _told(means: str, source: str) -> dict[str, str]:
    return {"means": means, "source": source}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """The table."""

    # A VM's way to its first job.
    create_seconds: float = field(
        default=20,
        metadata=_told(
            "from the group's order until the VM runs",
            "assumed; Privatehive/gcp-hosted-github-runner#2 has about 60 s until a VM runs, its boot included",
        ),
    )
    boot_kernel_seconds: Spread = field(
        default=Spread(30, 38, 50),
        metadata=_told(
            "from power-on until the startup script runs",
            "30-50 s until runners read their configuration: github-aws-runners/terraform-aws-github-runner#5136",
        ),
    )
    boot_bundle_seconds: Spread = field(
        default=Spread(1, 2, 5), metadata=_told("fetching and unpacking the boot bundle", "assumed")
    )
    boot_preflight_seconds: Spread = field(
        default=Spread(3, 5, 12),
        metadata=_told("containment, disk, clock, health, proofs", "assumed: an image with everything baked in"),
    )
    boot_install_seconds: Spread = field(
        default=Spread(4, 7, 20),
        metadata=_told("unpacking the runner's archive", "assumed: from the image or a mirror in the same region"),
    )
    connect_seconds: Spread = field(
        default=Spread(1, 2, 5), metadata=_told("from the configuration until GitHub sees the runner online", "assumed")
    )

    # GitHub.
    deliver_seconds: Spread = field(
        default=Spread(0.2, 1, 45),
        metadata=_told(
            "from GitHub's decision which runner gets a job until a worker starts there",
            "assumed, up to less than the 60 s by which GitHub's view lags; startup/lib/retirement.py waits 90",
        ),
    )
    busy_lag_seconds: float = field(
        default=45,
        metadata=_told(
            "by which the flag `busy` follows the truth",
            "25-60 s: actions/runner#4422, github-aws-runners/terraform-aws-github-runner#5228",
        ),
    )
    poll_hold_seconds: float = field(
        default=50,
        metadata=_told(
            "how long GitHub holds an empty poll", "README of actions/scaleset: about 50 s; others measured 51 and 88 s"
        ),
    )
    session_lapse_seconds: float = field(
        default=75,
        metadata=_told(
            "until a session whose owner is gone makes room", "50 s (rhobuild/runpool), 60-92 s (junioryono/billet)"
        ),
    )
    assignment_seconds: float = field(
        default=300,
        metadata=_told(
            "until an assignment that no runner takes is withdrawn",
            "README of actions/scaleset; actions/actions-runner-controller#4602 shows 5 minutes",
        ),
    )
    assignment_tries: int = field(
        default=3, metadata=_told("assignments of a job before GitHub gives it up", "README of actions/scaleset")
    )

    # Google Cloud.
    api_seconds: Spread = field(
        default=Spread(0.02, 0.08, 0.6), metadata=_told("one request and its answer, to any service", "assumed")
    )
    operation_seconds: float = field(default=2, metadata=_told("until an operation of a group is done", "assumed"))
    autoscaler_seconds: float = field(
        default=60, metadata=_told("between two decisions of a CPU autoscaler", "assumed")
    )
    stop_seconds: float = field(
        default=30, metadata=_told("a VM that is deleted stops for so long", "assumed: guest shutdown, then gone")
    )
    retry_seconds: float = field(
        default=60, metadata=_told("until a group tries again what it could not create", "assumed")
    )
    healing_checks_seconds: float = field(
        default=90,
        metadata=_told(
            "until a group sees that a VM is dead, once the initial delay is over", "assumed: three health checks"
        ),
    )
    scarce_seconds: Spread = field(
        default=Spread(120, 300, 480),
        metadata=_told(
            "how long VMs cannot be had, or not register, where such a fault strikes",
            "assumed; iree-org/iree#14545 had hours for GPUs, in which GitHub gives jobs up",
        ),
    )
    preempted_share: float = field(
        default=0.05, metadata=_told("VMs that are preempted, where the fault strikes", "assumed")
    )
    boot_failure_share: float = field(
        default=0.1, metadata=_told("boots that fail, where the fault strikes", "assumed")
    )
    host_error_share: float = field(
        default=0.04, metadata=_told("VMs whose host dies silently, where the fault strikes", "assumed")
    )

    # Jobs.
    cpu_job_seconds: Spread = field(
        default=Spread(60, 480, 1800), metadata=_told("a job of a CPU pool", "assumed: builds of minutes")
    )
    gpu_job_seconds: Spread = field(
        default=Spread(30, 240, 900), metadata=_told("a job of a GPU pool", "assumed; iree-org/iree#14169 had 7 min")
    )

    # The fleet's own settings that a short run may shorten.
    idle_timeout_seconds: int = field(
        default=900, metadata=_told("a VM is idle for so long before it asks to leave", "Pulumi.prod.yaml")
    )
    retire_pause_seconds: Spread = field(
        default=Spread(300, 450, 600),
        metadata=_told("between two tries to leave", "startup/units/runner-retire.timer: 5 min + up to 5 min"),
    )
    boot_deadline_seconds: int = field(default=600, metadata=_told("a boot may take so long", "Pulumi.prod.yaml"))
    healing_delay_seconds: int = field(
        default=900, metadata=_told("before a new VM's health counts", "Pulumi.prod.yaml")
    )
    max_run_seconds: int = field(
        default=7200,
        metadata=_told("a VM may be so old", "shortened from the day of Pulumi.prod.yaml, so that its end is played"),
    )

    standby_look_seconds: float = field(
        default=1, metadata=_told("how often a listener that stands by reads the lease", "listener/lease.py")
    )

    def rows(self) -> list[tuple[str, str, str, str]]:
        """The table: name, value, meaning, source."""
        return [
            (each.name, _shown(getattr(self, each.name)), each.metadata["means"], each.metadata["source"])
            for each in dataclasses.fields(self)
        ]

    def replaced(self, given: Mapping[str, str]) -> Assumptions:
        """The table with other values, as `--set` gives them. Raises AssumptionError."""
        return dataclasses.replace(self, **{name: _parsed(self, name, text) for name, text in given.items()})


class AssumptionError(Exception):
    """A value that is none. The text names it, and what is allowed."""


STANDARD: Final = Assumptions()
"""As documented."""

HASTY: Final = dataclasses.replace(
    STANDARD,
    cpu_job_seconds=Spread(20, 150, 600),
    gpu_job_seconds=Spread(20, 100, 400),
    idle_timeout_seconds=150,
    retire_pause_seconds=Spread(45, 60, 90),
    healing_delay_seconds=300,
    max_run_seconds=3600,
    standby_look_seconds=15,
)
"""Shorter jobs and less patience of the fleet's own, so that a thousand seeds take minutes; the clouds are the same."""


def _shown(value: Spread | float) -> str:
    return str(value) if isinstance(value, Spread) else f"{value:g}"


def _parsed(table: Assumptions, name: str, text: str) -> Spread | float:
    names = [each.name for each in dataclasses.fields(table)]
    if name not in names:
        raise AssumptionError(f"no assumption is called {name!r}; there are {', '.join(names)}")
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    kind = getattr(table, name)
    if isinstance(kind, Spread) and len(numbers) in {1, 3} and numbers == sorted(numbers) and numbers[0] >= 0:
        return Spread(numbers[0], numbers[len(numbers) // 2], numbers[-1])
    if not isinstance(kind, Spread) and len(numbers) == 1 and numbers[0] >= 0:
        return type(kind)(numbers[0])
    allowed = "one number, or LOW,MODE,HIGH in ascending order" if isinstance(kind, Spread) else "one number"
    raise AssumptionError(f"{name} is {text!r}; allowed: {allowed}, not negative")
