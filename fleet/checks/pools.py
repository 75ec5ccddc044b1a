"""Pools: references that exist, zones that offer the hardware, sizes and canaries that a group can have."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fleet.catalog.offers import offered_zones
from fleet.catalog.regions import ZONES
from fleet.checks.jobs import job_faults
from fleet.checks.schedules import schedule_faults
from fleet.checks.standby import standby_faults
from fleet.draft import Draft
from fleet.errors import Fault, Path, one_of, show, unknown_name
from fleet.group import zone_name
from fleet.schema.machine_class import MachineClass
from fleet.schema.pool import CanaryInstances, CanaryRegions, JobsScaling, PoolSettings, RegionSize, ScheduleScaling

_RUNNER_LABEL = re.compile(r"[^\s,][^,\n]{0,254}")


def pool_faults(draft: Draft) -> Iterator[Fault]:
    """Faults of every pool."""
    for key, pool in draft.pools.items():
        at = ("pools", key)
        if pool.trust not in draft.declared.get("trust_levels", ()):
            known = draft.declared.get("trust_levels", ())
            yield unknown_name((*at, "trust"), pool.trust, known, "trust level")
        machine_class = draft.machine_classes.get(pool.machine_class)
        if pool.machine_class not in draft.declared.get("machine_classes", ()):
            known = draft.declared.get("machine_classes", ())
            yield unknown_name((*at, "machine_class"), pool.machine_class, known, "machine class")
        for label in pool.labels:
            if not _RUNNER_LABEL.fullmatch(label):
                allowed = "a label without comma, 1 to 255 characters"
                yield Fault((*at, "labels"), show(label), allowed, "rename it")
        for region, size in pool.regions.items():
            yield from _region((*at, "regions", region), region, size, pool, machine_class, draft)
        if isinstance(pool.scaling, JobsScaling):
            yield from job_faults(at, pool, pool.scaling)
        if isinstance(pool.scaling, ScheduleScaling):
            yield from schedule_faults((*at, "scaling", "schedules"), pool, pool.scaling)
        yield from standby_faults(at, pool, machine_class)
        yield from _canary((*at, "canary"), pool, machine_class)
        yield from _pins(at, pool, machine_class, draft)
    yield from _taken_over(draft)


def _taken_over(draft: Draft) -> Iterator[Fault]:
    """A group that exists already can be one place's only: functions know groups by name."""
    places: dict[str, Path] = {}
    for key, pool in draft.pools.items():
        for region, size in pool.regions.items():
            if size.group is None:
                continue
            at = ("pools", key, "regions", region, "group")
            if size.group in places:
                allowed = f"a group that no other place takes over; {'.'.join(places[size.group][:-1])} does"
                yield Fault(at, show(size.group), allowed, "take it out of one of the two")
            places.setdefault(size.group, at)


def _region(
    at: Path, region: str, size: RegionSize, pool: PoolSettings, machine_class: MachineClass | None, draft: Draft
) -> Iterator[Fault]:
    if draft.network is not None and region not in draft.network.regions:
        yield unknown_name(at, region, draft.network.regions, "region of network.regions")
    if region in ZONES:
        yield from _zones((*at, "zones"), region, size, machine_class)
    if size.min > size.max:
        yield Fault((*at, "min"), show(size.min), f"at most max, which is {size.max}", f"write {size.max} or less")
    elif pool.scaling.signal == "cpu" and size.min == 0 < size.max:
        allowed = "1 or more with the cpu signal: a group without VMs has no CPU to measure and would never grow"
        yield Fault((*at, "min"), "0", allowed, "write min: 1, or choose the signal jobs")
    elif pool.scaling.signal == "fixed" and size.min != size.max:
        fix = f"write min: {size.max}, or choose another signal"
        yield Fault((*at, "min"), show(size.min), f"max, {size.max}: a fixed pool has one size", fix)


def _zones(at: Path, region: str, size: RegionSize, machine_class: MachineClass | None) -> Iterator[Fault]:
    letters = ", ".join(zone.rsplit("-", 1)[1] for zone in ZONES[region])
    zones = [zone_name(region, zone) for zone in size.zones]
    for written, zone in zip(size.zones, zones, strict=True):
        if zone not in ZONES[region]:
            yield Fault(at, show(written), f"a zone of {region}: {letters}", f"choose out of {letters}")
        elif machine_class is not None:
            offers = offered_zones(machine_class)
            if offers is not None and zone not in offers.zones:
                near = [offer[-1] for offer in sorted(offers.zones) if offer.startswith(f"{region}-")]
                regions = {offer.rpartition("-")[0] for offer in offers.zones}
                allowed = ", ".join(near) or f"no zone of {region}; {offers.what} is in {one_of(regions)}"
                fix = f"choose out of {', '.join(near)}" if near else "choose one of those regions"
                yield Fault(at, f"{show(written)}, where {offers.what} is not offered", allowed, fix)
    for zone in sorted({zone for zone in zones if zones.count(zone) > 1}):
        yield Fault(at, f"{zone} twice", "each zone once", "remove one")


def _canary(at: Path, pool: PoolSettings, machine_class: MachineClass | None) -> Iterator[Fault]:
    canary = pool.canary
    if canary is None:
        return
    if isinstance(canary, CanaryRegions):
        for region in canary.regions:
            if region not in pool.regions:
                yield unknown_name((*at, "regions"), region, pool.regions, "region of this pool")
        if set(pool.regions) <= set(canary.regions):
            allowed = "some of the pool's regions, not all: the others stay on stable"
            yield Fault((*at, "regions"), show(list(canary.regions)), allowed, "leave one region out")
        return
    if machine_class is not None and machine_class.shape == "balanced":
        yield Fault(
            at,
            show(canary.model_dump()),
            "{regions: […]}: a BALANCED group holds one version, so its canary is a whole region",
            f"write {{regions: [{min(pool.regions)}]}}",
        )
    elif isinstance(canary, CanaryInstances):
        for region, size in sorted(pool.regions.items()):
            if 0 < size.max < canary.instances:
                path, allowed = (*at, "instances"), f"at most {region}'s max, {size.max}"
                yield Fault(path, show(canary.instances), allowed, f"write {size.max} or less")


def _pins(at: Path, pool: PoolSettings, machine_class: MachineClass | None, draft: Draft) -> Iterator[Fault]:
    """A pool needs an image of the versions it runs; and a digest for each version that it has an image of."""
    if machine_class is None:
        return
    image, user = machine_class.image or pool.machine_class, ".".join(at)
    pointers = (draft.rollout.stable, draft.rollout.canary) if draft.rollout else ()
    for name, version in draft.versions.items():
        if name in pointers and image not in version.images:
            allowed = f"an image for {image}, which {user} needs"
            path = ("versions", name, "images")
            yield Fault(path, f"images for {one_of(version.images)}", allowed, f"add images.{image}")
        release = draft.runner_releases.get(version.runner)
        if image in version.images and release is not None and machine_class.arch not in release.sha256:
            path = ("runner_releases", version.runner, "sha256")
            allowed = f"a digest for {machine_class.arch}, which {user} needs for version {name}"
            fix = f"add {machine_class.arch} from the release notes of actions/runner v{version.runner}"
            yield Fault(path, f"digests for {one_of(release.sha256)}", allowed, fix)
