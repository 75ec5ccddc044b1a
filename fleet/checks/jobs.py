"""Pools that follow GitHub's job queue: how many wait for jobs, and in which order their regions grow."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.errors import Fault, Path, show, unknown_name
from fleet.schema.pool import JobsScaling, PoolSettings


def job_faults(at: Path, pool: PoolSettings, scaling: JobsScaling) -> Iterator[Fault]:
    """Faults of a pool whose signal is jobs, found at the key path of the pool.

    A minimum is one: what keeps VMs without a job is `idle`, of the whole pool and so in whichever region has room.
    """
    most = sum(size.max for size in pool.regions.values())
    if scaling.idle > most:
        allowed = f"at most the pool's maximum, {most}"
        yield Fault((*at, "scaling", "idle"), show(scaling.idle), allowed, f"write {most} or less")
    for region in sorted(set(scaling.region_order)):
        path = (*at, "scaling", "region_order")
        if region not in pool.regions:
            yield unknown_name(path, region, pool.regions, "region of this pool")
        elif scaling.region_order.count(region) > 1:
            yield Fault(path, f"{region} twice", "each region once", "remove one")
    for region, size in pool.regions.items():
        if 0 < size.min <= size.max:
            allowed = "0 with the jobs signal: what keeps VMs without a job is idle, in whichever region has room"
            fix = f"write min: 0, and {size.min} as the pool's scaling.idle if so many shall wait for jobs"
            yield Fault((*at, "regions", region, "min"), show(size.min), allowed, fix)
