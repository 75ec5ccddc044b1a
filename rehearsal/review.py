"""What a reviewer sees of one environment, as plain data. Rendering is `rehearsal.render`'s."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any

from fleet import capacity, cost, trust, versions
from fleet.capacity import Capacity
from fleet.group import Group
from fleet.metadata import HEALTH_PORT
from fleet.schema.pool import JobsScaling
from fleet.services import SERVICES, Service
from fleet.settings import Settings
from rehearsal.inventory import Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolReview:
    """One pool: what jobs ask for, and where its VMs are."""

    key: str
    trust_level: str
    machine_class: str
    machine_type: str
    signal: str
    idle: int
    """VMs that wait for jobs; 0 unless the pool follows jobs."""
    labels: tuple[str, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionReview:
    """One version: its runner's deadline, where that stands, and what the version is to this environment."""

    id: str
    runner: str
    deadline: datetime.date | None
    state: versions.DeadlineState
    role: versions.Role


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelReview:
    """One trust level: the runner group it serves and the events that may reach it."""

    level: str
    runner_group: str
    repositories: tuple[str, ...]
    events: str
    account: str
    artifact_bucket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReview:
    """Something that all pools share, and what there is to know of it."""

    service: str
    name: str
    facts: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One environment. With faults, everything else is empty: a faulty configuration declares no fleet."""

    environment: str
    pools: tuple[PoolReview, ...] = ()
    levels: tuple[LevelReview, ...] = ()
    services: tuple[ServiceReview, ...] = ()
    versions: tuple[VersionReview, ...] = ()
    smallest: dict[str, Capacity] = field(default_factory=dict[str, Capacity])
    peak: dict[str, Capacity] = field(default_factory=dict[str, Capacity])
    smallest_usd_hour: dict[str, float | None] = field(default_factory=dict[str, float | None])
    peak_usd_hour: dict[str, float | None] = field(default_factory=dict[str, float | None])
    resources: dict[str, int] = field(default_factory=dict[str, int])
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The contract of `scripts/preview --json`; capacity is the peak."""
        return {
            "environment": self.environment,
            "pools": [_pool_json(pool) for pool in self.pools],
            "versions": [
                {
                    "id": version.id,
                    "runner": version.runner,
                    "deadline": version.deadline.isoformat() if version.deadline else None,
                    "state": version.state,
                    "role": version.role,
                }
                for version in self.versions
            ],
            "capacity": {
                region: {
                    "vcpu": peak.vcpu,
                    "gpu": dict(sorted(peak.gpu.items())),
                    "memory_gb": peak.memory_gb,
                    "usd_per_hour": _cents(self.peak_usd_hour[region]),
                }
                for region, peak in self.peak.items()
            },
            "resources": self.resources,
            "faults": list(self.faults),
            "warnings": list(self.warnings),
        }


def _cents(usd: float | None) -> float | None:
    return None if usd is None else round(usd, 2)


def _pool_json(pool: PoolReview) -> dict[str, Any]:
    return {
        "key": pool.key,
        "trust_level": pool.trust_level,
        "machine_class": pool.machine_class,
        "signal": pool.signal,
        "idle": pool.idle,
        "labels": list(pool.labels),
        "groups": [
            {
                "name": group.name,
                "region": group.region,
                "zones": list(group.zones),
                "shape": group.shape,
                "min": group.min,
                "max": group.max,
                "standby": group.standby.vms if group.standby else 0,
                "rank": group.rank,
                "stable": group.stable,
                "canary": group.canary,
            }
            for group in pool.groups
        ],
    }


def review(settings: Settings, inventory: Inventory, on: datetime.date, warnings: tuple[str, ...]) -> Review:
    """What there is to see of a configuration without faults, on a given day."""
    names = settings.names
    return Review(
        environment=settings.environment,
        pools=tuple(
            PoolReview(
                key=key,
                trust_level=pool.trust,
                machine_class=pool.machine_class,
                machine_type=settings.machine_classes[pool.machine_class].machine_type,
                signal=pool.scaling.signal,
                idle=pool.scaling.idle if isinstance(pool.scaling, JobsScaling) else 0,
                labels=settings.runner_labels(key, settings.rollout.stable),
                groups=settings.groups(key),
            )
            for key, pool in sorted(settings.pools.items())
        ),
        levels=tuple(
            LevelReview(
                level=level,
                runner_group=wanted.runner_group,
                repositories=tuple(sorted(wanted.repositories)),
                events="any" if wanted.allowed_events == "any" else ", ".join(trust.allowed_events(level, wanted)),
                account=names.account(level),
                artifact_bucket=names.artifact_bucket(level, wanted.artifacts.bucket),
            )
            for level, wanted in sorted(settings.trust_levels.items())
        ),
        services=_services(settings),
        versions=tuple(
            _version(settings, version, on) for version in sorted(settings.versions, key=versions.version_key)
        ),
        smallest=capacity.by_region(settings.sized_groups(), "rest"),
        peak=capacity.by_region(settings.sized_groups(), "max"),
        smallest_usd_hour=cost.by_region(settings.sized_groups(), "rest"),
        peak_usd_hour=cost.by_region(settings.sized_groups(), "max"),
        resources=inventory.counts(),
        warnings=warnings,
    )


def _services(settings: Settings) -> tuple[ServiceReview, ...]:
    names, lifecycle = settings.names, settings.lifecycle
    egress = {"external_ip": "an external address a VM", "nat": "Cloud NAT, no external addresses"}
    newest = settings.versions[settings.newest_version]
    readers = [names.account(service.role) for service in SERVICES if service.app_key]
    return (
        ServiceReview(
            service="network",
            name=names.network,
            facts=f"{len(settings.network.regions)} regions; {egress[settings.network.egress]}; nothing gets in but "
            f"health probes to port {HEALTH_PORT}",
        ),
        ServiceReview(
            service="health check",
            name=names.of("health"),
            facts=f"heals {lifecycle.healing_initial_delay_seconds} s after a VM's start at the earliest",
        ),
        ServiceReview(
            service="boot bundle",
            name=names.boot_bucket,
            facts=f"{newest.boot_bundle[:19]}… of {settings.newest_version}",
        ),
        *(
            ServiceReview(
                service=f"function {service.role}",
                name=names.function(service.role),
                facts=f"in {settings.google.services_region}, {_callers(service)}; "
                f"may {', '.join(sorted(service.permissions))}",
            )
            for service in SERVICES
        ),
        ServiceReview(
            service="GitHub App key",
            name=settings.github.app_key_secret,
            facts=f"readable by {', '.join(readers)} alone",
        ),
    )


def _callers(service: Service) -> str:
    if service.serves_vms:
        return "for runners alone"
    return f"called by the clock alone ({'; '.join(call.cron for call in service.calls)})"


def _version(settings: Settings, version: str, on: datetime.date) -> VersionReview:
    release = settings.versions[version].runner
    due = versions.deadline(release, settings.runner_releases)
    return VersionReview(
        id=version,
        runner=release,
        deadline=due,
        state=versions.deadline_state(due, on),
        role=versions.role(version, settings.rollout),
    )
