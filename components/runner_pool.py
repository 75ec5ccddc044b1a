"""A pool: per region its frozen templates, its managed instance group and, for some signals, an autoscaler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi
from pulumi_gcp import compute

from components import vm_template
from fleet.group import Group
from fleet.metadata import runner_metadata
from fleet.schema.pool import CanaryInstances, CanaryPercent, CpuScaling, JobsScaling, Scaling, ScheduleScaling
from fleet.settings import Settings

_MAKE_FIRST: Final = False
"""What is replaced has another name already, but the provider looks only at whether a name was given at all, and would
delete first: fixed groups with all their VMs, autoscaled ones in vain, since their autoscaler still points at them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerPoolArgs:
    """The pool's part of the settings is found by the component's name, its key.

    `image_ids` maps a version to the boot image of this pool's class, for each version that the pool has templates
    for; `startup_scripts` maps a version to the script its VMs run at boot; `job_environment` is what the pool's jobs
    find in theirs, NAME=value by line; `subnetwork_ids` maps regions.
    """

    settings: Settings
    image_ids: Mapping[str, pulumi.Input[str]]
    startup_scripts: Mapping[str, str]
    job_environment: str
    subnetwork_ids: Mapping[str, pulumi.Input[str]]
    account_email: pulumi.Input[str]
    health_check_id: pulumi.Input[str]


class RunnerPool(pulumi.ComponentResource):
    """The VMs that one label set addresses; the component's name is the pool's key.

    It never updates a running VM: updates are opportunistic, so a VM finishes its job and the next one is new. It
    never shrinks a group that follows demand either; VMs end themselves. A fixed pool has the size its settings say.
    """

    group_ids: Mapping[str, pulumi.Output[str]]
    """Region to group."""
    demand: Mapping[str, Any] | None
    """How far and in which order demand grows the pool, which no resource of its own says; None where nothing does."""

    def __init__(self, name: str, args: RunnerPoolArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("runner-fleet:index:RunnerPool", name, None, opts)
        self.group_ids = {group.region: self._region(name, group, args) for group in args.settings.groups(name)}
        self.demand = _demand(name, args.settings)
        self.register_outputs({"group_ids": self.group_ids, "demand": self.demand})

    def _region(self, name: str, group: Group, args: RunnerPoolArgs) -> pulumi.Output[str]:
        templates = {version: self._template(name, group.region, version, args) for version in sorted(args.image_ids)}
        manager = self._group(name, group, templates, args)
        if group.autoscaled:
            self._autoscaler(name, group, manager, args)
        return manager.id

    def _template(self, name: str, region: str, version: str, args: RunnerPoolArgs) -> compute.RegionInstanceTemplate:
        settings = args.settings
        pool = settings.pools[name]
        machine_class = settings.machine_classes[pool.machine_class]
        metadata = runner_metadata(settings, name, version, job_environment=args.job_environment).attributes()
        return compute.RegionInstanceTemplate(
            f"{name}-{region}-template-v{version}",
            name=args.settings.names.template(name, version),
            region=region,
            machine_type=machine_class.machine_type,
            min_cpu_platform=machine_class.min_cpu_platform,
            advanced_machine_features=vm_template.cpu_features(machine_class),
            guest_accelerators=vm_template.accelerators(machine_class),
            disks=vm_template.disks(machine_class, args.image_ids[version]),
            network_interfaces=[
                vm_template.network_interface(machine_class, args.subnetwork_ids[region], settings.network.egress)
            ],
            scheduling=vm_template.scheduling(machine_class, args.settings.lifecycle.max_run_seconds),
            shielded_instance_config=vm_template.shielded(machine_class),
            reservation_affinity=vm_template.reservation(machine_class),
            service_account=compute.RegionInstanceTemplateServiceAccountArgs(
                email=args.account_email, scopes=[vm_template.CLOUD_PLATFORM_SCOPE]
            ),
            tags=[args.settings.names.vm_tag],
            metadata={**metadata, "startup-script": args.startup_scripts[version]},
            labels=settings.google_labels(
                pool=name, trust=pool.trust, **{"machine-class": pool.machine_class, "template-version": version}
            ),
            # Frozen: once made, a template keeps what its version was reviewed with, whatever the tree says later.
            opts=pulumi.ResourceOptions(parent=self, ignore_changes=["*"]),
        )

    def _group(
        self,
        name: str,
        group: Group,
        templates: Mapping[str, compute.RegionInstanceTemplate],
        args: RunnerPoolArgs,
    ) -> compute.RegionInstanceGroupManager:
        return compute.RegionInstanceGroupManager(
            f"{name}-{group.region}-group",
            name=group.name,
            base_instance_name=group.base_instance_name,
            region=group.region,
            distribution_policy_zones=list(group.zones),
            distribution_policy_target_shape=group.shape.upper(),
            versions=_versions(group, templates),
            target_size=group.min,
            update_policy=compute.RegionInstanceGroupManagerUpdatePolicyArgs(
                type="OPPORTUNISTIC",
                minimal_action="REPLACE",
                most_disruptive_allowed_action="REPLACE",
                replacement_method="SUBSTITUTE",
                # A regional group takes 0 or at least the number of its zones; one of the two must be above 0.
                max_surge_fixed=len(group.zones),
                max_unavailable_fixed=0,
                # PROACTIVE would delete busy VMs to even out the zones; BALANCED forbids it anyway.
                instance_redistribution_type="NONE",
            ),
            auto_healing_policies=compute.RegionInstanceGroupManagerAutoHealingPoliciesArgs(
                health_check=args.health_check_id,
                initial_delay_sec=args.settings.lifecycle.healing_initial_delay_seconds,
            ),
            instance_lifecycle_policy=compute.RegionInstanceGroupManagerInstanceLifecyclePolicyArgs(
                default_action_on_failure="REPAIR",
                # Without it a VM that dies comes back with the version it had, whatever was rolled out since.
                force_update_on_repair="YES",
            ),
            **_reserve(group, args.settings.lifecycle.boot_deadline_seconds),
            wait_for_instances=False,
            opts=pulumi.ResourceOptions(
                parent=self,
                ignore_changes=None if group.fixed_size is not None else ["targetSize"],
                delete_before_replace=_MAKE_FIRST,
            ),
        )

    def _autoscaler(
        self, name: str, group: Group, manager: compute.RegionInstanceGroupManager, args: RunnerPoolArgs
    ) -> None:
        compute.RegionAutoscaler(
            f"{name}-{group.region}-autoscaler",
            # The group's own name: another group gets another autoscaler, and neither is ever without its own.
            name=group.name,
            region=group.region,
            target=manager.id,
            autoscaling_policy=_autoscaling_policy(group, args.settings.pools[name].scaling),
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=_MAKE_FIRST),
        )


def _demand(name: str, settings: Settings) -> dict[str, Any] | None:
    scaling = settings.pools[name].scaling
    if not isinstance(scaling, JobsScaling):
        return None
    groups = sorted(settings.groups(name), key=lambda group: group.rank)
    return {"idle": scaling.idle, "order": [group.region for group in groups], "max": {g.region: g.max for g in groups}}


def _reserve(group: Group, boot_deadline_seconds: int) -> dict[str, Any]:
    """What makes a group keep VMs in reserve; nothing where nobody asked for it.

    The provider computes what is left out, so only zeros take a reserve back. Nothing is ignored: the group itself
    restores these sizes when it has used some of its reserve, and so does an `up`.
    """
    if group.standby is None:
        return {}
    return {
        "standby_policy": compute.RegionInstanceGroupManagerStandbyPolicyArgs(
            # The group itself takes VMs out of its reserve when its size is raised, and makes others for it.
            mode="SCALE_OUT_POOL",
            # Until then a VM has everything, or has ended itself.
            initial_delay_sec=boot_deadline_seconds,
        ),
        "target_suspended_size": group.standby.suspended,
        "target_stopped_size": group.standby.stopped,
    }


def _versions(
    group: Group, templates: Mapping[str, compute.RegionInstanceTemplate]
) -> list[compute.RegionInstanceGroupManagerVersionArgs]:
    """One version has no target size and takes what is left: stable, or a canary that has the group to itself."""
    sizes: dict[str, compute.RegionInstanceGroupManagerVersionTargetSizeArgs | None] = {}
    if group.stable:
        sizes[group.stable] = None
    if group.canary:
        sizes[group.canary] = _target_size(group.canary_share)
    return [
        compute.RegionInstanceGroupManagerVersionArgs(
            name=f"v{version}", instance_template=templates[version].self_link, target_size=size
        )
        for version, size in sizes.items()
    ]


def _target_size(
    share: CanaryInstances | CanaryPercent | None,
) -> compute.RegionInstanceGroupManagerVersionTargetSizeArgs | None:
    match share:
        case CanaryInstances():
            return compute.RegionInstanceGroupManagerVersionTargetSizeArgs(fixed=share.instances)
        case CanaryPercent():
            return compute.RegionInstanceGroupManagerVersionTargetSizeArgs(percent=share.percent)
        case None:
            return None


def _autoscaling_policy(group: Group, scaling: Scaling) -> compute.RegionAutoscalerAutoscalingPolicyArgs:
    """Growing only: Google gives a VM 90 seconds' notice when it shrinks a group, and no build ends in that."""
    cpu = (
        compute.RegionAutoscalerAutoscalingPolicyCpuUtilizationArgs(target=scaling.target)
        if isinstance(scaling, CpuScaling)
        else None
    )
    schedules = (
        [
            compute.RegionAutoscalerAutoscalingPolicyScalingScheduleArgs(
                name=key,
                schedule=schedule.cron,
                time_zone=schedule.time_zone,
                duration_sec=schedule.duration_seconds,
                min_required_replicas=schedule.min,
            )
            for key, schedule in sorted(scaling.schedules.items())
        ]
        if isinstance(scaling, ScheduleScaling)
        else None
    )
    return compute.RegionAutoscalerAutoscalingPolicyArgs(
        mode="ONLY_SCALE_OUT",
        min_replicas=group.min,
        max_replicas=group.max,
        cooldown_period=scaling.cool_down_seconds if isinstance(scaling, CpuScaling | ScheduleScaling) else None,
        cpu_utilization=cpu,
        scaling_schedules=schedules,
    )
