"""A pool: trust level x machine class over one or more regions, and how its size follows demand."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from fleet.schema.base import Model, Names


class RegionSize(Model):
    """One group: the zones it spreads over and the bounds of its size."""

    zones: Names = Field(min_length=1, description="zone letters of the region, such as [a, b]")
    min: int = Field(default=0, ge=0, le=2000, description="VMs, 0 to 2000")
    max: int = Field(ge=0, le=2000, description="VMs, 0 to 2000")
    group: str | None = Field(
        default=None,
        pattern=r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$",
        description="the name of a group that exists already and is taken over, 1 to 63 of a-z, 0-9 and -",
    )


class JobsScaling(Model):
    """Sized by GitHub's queue: the demand listener grows the group, VMs end themselves."""

    signal: Literal["jobs"]
    idle: int = Field(default=0, ge=0, le=2000, description="VMs kept waiting for jobs, 0 to 2000")
    region_order: Names = Field(default=(), description="regions of this pool, in the order in which they grow")


class CpuScaling(Model):
    """Sized by average CPU use, growing only. The figures are the original fleet's (0.6, 60 s)."""

    signal: Literal["cpu"]
    target: float = Field(default=0.6, gt=0, le=1, description="a share of CPU above 0, at most 1")
    cool_down_seconds: int = Field(default=60, ge=15, le=3600, description="seconds, 15 to 3600")


class FixedScaling(Model):
    """Always `min` VMs, which equals `max`."""

    signal: Literal["fixed"]


class Schedule(Model):
    """At least `min` VMs for a while, on a cron schedule."""

    cron: str = Field(description="five cron fields, such as 0 8 * * 1-5")
    time_zone: str = Field(default="UTC", description="an IANA time zone, such as America/Los_Angeles")
    duration_seconds: int = Field(ge=300, le=31_536_000, description="seconds, 300 to 31536000")
    min: int = Field(ge=0, le=2000, description="VMs, 0 to 2000")


class ScheduleScaling(Model):
    """Sized by the clock, growing only."""

    signal: Literal["schedule"]
    schedules: dict[str, Schedule] = Field(min_length=1)
    cool_down_seconds: int = Field(default=60, ge=15, le=3600, description="seconds, 15 to 3600")


Scaling = Annotated[
    JobsScaling | CpuScaling | FixedScaling | ScheduleScaling,
    Field(discriminator="signal", description="{signal: jobs | cpu | fixed | schedule, …}"),
]


class CanaryInstances(Model):
    """This many VMs of each group run the canary version."""

    instances: int = Field(ge=1, le=2000, description="VMs, 1 to 2000")


class CanaryPercent(Model):
    """This share of each group runs the canary version."""

    percent: int = Field(ge=1, le=50, description="percent, 1 to 50")


class CanaryRegions(Model):
    """The groups of these regions run the canary version whole: the only way where the shape forbids two versions."""

    regions: Names = Field(min_length=1, description="regions of this pool")


def _canary_kind(value: Any) -> str | None:
    kinds = {"instances": "by instances", "percent": "by percent", "regions": "by regions"}
    found = [tag for key, tag in kinds.items() if isinstance(value, dict) and key in value]
    return found[0] if len(found) == 1 else None


Canary = Annotated[
    Annotated[CanaryInstances, Tag("by instances")]
    | Annotated[CanaryPercent, Tag("by percent")]
    | Annotated[CanaryRegions, Tag("by regions")],
    Discriminator(_canary_kind),
    Field(description="exactly one of {instances: n}, {percent: n}, {regions: […]}"),
]


class Standby(Model):
    """VMs that each group of the pool keeps besides those that run, and takes first when it grows.

    Two zeros give up a reserve that a group has; a group whose `max` is 0 keeps none.
    """

    suspended: int = Field(default=0, ge=0, le=2000, description="VMs of each group, 0 to 2000")
    stopped: int = Field(default=0, ge=0, le=2000, description="VMs of each group, 0 to 2000")

    @property
    def vms(self) -> int:
        """All of them."""
        return self.suspended + self.stopped


class PoolSettings(Model):
    """What a label set addresses. Its key in the YAML is its name everywhere."""

    trust: str = Field(description="a trust level")
    machine_class: str = Field(description="a machine class")
    regions: dict[str, RegionSize] = Field(min_length=1)
    scaling: Scaling
    standby: Standby | None = Field(default=None, description="{suspended: n, stopped: n}, VMs of each group")
    canary: Canary | None = None
    labels: Names = Field(default=(), description="further runner labels")
