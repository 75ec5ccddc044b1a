"""The proxy functions as the stack deploys them: what each may do, how large and how long, and what it is told.

A function holds the power that its callers do not have, so its permissions are listed here one by one, each with the
call that needs it, and tests compare the list with what is granted. What a function does is `functions/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fleet.settings import Settings

RUNTIME: Final = "python312"
"""Cloud Run functions' Python runtime; supported until 2028-10 (Google's runtime schedule)."""

ENTRY_POINT: Final = "handle"

DAY_SECONDS: Final = 86_400

BUILDER_ROLES: Final = {
    "roles/artifactregistry.writer": "the build pushes the function's container",
    "roles/logging.logWriter": "the build's log",
    "roles/storage.objectViewer": "the build reads the source, from a bucket of Google's own, too",
}
"""What the account that builds functions may do (Google's page on a custom service account for builds)."""

STATE_ROLES: Final = {"roles/storage.objectUser": "the function's own records, each written with a precondition"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One function's deployment. Times in seconds; memory as Cloud Run writes it."""

    role: str
    """Its short name: of its account, its URL and its bucket."""
    folder: str
    """Its source, below functions/."""
    meaning: str
    permissions: Mapping[str, str]
    """Each permission in the project, with the call that needs it."""
    reads_app_key: bool
    timeout_seconds: int
    """Above the longest that the function allows itself for one request."""
    memory: str = "512Mi"
    cpu: str = "1"
    concurrency: int = 40
    max_instances: int = 4


BROKER: Final = Service(
    role="broker",
    folder="registration_broker",
    meaning="Registration broker: one just-in-time configuration for each VM",
    permissions={"compute.instances.get": "instances.get of the caller"},
    reads_app_key=True,
    timeout_seconds=70,
)

DELETER: Final = Service(
    role="deleter",
    folder="instance_deleter",
    meaning="Instance deleter: deletes its caller through its group, and says who may leave",
    permissions={
        "compute.autoscalers.get": "regionAutoscalers.get: how many VMs are recommended",
        "compute.instanceGroupManagers.get": "regionInstanceGroupManagers.get and listManagedInstances",
        # It may change a group, and so delete VMs through it; deleting a VM itself would be another permission.
        "compute.instanceGroupManagers.update": "regionInstanceGroupManagers.deleteInstances and recreateInstances",
        "compute.instances.get": "instances.get of the caller",
        "compute.regionOperations.get": "regionOperations.wait: whether the deletion went through",
    },
    reads_app_key=False,
    timeout_seconds=60,
)

SERVICES: Final = (BROKER, DELETER)


def environment(service: Service, settings: Settings) -> dict[str, str]:
    """What a function is told beside its table; nothing of it is secret."""
    names, prefix = settings.names, service.role.upper()
    told = {f"{prefix}_AUDIENCE": names.function_url(settings.google.services_region, service.role)}
    if service is BROKER:
        told |= {
            "BROKER_APP_ID": settings.github.app_id,
            "BROKER_INSTALLATION_ID": settings.github.installation_id,
            "BROKER_APP_KEY_SECRET": f"{names.secret(settings.github.app_key_secret)}/versions/latest",
            "BROKER_BOOT_DEADLINE_SECONDS": str(settings.lifecycle.boot_deadline_seconds),
            "BROKER_GRANTS_BUCKET": names.function_bucket(service.role),
        }
    else:
        told["DELETER_PERMITS_BUCKET"] = names.function_bucket(service.role)
    return dict(sorted(told.items()))


def record_days(settings: Settings) -> int:
    """How long a function's records are kept: no VM lives longer, and a VM's records are of no use after it."""
    return settings.lifecycle.max_run_seconds // DAY_SECONDS + 2
