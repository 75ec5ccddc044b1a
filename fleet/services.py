"""The proxy functions as the stack deploys them: what each may do, how large and how long, and who calls it when.

A function holds the power that its callers do not have, so its permissions are listed here one by one, each with the
call that needs it, and tests compare the list with what is granted. What a function does is `functions/`; what it is
told is `fleet.service_environment`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from fleet.settings import Settings

RUNTIME: Final = "python312"
"""Cloud Run functions' Python runtime; supported until 2028-10 (Google's runtime schedule)."""

ENTRY_POINT: Final = "handle"

DAY_SECONDS: Final = 86_400

LONGEST_CALL_SECONDS: Final = 1800
"""What Cloud Scheduler waits for an HTTP target at most: 30 minutes (its API's Job.attemptDeadline, read 2026-11-25).
A function answers HTTP for up to 60 (Cloud Run functions' page on timeouts, read 2026-11-25), so this is the limit."""

SERVE_SECONDS: Final = LONGEST_CALL_SECONDS - 60
"""How long the demand listener serves one call: a minute is left to hand over and to answer."""

BUILDER_ROLES: Final = {
    "roles/artifactregistry.writer": "the build pushes the function's container",
    "roles/logging.logWriter": "the build's log",
    "roles/storage.objectViewer": "the build reads the source, from a bucket of Google's own, too",
}
"""What the account that builds functions may do (Google's page on a custom service account for builds)."""

STATE_ROLES: Final = {"roles/storage.objectUser": "a function's records, each written with a precondition"}

READ_ROLES: Final = {
    # Without leave to list, Cloud Storage answers 403 for an object that is not there, and "none" reads as a failure.
    "roles/storage.objectViewer": "reads another function's records, and sees which are not there",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledCall:
    """One job of Cloud Scheduler: when it calls, in UTC, and how long it waits for the answer. It never tries again."""

    name: str
    cron: str
    deadline_seconds: int


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
    app_key: str = ""
    """What it does with the GitHub App's key; empty where it may not read it."""
    reads: Mapping[str, str] = field(default_factory=dict[str, str])
    """Other functions' roles whose records it reads, with what for."""
    writes: Mapping[str, str] = field(default_factory=dict[str, str])
    """Other functions' roles whose records it changes, with what for."""
    calls: tuple[ScheduledCall, ...] = ()
    """When it is called. What is called by the clock is called by nobody else; all others are called by VMs alone."""
    timeout_seconds: int
    """Above the longest that the function allows itself for one request."""
    memory: str = "512Mi"
    cpu: str = "1"
    concurrency: int = 40
    max_instances: int = 4

    @property
    def serves_vms(self) -> bool:
        """Whether VMs call it, rather than the clock."""
        return not self.calls


LISTENER: Final = Service(
    role="listener",
    folder="demand_listener",
    meaning="Demand listener: asks GitHub how many jobs wait, and grows groups for them",
    permissions={
        "compute.instanceGroupManagers.get": "regionInstanceGroupManagers.get and listManagedInstances",
        # It may change a group in any way; that it only ever grows one is the function's own rule, and its tests'.
        "compute.instanceGroupManagers.update": "regionInstanceGroupManagers.resize, upward",
        "compute.regionOperations.get": "regionOperations.get: whether a resize went through",
        "monitoring.timeSeries.create": "timeSeries.create: the gauges of every pool",
    },
    app_key="a scale set's messages are read with the App's token",
    # Two jobs, each half an hour, a quarter apart: one call leads while the other stands by, and takes over from it.
    calls=(
        ScheduledCall(name="listener-even", cron="0,30 * * * *", deadline_seconds=LONGEST_CALL_SECONDS),
        ScheduledCall(name="listener-odd", cron="15,45 * * * *", deadline_seconds=LONGEST_CALL_SECONDS),
    ),
    timeout_seconds=LONGEST_CALL_SECONDS,
    concurrency=1,
    # Leader, standby, and one to spare for the minute in which a deployment or a job run by hand overlaps with both.
    max_instances=3,
)

BROKER: Final = Service(
    role="broker",
    folder="registration_broker",
    meaning="Registration broker: one just-in-time configuration for each VM",
    permissions={
        "compute.instanceGroupManagers.get": "listManagedInstances: whether a group with a reserve wants the caller",
        "compute.instances.get": "instances.get of the caller",
    },
    app_key="a VM's configuration is asked for with the App's token",
    reads={"listener": "GET /demand says why jobs of the caller's pool wait"},
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
    reads={"listener": "in a pool that follows jobs, who is surplus depends on the listener's demand"},
    timeout_seconds=60,
)

RECONCILER: Final = Service(
    role="reconciler",
    folder="reconciler",
    meaning="Reconciler: compares GitHub, groups and records, and removes what is proven dead",
    permissions={
        "compute.instanceGroupManagers.get": "regionInstanceGroupManagers.get and listManagedInstances",
        "compute.instanceGroupManagers.update": "regionInstanceGroupManagers.deleteInstances and recreateInstances",
        "compute.instances.get": "instances.get of a suspect: since when it is there, or that it is gone",
        "monitoring.timeSeries.create": "timeSeries.create: the gauges of every pool",
    },
    app_key="runners are listed, and dead ones removed, with the App's token",
    reads={"listener": "a pool whose listener is silent is reported; placeholders are judged by its demand"},
    writes={
        "broker": "grants are evidence, and those of VMs long gone are removed",
        "deleter": "permits are evidence",
    },
    calls=(ScheduledCall(name="reconciler", cron="*/5 * * * *", deadline_seconds=300),),
    # Less than the five minutes to the next call, so that two runs never overlap on time.
    timeout_seconds=290,
    concurrency=1,
    max_instances=1,
)

SERVICES: Final = (LISTENER, BROKER, DELETER, RECONCILER)
"""In an order in which each is granted only on records of those before it."""


def record_days(settings: Settings) -> int:
    """How long a function's records are kept: no VM lives longer, and a VM's records are of no use after it."""
    return settings.lifecycle.max_run_seconds // DAY_SECONDS + 2
