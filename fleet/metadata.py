"""The contract between a template and the scripts on its VMs: every `runner-*` metadata attribute.

A field here is an attribute there: `machine_class` is `runner-machine-class`. Values are text. Nothing secret may
ever stand in metadata, since every process on the VM can read it. Values that only a deployment knows (a service's
URL) are added to the same model when their service exists.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field

from fleet import trust
from fleet.schema.base import Digest, Model, Sha256
from fleet.settings import Settings

PREFIX: Final = "runner-"

HEALTH_PORT: Final = 8080
"""Where every VM's health server listens. No configuration: firewall and health check would follow an edit at once,
frozen templates never, and all their VMs would be healed to death."""

ARCHIVE_URL: Final = (
    "https://github.com/actions/runner/releases/download/v{release}/actions-runner-linux-{arch}-{release}.tar.gz"
)
"""Where GitHub publishes runner archives."""


class RunnerMetadata(Model):
    """What a template tells its VMs, one field an attribute."""

    environment: str = Field(description="the stack, such as prod")
    pool: str = Field(description="the pool's key")
    trust: str = Field(description="the trust level")
    group: str = Field(description="the GitHub runner group's name")
    machine_class: str = Field(description="the machine class")
    organization: str = Field(description="the GitHub organisation")
    scaling_signal: str = Field(description="jobs, cpu, fixed or schedule: decides how a finished VM leaves its group")
    version: str = Field(description="the GitHub runner's release")
    template_version: str = Field(description="the version this VM was made from")
    archive_url: str = Field(description="where the runner's archive can be had")
    archive_sha256: Sha256 = Field(description="the archive's SHA-256")
    boot_bundle_bucket: str = Field(description="the bucket that holds boot bundles")
    boot_bundle_digest: Digest = Field(description="the boot bundle this VM runs, and no other")
    artifact_bucket: str = Field(description="where this trust level's jobs create and read artifacts")
    cache_bucket: str = Field(description="the compiler cache this trust level may read; empty if none")
    cache_writable: str = Field(pattern="^(true|false)$", description="true where this level may write the cache")
    health_port: str = Field(pattern=r"^\d+$", description="TCP port of the health server")
    boot_deadline_seconds: str = Field(pattern=r"^\d+$", description="seconds a VM has to come online")
    max_run_seconds: str = Field(pattern=r"^\d+$", description="seconds after which Compute Engine deletes the VM")

    def attributes(self) -> dict[str, str]:
        """The metadata map: attribute name to value, sorted."""
        fields: dict[str, str] = self.model_dump()
        return {PREFIX + name.replace("_", "-"): fields[name] for name in sorted(fields)}


def runner_metadata(settings: Settings, pool: str, version: str) -> RunnerMetadata:
    """What a pool's template of one version tells its VMs. The version is one of the pool's (`pool_versions`)."""
    wanted = settings.pools[pool]
    machine_class = settings.machine_classes[wanted.machine_class]
    level = settings.trust_levels[wanted.trust]
    pins = settings.versions[version]
    names = settings.names
    cache = trust.cache_of(wanted.trust, settings.trust_levels)
    return RunnerMetadata(
        environment=settings.environment,
        pool=pool,
        trust=wanted.trust,
        group=level.runner_group,
        machine_class=wanted.machine_class,
        organization=settings.github.organization,
        scaling_signal=wanted.scaling.signal,
        version=pins.runner,
        template_version=version,
        archive_url=ARCHIVE_URL.format(release=pins.runner, arch=machine_class.arch),
        archive_sha256=settings.runner_releases[pins.runner].sha256[machine_class.arch],
        boot_bundle_bucket=names.boot_bucket,
        boot_bundle_digest=pins.boot_bundle,
        artifact_bucket=names.artifact_bucket(wanted.trust, level.artifacts.bucket),
        cache_bucket=names.cache_bucket(cache) if cache else "",
        cache_writable="true" if cache == wanted.trust else "false",
        health_port=str(HEALTH_PORT),
        boot_deadline_seconds=str(settings.lifecycle.boot_deadline_seconds),
        max_run_seconds=str(settings.lifecycle.max_run_seconds),
    )
