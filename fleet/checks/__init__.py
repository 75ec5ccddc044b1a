"""Rules that span nouns. Each check takes the readable part of a configuration and yields the faults it finds.

Most exist because the provider lets the value through a preview and fails, or does harm, only at `up`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fleet.checks.classes import class_faults, quota_faults
from fleet.checks.lifecycle import lifecycle_faults
from fleet.checks.names import name_faults
from fleet.checks.network import network_faults
from fleet.checks.overlap import overlap_faults
from fleet.checks.pools import pool_faults
from fleet.checks.trust import trust_faults
from fleet.checks.versions import version_faults
from fleet.draft import Draft
from fleet.errors import Fault

ALL_CHECKS: tuple[Callable[[Draft], Iterator[Fault]], ...] = (
    class_faults,
    quota_faults,
    version_faults,
    network_faults,
    lifecycle_faults,
    trust_faults,
    pool_faults,
    overlap_faults,
    name_faults,
)
