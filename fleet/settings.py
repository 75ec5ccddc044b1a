"""The one door into the model: `load` turns a stack's configuration into frozen settings, or says every fault.

What `load` returned is never checked again anywhere. What depends on the day (deadlines) is a warning, so that no
operator is locked out at night; see `fleet.warnings`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet import labels, versions
from fleet.checks import ALL_CHECKS
from fleet.draft import SECTIONS, Draft, parse
from fleet.errors import ConfigError
from fleet.group import Group, groups
from fleet.naming import Names
from fleet.schema.machine_class import MachineClass
from fleet.schema.network import NetworkSettings
from fleet.schema.pool import JobsScaling, PoolSettings
from fleet.schema.project import GitHub, Google, Lifecycle
from fleet.schema.reconciler import ReconcilerSettings
from fleet.schema.trust_level import TrustSettings
from fleet.schema.version import Rollout, RunnerRelease, SourceImage, SourceSnapshot, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One environment, parsed and checked. All mappings keep the order of the file; iterate over sorted keys."""

    environment: str
    google: Google
    github: GitHub
    network: NetworkSettings
    lifecycle: Lifecycle
    reconciler: ReconcilerSettings
    rollout: Rollout
    machine_classes: Mapping[str, MachineClass]
    runner_releases: Mapping[str, RunnerRelease]
    versions: Mapping[str, Version]
    trust_levels: Mapping[str, TrustSettings]
    pools: Mapping[str, PoolSettings]

    @property
    def names(self) -> Names:
        """Every physical name of this environment."""
        return Names(prefix=self.google.name_prefix, project=self.google.project)

    @property
    def newest_version(self) -> str:
        """The version cut last: the one whose boot bundle is the tree's."""
        return max(self.versions, key=versions.version_key)

    def image_key(self, machine_class: str) -> str:
        """Under which key a version lists the image of a machine class."""
        return self.machine_classes[machine_class].image or machine_class

    def groups(self, pool: str) -> tuple[Group, ...]:
        """The groups of a pool, by region name."""
        settings = self.pools[pool]
        shape = self.machine_classes[settings.machine_class].shape
        return groups(pool, settings, shape, self.rollout, self.names)

    def pool_versions(self, pool: str) -> tuple[str, ...]:
        """The versions a pool has templates for, oldest first: every listed one that has an image for its class."""
        key = self.image_key(self.pools[pool].machine_class)
        return tuple(
            version
            for version in sorted(self.versions, key=versions.version_key)
            if key in self.versions[version].images
        )

    def pool_images(self, pool: str) -> tuple[tuple[str, str], ...]:
        """The boot images of a pool's templates, as image key and version."""
        key = self.image_key(self.pools[pool].machine_class)
        return tuple((key, version) for version in self.pool_versions(pool))

    def images(self) -> tuple[tuple[str, str, SourceImage | SourceSnapshot], ...]:
        """Every boot image to have, as image key, version and source, for the keys that some pool uses."""
        used = {self.image_key(pool.machine_class) for pool in self.pools.values()}
        return tuple(
            (image, version, source)
            for version in sorted(self.versions, key=versions.version_key)
            for image, source in sorted(self.versions[version].images.items())
            if image in used
        )

    def addressable_labels(self, pool: str) -> tuple[str, ...]:
        """The runner labels that jobs ask for to reach this pool."""
        settings = self.pools[pool]
        machine_class, trust = self.machine_classes[settings.machine_class], self.trust_levels[settings.trust]
        return labels.addressable_labels(self.environment, settings, machine_class, trust)

    def runner_labels(self, pool: str, version: str) -> tuple[str, ...]:
        """All labels of a runner of this pool and version that are known before its VM exists.

        A pool that follows jobs registers through its scale set, whose labels are one list for all its runners.
        """
        if isinstance(self.pools[pool].scaling, JobsScaling):
            return (*self.addressable_labels(pool), self.names.scale_set(pool))
        return (*self.addressable_labels(pool), *labels.version_labels(version, self.versions[version].runner))

    def sized_groups(self) -> tuple[tuple[Group, MachineClass], ...]:
        """Every group of the fleet with its hardware, by pool key and region."""
        return tuple(
            (group, self.machine_classes[self.pools[key].machine_class])
            for key in sorted(self.pools)
            for group in self.groups(key)
        )

    def google_labels(self, **specific: str) -> dict[str, str]:
        """The Google labels of one resource of this environment."""
        return labels.google_labels(self.environment, self.google.labels, **specific)


def load(raw: Mapping[str, Any], *, environment: str, tree_bundle: str) -> Settings:
    """Parse and check a configuration: its sections as plain data, without the project's namespace.

    `environment` is the stack's name, `tree_bundle` the digest (sha256:…) of the boot bundle that the tree makes.
    Raises ConfigError with every fault there is, structural or not.
    """
    draft, faults = parse(raw, environment, tree_bundle)
    for check in ALL_CHECKS:
        faults += check(draft)
    if faults:
        raise ConfigError(faults)
    return _settings(draft)


def read(get: Callable[[str], Any], *, environment: str, tree_bundle: str) -> Settings:
    """Like `load`, with a function that gives each section or None, as Pulumi's configuration does."""
    found = {section: get(section) for section in SECTIONS}
    raw = {section: value for section, value in found.items() if value is not None}
    return load(raw, environment=environment, tree_bundle=tree_bundle)


def _settings(draft: Draft) -> Settings:
    # parse() saw to it: a section that is not there is a fault.
    assert draft.google
    assert draft.github
    assert draft.network
    assert draft.lifecycle
    assert draft.reconciler
    assert draft.rollout
    return Settings(
        environment=draft.environment,
        google=draft.google,
        github=draft.github,
        network=draft.network,
        lifecycle=draft.lifecycle,
        reconciler=draft.reconciler,
        rollout=draft.rollout,
        machine_classes=draft.machine_classes,
        runner_releases=draft.runner_releases,
        versions=draft.versions,
        trust_levels=draft.trust_levels,
        pools=draft.pools,
    )
