"""What is said of a pool, pure: for the broker, which tells VMs why jobs wait, for the reconciler, and for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scaleset import Statistics

from . import decide
from .decide import Place
from .records import rfc3339
from .shortage import Kind, Shortage

NUMBERS = ("assigned", "running", "registered", "idle", "desired", "existing", "waiting")
"""What is recorded each minute."""
GAUGES = ("assigned", "running", "idle", "desired", "existing", "waiting")


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A pool as its leader sees it."""

    pool: str
    scale_set: str
    scale_set_id: int
    statistics: Statistics
    desired: int
    maximum: int
    places: Sequence[Place]
    missing: Sequence[str]
    """Why VMs cannot be had, in sentences."""
    unreadable: Sequence[str]
    """Regions whose group could not be looked at."""
    short: Sequence[Shortage]
    """What holds now."""

    def document(self) -> dict[str, Any]:
        """`pools/POOL.json` without its times and its fencing number."""
        return {
            "pool": self.pool,
            "scale_set": self.scale_set,
            "scale_set_id": self.scale_set_id,
            "desired": self.desired,
            "assigned": self.statistics.total_assigned_jobs,
            "running": self.statistics.total_running_jobs,
            "registered": self.statistics.total_registered_runners,
            "idle": self.statistics.total_idle_runners,
            "existing": sum(place.existing for place in self.places),
            "max": self.maximum,
            "waiting": decide.waiting(self.statistics),
            "reasons": list(self.reasons()),
            "stockouts": [
                {
                    "group": each.group,
                    "region": each.region,
                    "zone": each.zone,
                    "since": rfc3339(each.since),
                    "until": rfc3339(each.until),
                }
                for each in self.short
                if each.kind is Kind.CAPACITY
            ],
        }

    def reasons(self) -> tuple[str, ...]:
        """Why jobs wait. A full pool says so even while none of its own waits: others may wait at GitHub."""
        full = decide.maximum_reached(self.statistics, self.maximum)
        if not decide.waiting(self.statistics):
            return full
        found = [*full, *self.missing]
        found += [f"the group of {region} cannot be looked at" for region in self.unreadable]
        coming = sum(place.useful - place.existing for place in self.places)
        if coming > 0:
            found.append(f"{coming} {'VM is' if coming == 1 else 'VMs are'} being made")
        return tuple(found)

    def numbers(self) -> dict[str, int]:
        """What is recorded."""
        document = self.document()
        return {name: document[name] for name in NUMBERS}

    def gauges(self) -> dict[str, int]:
        """What is reported as metrics. A group that has capacity in no zone at all, as far as is known, counts once."""
        document = self.document()
        zones = {(each.group, each.zone) for each in self.short if each.kind is Kind.CAPACITY}
        return {**{name: document[name] for name in GAUGES}, "stocked_out_zones": len(zones)}
