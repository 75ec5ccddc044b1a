"""The accounts a fleet lives in: one Google Cloud project, one GitHub organisation; and how long a VM may live."""

from __future__ import annotations

from pydantic import Field

from fleet.schema.base import Model


class Quota(Model):
    """What the operator says a region's quota is. Peak capacity above it is a warning, never a fault."""

    vcpu: int | None = Field(default=None, ge=0, description="vCPUs, a whole number")
    gpu: dict[str, int] = Field(default_factory=dict, description="GPU type: whole number")


class Google(Model):
    """The Google Cloud project and what every resource in it is called and labelled with."""

    project: str = Field(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$", description="a project id, 6 to 30 characters")
    name_prefix: str = Field(
        pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", description="lower-case letters, digits and dashes, a letter first"
    )
    bucket_location: str = Field(
        default="US",
        pattern=r"^([A-Z]{2,4}[0-9]?|[a-z]+-[a-z]+[0-9]{1,2})$",
        description="a Cloud Storage location, such as US or us-central1",
    )
    services_region: str = Field(
        default="us-central1", description="a Google Cloud region, where the proxy functions run"
    )
    labels: dict[str, str] = Field(default_factory=dict)
    quotas: dict[str, Quota] = Field(default_factory=dict)


class GitHub(Model):
    """The organisation that owns the runner groups, and the App that registers runners in it."""

    organization: str = Field(
        pattern=r"^[A-Za-z0-9](-?[A-Za-z0-9]){0,38}$", description="a GitHub organisation's login"
    )
    app_id: str = Field(pattern=r"^\d+$", description="the App's numeric id, in quotes")
    installation_id: str = Field(pattern=r"^\d+$", description="the installation's numeric id, in quotes")
    app_key_secret: str = Field(
        pattern=r"^[A-Za-z0-9_-]{1,255}$", description="a Secret Manager secret id: letters, digits, - and _"
    )


class Lifecycle(Model):
    """Time limits of a VM. The figures are ours; the ranges are Compute Engine's.

    Autohealing waits longer than the boot deadline, so that a slow boot is ended by the VM itself, with a reason,
    and never by a health check without one (the original's delay of 0 s could recreate VMs that were still booting).
    """

    boot_deadline_seconds: int = Field(default=600, ge=60, le=3000, description="seconds, 60 to 3000")
    healing_initial_delay_seconds: int = Field(default=900, ge=0, le=3600, description="seconds, 0 to 3600")
    idle_timeout_seconds: int = Field(default=900, ge=60, le=86_400, description="seconds, 60 to 86400")
    max_run_seconds: int = Field(
        default=86_400, ge=3600, le=10_368_000, description="seconds, 3600 (1 h) to 10368000 (120 days)"
    )
