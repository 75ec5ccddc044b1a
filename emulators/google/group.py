"""A regional managed instance group, and its autoscaler."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from emulators.clock import rfc3339
from emulators.google.instance import PACIFIC, ROOT, Instance


@dataclass(kw_only=True)
class Autoscaler:
    """A regional autoscaler. `recommended` is None while it predicts nothing: the field is absent then."""

    id: str
    name: str
    min: int
    max: int
    recommended: int | None = None
    status: str = "ACTIVE"
    mode: str = "ON"


@dataclass(kw_only=True)
class Group:
    """A regional managed instance group. A test may change any of it."""

    id: str
    name: str
    region: str
    zones: tuple[str, ...]
    project: str
    project_number: int
    service_account: str
    target_size: int
    created: float
    autoscaler: Autoscaler | None = None
    instances: list[Instance] = field(default_factory=list[Instance])
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    """Attributes that its VMs get besides `created-by`."""
    stable: bool | None = None
    """What `status.isStable` says; None says the truth: nothing is under way with any VM, none is missing."""
    stocked_out: set[str] = field(default_factory=set[str])
    """Zones where no VM can be had: they stay CREATING, with errors, as long as that lasts."""
    revision: int = 0

    @property
    def path(self) -> str:
        """Below compute/v1/."""
        return f"projects/{self.project}/regions/{self.region}/instanceGroupManagers/{self.name}"

    @property
    def created_by(self) -> str:
        """What its VMs carry in `created-by`: with the project's number."""
        return f"projects/{self.project_number}/regions/{self.region}/instanceGroupManagers/{self.name}"

    @property
    def template(self) -> str:
        """The instance template's selfLink."""
        return f"{ROOT}/projects/{self.project}/global/instanceTemplates/{self.name}-1"

    def document(self, *, autofill: bool) -> dict[str, Any]:
        """What regionInstanceGroupManagers.get answers."""
        busy = [vm for vm in self.instances if vm.action != "NONE"]
        staying = [vm for vm in self.instances if vm.action not in {"DELETING", "ABANDONING"}]
        stable = not busy and (not autofill or len(staying) == self.target_size)
        kinds = ("none", "creating", "creatingWithoutRetries", "verifying", "recreating", "deleting", "abandoning",
                 "restarting", "refreshing", "suspending", "resuming", "stopping", "starting")  # fmt: skip
        actions: dict[str, int] = dict.fromkeys(kinds, 0)
        for vm in self.instances:
            actions[vm.action.lower()] += 1
        project = f"{ROOT}/projects/{self.project}"
        region = f"{project}/regions/{self.region}"
        status: dict[str, Any] = {
            "isStable": stable if self.stable is None else self.stable,
            "stateful": {"hasStatefulConfig": False, "perInstanceConfigs": {"allEffective": True}},
            "versionTarget": {"isReached": True},
        }
        if self.autoscaler is not None:
            status["autoscaler"] = f"{region}/autoscalers/{self.autoscaler.name}"
        return {
            "kind": "compute#instanceGroupManager",
            "id": self.id,
            "creationTimestamp": rfc3339(self.created, PACIFIC),
            "name": self.name,
            "region": region,
            "distributionPolicy": {"zones": [{"zone": f"{project}/zones/{zone}"} for zone in self.zones]},
            "instanceTemplate": self.template,
            "versions": [{"instanceTemplate": self.template, "targetSize": {"calculated": self.target_size}}],
            "instanceGroup": f"{region}/instanceGroups/{self.name}",
            "baseInstanceName": self.name,
            "fingerprint": f"{self.revision:08x}Qk0=",
            "currentActions": actions,
            "status": status,
            "targetSize": self.target_size,
            "selfLink": f"{region}/instanceGroupManagers/{self.name}",
        }

    def autoscaler_document(self, autoscaler: Autoscaler) -> dict[str, Any]:
        """What regionAutoscalers.get answers."""
        region = f"{ROOT}/projects/{self.project}/regions/{self.region}"
        policy = {"minNumReplicas": autoscaler.min, "maxNumReplicas": autoscaler.max, "mode": autoscaler.mode}
        return {
            "kind": "compute#autoscaler",
            "id": autoscaler.id,
            "creationTimestamp": rfc3339(self.created, PACIFIC),
            "name": autoscaler.name,
            "target": f"{region}/instanceGroupManagers/{self.name}",
            "autoscalingPolicy": {"coolDownPeriodSec": 60, **policy},
            "region": region,
            "selfLink": f"{region}/autoscalers/{autoscaler.name}",
            "status": autoscaler.status,
            **({} if autoscaler.recommended is None else {"recommendedSize": autoscaler.recommended}),
        }

    def managed_document(self, vm: Instance) -> dict[str, Any]:
        """A VM as listManagedInstances shows it; without id and status while it does not exist."""
        exists = {"id": vm.id, "instanceStatus": vm.status} if not vm.errors else {}
        attempt = {"errors": {"errors": vm.errors}} if vm.errors else {}
        return {
            "instance": vm.link,
            "name": vm.name,
            **exists,
            "currentAction": vm.action,
            "version": {"instanceTemplate": vm.template},
            "lastAttempt": attempt,
        }
