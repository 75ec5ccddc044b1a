"""A regional managed instance group, and its autoscaler."""

from __future__ import annotations

from collections import deque
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
class Version:
    """One of a group's versions. One of them has neither a fixed size nor a percentage: it gets the rest."""

    name: str
    template: str
    """Its selfLink."""
    fixed: int | None = None
    percent: int | None = None


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
    refusal: str = "ZONE_RESOURCE_POOL_EXHAUSTED"
    """The code of these errors. With WITH_DETAILS at its end they tell which of the group's zones have VMs; a region's
    quota of CPUs is told in this way too, as QUOTA_EXCEEDED."""
    shape: str = "EVEN"
    """Its distribution: an EVEN group waits for the zone that it chose, another (BALANCED, ANY) tries its next one."""
    quota: int | None = None
    """A target size above it is refused."""
    errors: deque[dict[str, Any]] = field(default_factory=lambda: deque[dict[str, Any]](maxlen=100))
    """What listErrors shows, the newest last."""
    target_suspended: int = 0
    target_stopped: int = 0
    """How many VMs it keeps in reserve besides its target size, and takes first when that is raised."""
    standby_delay_seconds: float = 0.0
    """How long a VM for the reserve runs before it is suspended or stopped."""
    revision: int = 0
    versions: list[Version] = field(default_factory=list[Version])
    """Empty: one version without a name, of `template`."""
    update_type: str = "OPPORTUNISTIC"

    @property
    def targets(self) -> dict[str, int]:
        """How many VMs are to become what. What is to run comes first."""
        return {"RUNNING": self.target_size, "SUSPENDED": self.target_suspended, "STOPPED": self.target_stopped}

    def meant(self, target: str) -> list[Instance]:
        """The VMs that are to become that, those that leave left out."""
        leaving = {"DELETING", "ABANDONING"}
        return [vm for vm in self.instances if vm.target_status == target and vm.action not in leaving]

    @property
    def fingerprint(self) -> str:
        """Grows stale with every change of the group and of its VMs."""
        return f"{self.revision:08x}Qk0="

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

    @property
    def wanted(self) -> list[tuple[Version, int]]:
        """Its versions and how many VMs each is to have."""
        versions = self.versions or [Version(name="", template=self.template)]
        left = self.target_size
        sizes: list[int | None] = []
        for version in versions:
            size = version.fixed
            if version.percent is not None:
                size = round(self.target_size * version.percent / 100)
            sizes.append(None if size is None else min(size, left))
            left -= sizes[-1] or 0
        return [(version, left if size is None else size) for version, size in zip(versions, sizes, strict=True)]

    def having(self, version: Version) -> int:
        """How many VMs of a version it has, those that leave left out."""
        return sum((vm.version, vm.template) == (version.name, version.template) for vm in self.meant("RUNNING"))

    def next_version(self) -> Version:
        """As what the next VM is made: a version of a given size that has too few, else the one that gets the rest."""
        wanted = self.wanted
        if len(wanted) == 1:
            return wanted[0][0]
        short = [version for version, size in wanted if _sized(version) and self.having(version) < size]
        return short[0] if short else next(version for version, _ in wanted if not _sized(version))

    def document(self, *, autofill: bool) -> dict[str, Any]:
        """What regionInstanceGroupManagers.get answers."""
        full = all(len(self.meant(target)) == size for target, size in self.targets.items())
        stable = all(vm.settled for vm in self.instances) and (full or not autofill)
        reserve = {
            "standbyPolicy": {"initialDelaySec": round(self.standby_delay_seconds), "mode": "SCALE_OUT_POOL"},
            "targetSuspendedSize": self.target_suspended,
            "targetStoppedSize": self.target_stopped,
        }
        kinds = ("none", "creating", "creatingWithoutRetries", "verifying", "recreating", "deleting", "abandoning",
                 "restarting", "refreshing", "suspending", "resuming", "stopping", "starting")  # fmt: skip
        actions: dict[str, int] = dict.fromkeys(kinds, 0)
        for vm in self.instances:
            actions[vm.action.lower()] += 1
        wanted = self.wanted
        project = f"{ROOT}/projects/{self.project}"
        region = f"{project}/regions/{self.region}"
        status: dict[str, Any] = {
            "isStable": stable if self.stable is None else self.stable,
            "stateful": {"hasStatefulConfig": False, "perInstanceConfigs": {"allEffective": True}},
            "versionTarget": {"isReached": all(self.having(version) == size for version, size in wanted)},
        }
        if self.autoscaler is not None:
            status["autoscaler"] = f"{region}/autoscalers/{self.autoscaler.name}"
        return {
            "kind": "compute#instanceGroupManager",
            "id": self.id,
            "creationTimestamp": rfc3339(self.created, PACIFIC),
            "name": self.name,
            "region": region,
            "distributionPolicy": {
                "zones": [{"zone": f"{project}/zones/{zone}"} for zone in self.zones],
                "targetShape": self.shape,
            },
            **({"instanceTemplate": wanted[0][0].template} if len(wanted) == 1 else {}),
            "versions": [_shown(version, size) for version, size in wanted],
            "updatePolicy": {"type": self.update_type, "minimalAction": "REPLACE", "replacementMethod": "SUBSTITUTE"},
            "instanceGroup": f"{region}/instanceGroups/{self.name}",
            "baseInstanceName": self.name,
            "fingerprint": self.fingerprint,
            "currentActions": actions,
            "status": status,
            "targetSize": self.target_size,
            **(reserve if self.target_suspended or self.target_stopped else {}),
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
            "targetStatus": vm.target_status,
            "version": {**({"name": vm.version} if vm.version else {}), "instanceTemplate": vm.template},
            "lastAttempt": attempt,
        }

    def refuse(self, vm: Instance, now: float) -> None:
        """No VM can be had in the zone of this one. `listErrors` has it without the details."""
        zone = f"projects/{self.project}/zones/{vm.zone}"
        text = f"The zone '{zone}' does not have enough resources available to fulfill the request."
        error = {"code": self.refusal, "message": f"{text} Try a different zone, or try again later."}
        details = {"action": vm.action, "instance": vm.link, "version": {"instanceTemplate": vm.template}}
        self.errors.append({"error": error, "instanceActionDetails": details, "timestamp": rfc3339(now, PACIFIC)})
        vm.errors = [{**error, **self._details(vm)}]
        if self.shape != "EVEN":
            vm.zone = self.zones[(self.zones.index(vm.zone) + 1) % len(self.zones)]

    def _details(self, vm: Instance) -> dict[str, Any]:
        """In the form of kubernetes/k8s.io#9834."""
        if not self.refusal.endswith("WITH_DETAILS"):
            return {}
        free = ",".join(sorted(set(self.zones) - self.stocked_out))
        known = {"zone": vm.zone, "vmType": "n2-standard-16", **({"zonesAvailable": free} if free else {})}
        info = {"domain": "compute.googleapis.com", "reason": "resource_availability", "metadatas": known}
        return {"errorDetails": [{"errorInfo": info}]}


def _sized(version: Version) -> bool:
    return version.fixed is not None or version.percent is not None


def _shown(version: Version, size: int) -> dict[str, Any]:
    given = {"fixed": version.fixed, "percent": version.percent}
    return {
        **({"name": version.name} if version.name else {}),
        "instanceTemplate": version.template,
        "targetSize": {**{name: value for name, value in given.items() if value is not None}, "calculated": size},
    }
