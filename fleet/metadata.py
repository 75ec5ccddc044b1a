"""The contract between a template and the scripts on its VMs: every `runner-*` metadata attribute.

A field here is an attribute there: `machine_class` is `runner-machine-class`. Values are text. Nothing secret may
ever stand in metadata, since every process on the VM can read it. `startup/lib/attributes.txt` lists the names for the
VM's one reading function, and docs/reference-metadata.md is written from this model; `python -m startup.contract`
writes both, and tests compare them. Who reads an attribute is compared with the scripts, too.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from fleet import trust
from fleet.job_policy import job_policy
from fleet.schema.base import Model
from fleet.settings import Settings

PREFIX: Final = "runner-"

HEALTH_PORT: Final = 8080
"""Where every VM's health server listens. No configuration: firewall and health check would follow an edit at once,
frozen templates never, and all their VMs would be healed to death."""

ARCHIVE_URL: Final = (
    "https://github.com/actions/runner/releases/download/v{release}/actions-runner-linux-{arch}-{release}.tar.gz"
)
"""Where GitHub publishes runner archives."""

HOLD_UNTIL: Final = "runner-hold-until"
"""What keeps a VM for inspection until a moment; see MARKS."""
DRAIN: Final = "runner-drain"
"""What tells a VM to leave as soon as it safely can; see MARKS."""

MARKS: Final = {
    HOLD_UNTIL: (
        "until then this VM is neither retired, deleted nor healed",
        "2026-11-25T14:10:00Z, and no other form",
        "bin/delete-self bin/retire bin/health deleter reconciler",
    ),
    DRAIN: (
        "any text: leave as soon as no job is here, also where the VM is not surplus",
        "2026-11-25T14:10:00Z, from when on",
        "bin/retire deleter",
    ),
}
"""Attributes that no template sets: an operator writes them on one VM, and no VM's account may. Name to meaning, form
and readers. `scripts/rollout hold` and `drain` write them, `startup/lib/marks.py` reads them on the VM."""

_NUMBER: Final = r"^\d+$"
_BOOLEAN: Final = r"^(true|false)$"
_SHA256: Final = "70920811a4f8ad4328818682bca5c6469c1c942fab52448868071d0063816613"


def _attribute(
    meaning: str, *, example: str, unit: str = "", readers: str = "people", pattern: str | None = None
) -> Any:
    """A field's description: what it means, its unit, an example, and the scripts below startup/ that read it."""
    extra: dict[str, Any] = {"unit": unit, "readers": readers.split()}
    return Field(description=meaning, pattern=pattern, examples=[example], json_schema_extra=extra)


class RunnerMetadata(Model):
    """What a template tells its VMs, one field an attribute."""

    environment: str = _attribute("the stack", example="prod", readers="bin/report-end")
    pool: str = _attribute("the pool's key", example="presubmit-cpu", readers="bin/report-end")
    trust: str = _attribute("the trust level", example="minimal", readers="bin/report-end")
    group: str = _attribute("the GitHub runner group's name", example="presubmit")
    machine_class: str = _attribute("the machine class", example="cpu")
    organization: str = _attribute("the GitHub organisation", example="iree-org")
    scaling_signal: str = _attribute(
        "jobs, cpu, fixed or schedule: who sizes the group", example="cpu", pattern="^(jobs|cpu|fixed|schedule)$"
    )
    version: str = _attribute(
        "the GitHub runner's release",
        example="2.337.0",
        readers="bin/install bin/report-end",
        pattern=r"^\d+\.\d+\.\d+$",
    )
    template_version: str = _attribute(
        "the version this VM was made from", example="2026-11-22", readers="bin/report-end"
    )
    archive_url: str = _attribute(
        "where GitHub publishes the runner's archive",
        example=ARCHIVE_URL.format(release="2.337.0", arch="x64"),
        readers="bin/install",
    )
    archive_sha256: str = _attribute(
        "the archive's SHA-256", example=_SHA256, unit="hex", readers="bin/install", pattern="^[0-9a-f]{64}$"
    )
    boot_bundle_bucket: str = _attribute(
        "the bucket of boot bundles, and of mirrored runner archives",
        example="iree-oss-gh-runner-boot",
        readers="bin/install",
    )
    boot_bundle_digest: str = _attribute(
        "the boot bundle this VM runs, and no other", example=f"sha256:{_SHA256}", pattern="^sha256:[0-9a-f]{64}$"
    )
    broker_url: str = _attribute(
        "the registration broker, and the audience of identity tokens for it",
        example="https://us-central1-iree-oss.cloudfunctions.net/gh-runner-broker",
        unit="URL",
        readers="bin/register bin/retire",
    )
    deleter_url: str = _attribute(
        "the instance deleter, and the audience of identity tokens for it",
        example="https://us-central1-iree-oss.cloudfunctions.net/gh-runner-deleter",
        unit="URL",
        readers="bin/delete-self bin/retire",
    )
    job_environment: str = _attribute(
        "what every job finds in its environment, NAME=value by line",
        example="RUNNER_FLEET_POOL=presubmit-cpu",
        readers="bin/install",
    )
    job_policy: str = _attribute(
        "which jobs the job-started hook lets run", example='{"events": ["push"]}', unit="JSON", readers="bin/install"
    )
    artifact_bucket: str = _attribute(
        "where this trust level's jobs create and read artifacts", example="iree-oss-gh-runner-minimal-artifacts"
    )
    cache_bucket: str = _attribute(
        "the compiler cache this trust level may read; empty if none", example="iree-oss-gh-runner-basic-cache"
    )
    cache_writable: str = _attribute(
        "true where this level may write the cache", example="false", unit="boolean", pattern=_BOOLEAN
    )
    docker: str = _attribute(
        "true where jobs may use Docker, which makes them root",
        example="true",
        unit="boolean",
        readers="bin/contain",
        pattern=_BOOLEAN,
    )
    passwordless_root: str = _attribute(
        "true where jobs may use sudo",
        example="false",
        unit="boolean",
        readers="bin/contain bin/run",
        pattern=_BOOLEAN,
    )
    gpu_count: str = _attribute(
        "GPUs that must answer before the VM registers",
        example="0",
        unit="GPUs",
        readers="bin/preflight",
        pattern=_NUMBER,
    )
    warm_images: str = _attribute(
        "container images to pull ahead of the first job, by digest, separated by spaces; may be empty",
        example="docker.io/library/ubuntu@sha256:" + _SHA256,
        readers="bin/warm",
    )
    health_port: str = _attribute(
        "the health server's TCP port", example=str(HEALTH_PORT), readers="bin/preflight", pattern=_NUMBER
    )
    boot_deadline_seconds: str = _attribute(
        "how long after its start a VM may take to listen",
        example="600",
        unit="s",
        readers="bin/watch-boot",
        pattern=_NUMBER,
    )
    idle_timeout_seconds: str = _attribute(
        "how long a VM listens without a job before it asks to leave",
        example="900",
        unit="s",
        readers="bin/retire",
        pattern=_NUMBER,
    )
    max_run_seconds: str = _attribute(
        "how long after its start Compute Engine deletes the VM",
        example="86400",
        unit="s",
        readers="bin/report-end",
        pattern=_NUMBER,
    )

    def attributes(self) -> dict[str, str]:
        """The metadata map: attribute name to value, sorted."""
        fields: dict[str, str] = self.model_dump()
        return {attribute_name(field): fields[field] for field in sorted(fields)}


def attribute_name(field: str) -> str:
    """What a field is called in the metadata."""
    return PREFIX + field.replace("_", "-")


def runner_metadata(settings: Settings, pool: str, version: str, *, job_environment: str) -> RunnerMetadata:
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
        broker_url=names.function_url(settings.google.services_region, "broker"),
        deleter_url=names.function_url(settings.google.services_region, "deleter"),
        job_environment=job_environment,
        job_policy=job_policy(wanted.trust, level, settings.github.organization).text(),
        artifact_bucket=names.artifact_bucket(wanted.trust, level.artifacts.bucket),
        cache_bucket=names.cache_bucket(cache) if cache else "",
        cache_writable=_text(value=cache == wanted.trust),
        docker=_text(value=machine_class.docker),
        passwordless_root=_text(value=machine_class.passwordless_root),
        gpu_count=str(machine_class.accelerator.count if machine_class.accelerator else 0),
        warm_images=" ".join(machine_class.warm_images),
        health_port=str(HEALTH_PORT),
        boot_deadline_seconds=str(settings.lifecycle.boot_deadline_seconds),
        idle_timeout_seconds=str(settings.lifecycle.idle_timeout_seconds),
        max_run_seconds=str(settings.lifecycle.max_run_seconds),
    )


def _text(*, value: bool) -> str:
    return "true" if value else "false"
