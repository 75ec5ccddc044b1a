"""Labels: no job may be taken by a pool it did not ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fleet.draft import Draft
from fleet.errors import Fault
from fleet.labels import RUNNER_LABEL_LIMIT, addressable_labels

_ADDED_LATER: Final = 6
"""Room for the two labels of a version, and for those that only a VM can give (zone, hostname and the like)."""


def overlap_faults(draft: Draft) -> Iterator[Fault]:
    """Two pools overlap when one's labels contain the other's: jobs for the smaller set may land on the larger."""
    labels: dict[str, set[str]] = {}
    for key, pool in draft.pools.items():
        machine_class = draft.machine_classes.get(pool.machine_class)
        trust = draft.trust_levels.get(pool.trust)
        if machine_class is None or trust is None:
            continue
        # GitHub compares labels without case.
        mine = {label.lower() for label in addressable_labels(draft.environment, pool, machine_class, trust)}
        for other, theirs in labels.items():
            if mine <= theirs or theirs <= mine:
                only = ", ".join(sorted(mine ^ theirs))
                seen = f"every label of {other}" + (f" but {only}" if only else "")
                allowed = "labels of which a job can ask that no other pool has all"
                fix = "merge the two pools, or give each a label that the other lacks"
                yield Fault(("pools", key, "labels"), seen, allowed, fix)
        labels[key] = mine
        if len(mine) + _ADDED_LATER > RUNNER_LABEL_LIMIT:
            seen = f"{len(pool.labels)} further labels"
            allowed = f"{RUNNER_LABEL_LIMIT} labels in all"
            yield Fault(("pools", key, "labels"), seen, allowed, "remove some")
