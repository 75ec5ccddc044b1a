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
    PoolSettings,
    RegionSize,
    Scaling,
    ScheduleScaling,
)
from fleet.schema.version import Rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One regional managed instance group.

    `stable` is the version that most VMs run. `canary` is the version under trial in this group, if any, with
    `canary_share` of the VMs; a group that is a canary as a whole has the trial version as `stable` and says so.
    """

    name: str
    base_instance_name: str
    region: str
    zones: tuple[str, ...]
    """Full names, such as us-west1-a, sorted."""
    shape: Shape
    min: int
    max: int
    stable: str
    canary: str | None
    canary_share: CanaryInstances | CanaryPercent | None
    whole_canary: bool
    autoscaled: bool
    fixed_size: int | None
    """The size Pulumi keeps; None where an autoscaler or the demand listener sizes the group."""


def zone_name(region: str, zone: str) -> str:
    """us-west1 and a (or us-west1-a) make us-west1-a."""
    return zone if zone.startswith(f"{region}-") else f"{region}-{zone}"


def default_canary(shape: Shape, regions: tuple[str, ...]) -> Canary:
    """One VM of each group; a BALANCED group cannot hold two versions, so there it is the first region by name."""
    return CanaryRegions(regions=(min(regions),)) if shape == "balanced" else CanaryInstances(instances=1)


def groups(
    key: str, pool: PoolSettings, shape: Shape, rollout: Rollout, names: Names
) -> tuple[Group, ...]:
    """The groups of one pool, by region name."""
    canary = pool.canary or default_canary(shape, tuple(pool.regions))
    return tuple(
        _group(key, region, pool.regions[region], pool.scaling, shape, rollout.stable, rollout.canary, canary, names)
        for region in sorted(pool.regions)
    )


def _group(
    key: str,
    region: str,
    size: RegionSize,
    scaling: Scaling,
    shape: Shape,
    stable: str,
    trial: str | None,
    canary: Canary,
    names: Names,
) -> Group:
    zones = tuple(sorted(zone_name(region, zone) for zone in size.zones))
    whole = trial is not None and isinstance(canary, CanaryRegions) and region in canary.regions
    share = canary if trial is not None and not isinstance(canary, CanaryRegions) else None
    return Group(
        name=names.group(key, region, zones),
        base_instance_name=names.vm_base(key, region),
        region=region,
        zones=zones,
        shape=shape,
        min=size.min,
        max=size.max,
        stable=trial if whole and trial else stable,
        canary=trial if share else None,
        canary_share=share,
        whole_canary=whole,
        autoscaled=isinstance(scaling, CpuScaling | ScheduleScaling),
        fixed_size=size.min if scaling.signal == "fixed" else None,
    )
