"""Groups: one pool in one region, and which versions it runs. The plan that components and previews both read."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.naming import Names
from fleet.schema.machine_class import Shape
from fleet.schema.pool import (
    Canary,
    CanaryInstances,
    CanaryPercent,
    CanaryRegions,
    CpuScaling,
    JobsScaling,
    PoolSettings,
    ScheduleScaling,
    Standby,
)
from fleet.schema.version import Rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One regional managed instance group.

    `stable` is the version that the VMs run, `canary` the one under trial on `canary_share` of them. A group that is
    under trial as a whole has no stable version, and no share.
    """

    name: str
    base_instance_name: str
    region: str
    zones: tuple[str, ...]
    """Full names, such as us-west1-a, sorted."""
    shape: Shape
    min: int
    max: int
    stable: str | None
    canary: str | None
    canary_share: CanaryInstances | CanaryPercent | None
    autoscaled: bool
    rank: int
    """Where demand grows the pool first: 0 before 1. Regions without an order of their own stand by name."""
    at_rest: int
    """VMs while no job waits, where every region has room: `min`, or this group's part of the pool's idle ones."""
    fixed_size: int | None
    """The size Pulumi keeps; None where an autoscaler or the demand listener sizes the group."""
    standby: Standby | None
    """The reserve that the group is to keep, none of it where `max` is 0; None where nobody asked for any."""

    @property
    def most(self) -> int:
        """VMs that may be up at once: a group at `max` replenishes its reserve, whose VMs boot as any other."""
        return self.max + (self.standby.vms if self.standby else 0)


def zone_name(region: str, zone: str) -> str:
    """us-west1 and a (or us-west1-a) make us-west1-a."""
    return zone if zone.startswith(f"{region}-") else f"{region}-{zone}"


def default_canary(shape: Shape, regions: tuple[str, ...]) -> Canary | None:
    """One VM of each group; a BALANCED group cannot hold two versions, so there it is the first region by name.

    A BALANCED pool of one region has no canary: all of it, or nothing, would run the trial version.
    """
    if shape == "even":
        return CanaryInstances(instances=1)
    return CanaryRegions(regions=(min(regions),)) if len(regions) > 1 else None


def groups(key: str, pool: PoolSettings, shape: Shape, rollout: Rollout, names: Names) -> tuple[Group, ...]:
    """The groups of one pool, by region name."""
    tries = not rollout.canary_pools or key in rollout.canary_pools
    canary = (pool.canary or default_canary(shape, tuple(pool.regions))) if tries else None
    return tuple(
        _group(key, region, pool, shape, _runs(region, rollout, canary), names) for region in sorted(pool.regions)
    )


def growth_order(pool: PoolSettings) -> tuple[str, ...]:
    """The pool's regions in the order in which demand grows them: those that it orders, then the others by name."""
    ordered = pool.scaling.region_order if isinstance(pool.scaling, JobsScaling) else ()
    return (*ordered, *sorted(pool.regions.keys() - set(ordered)))


_Runs = tuple[str | None, str | None, CanaryInstances | CanaryPercent | None]


def _runs(region: str, rollout: Rollout, canary: Canary | None) -> _Runs:
    """The stable version, the version under trial, and the trial's share, of the group in one region."""
    if rollout.canary is None or canary is None:
        return rollout.stable, None, None
    if not isinstance(canary, CanaryRegions):
        return rollout.stable, rollout.canary, canary
    return (None, rollout.canary, None) if region in canary.regions else (rollout.stable, None, None)


def _group(key: str, region: str, pool: PoolSettings, shape: Shape, runs: _Runs, names: Names) -> Group:
    size = pool.regions[region]
    zones = tuple(sorted(zone_name(region, zone) for zone in size.zones))
    stable, canary, share = runs
    return Group(
        name=size.group or names.group(key, region, zones),
        base_instance_name=names.vm_base(key, region),
        region=region,
        zones=zones,
        shape=shape,
        min=size.min,
        max=size.max,
        stable=stable,
        canary=canary,
        canary_share=share,
        autoscaled=isinstance(pool.scaling, CpuScaling | ScheduleScaling),
        rank=growth_order(pool).index(region),
        at_rest=_at_rest(region, pool),
        fixed_size=size.min if pool.scaling.signal == "fixed" else None,
        standby=Standby() if pool.standby and not size.max else pool.standby,
    )


def _at_rest(region: str, pool: PoolSettings) -> int:
    if not isinstance(pool.scaling, JobsScaling):
        return pool.regions[region].min
    order = growth_order(pool)
    before = sum(pool.regions[earlier].max for earlier in order[: order.index(region)])
    return min(pool.regions[region].max, max(0, pool.scaling.idle - before))
