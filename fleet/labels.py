"""Labels: Google's, which bill and filter resources, and GitHub's, which route jobs to runners.

Runner labels follow the original fleet (`key=value` beside the bare machine class), because workflows name them.
The broker computes a runner's labels from this table; a VM chooses none.
"""

from __future__ import annotations

from typing import Final

from fleet.schema.machine_class import MachineClass
from fleet.schema.pool import PoolSettings
from fleet.schema.trust_level import TrustSettings

MANAGED_BY: Final = "runner-fleet"
GOOGLE_LABEL_LIMIT: Final = 63
RUNNER_LABEL_LIMIT: Final = 100
"""A JIT configuration takes 1 to 100 labels (GitHub REST API, generate-jitconfig)."""


def google_labels(environment: str, common: dict[str, str], **specific: str) -> dict[str, str]:
    """The labels of one resource: the environment's own, the universal set, and what the resource is for."""
    universal = {"fleet": "runner-fleet", "stack": environment, "managed-by": MANAGED_BY}
    return dict(sorted({**common, **universal, **specific}.items()))


def addressable_labels(
    environment: str, pool: PoolSettings, machine_class: MachineClass, trust: TrustSettings
) -> tuple[str, ...]:
    """The labels by which jobs ask for this pool; they hold for every version of it.

    Two pools whose sets contain one another would share jobs, which `fleet.checks.overlap` refuses.
    """
    return (
        "self-hosted",
        "Linux",
        machine_class.arch.upper(),
        "os-family=Linux",
        f"runner-group={trust.runner_group}",
        f"trust={pool.trust}",
        f"environment={environment}",
        pool.machine_class,
        f"machine-type={machine_class.machine_type}",
        *pool.labels,
    )


def version_labels(version_id: str, runner: str) -> tuple[str, str]:
    """The labels that tell versions apart; jobs should not ask for them, operators watch a roll-out by them."""
    return (f"runner-version={runner}", f"template-version={version_id}")
