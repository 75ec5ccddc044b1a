"""The typed inputs of a runner VM's template: a pure translation of a machine class, no resource."""

from __future__ import annotations

from typing import Final

import pulumi
from pulumi_gcp import compute

from fleet.catalog.disk_types import LOCAL_SSD_GB
from fleet.catalog.machine_types import MACHINE_TYPES
from fleet.schema.machine_class import MachineClass, SpecificReservation
from fleet.schema.network import Egress

CLOUD_PLATFORM_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
"""The least scope that leaves the decision to IAM alone; every narrower one is a second, coarser rule."""

_RESERVATIONS: Final = {"any": "ANY_RESERVATION", "none": "NO_RESERVATION"}


def disks(machine_class: MachineClass, image: pulumi.Input[str]) -> list[compute.RegionInstanceTemplateDiskArgs]:
    """The boot disk, then the local SSDs."""
    boot = compute.RegionInstanceTemplateDiskArgs(
        boot=True,
        auto_delete=True,
        source_image=image,
        disk_size_gb=machine_class.disk_gb,
        disk_type=machine_class.disk_type,
    )
    scratch = compute.RegionInstanceTemplateDiskArgs(
        type="SCRATCH", disk_type="local-ssd", interface="NVME", disk_size_gb=LOCAL_SSD_GB, auto_delete=True
    )
    return [boot, *[scratch] * machine_class.local_ssd_count]


def network_interface(
    machine_class: MachineClass, subnetwork: pulumi.Input[str], egress: Egress
) -> compute.RegionInstanceTemplateNetworkInterfaceArgs:
    """One interface. An ephemeral external address has to be asked for; without it a VM has none."""
    external = compute.RegionInstanceTemplateNetworkInterfaceAccessConfigArgs(network_tier="PREMIUM")
    return compute.RegionInstanceTemplateNetworkInterfaceArgs(
        subnetwork=subnetwork,
        access_configs=[external] if egress == "external_ip" else [],
        nic_type="GVNIC" if MACHINE_TYPES[machine_class.machine_type].needs_gvnic else None,
    )


def scheduling(machine_class: MachineClass, max_run_seconds: int) -> compute.RegionInstanceTemplateSchedulingArgs:
    """How a VM ends: never restarted in place, deleted by Compute Engine at its maximum age."""
    spot = machine_class.provisioning == "spot"
    return compute.RegionInstanceTemplateSchedulingArgs(
        # The provider's default is true, which the API refuses for spot and which would revive a finished runner.
        automatic_restart=False,
        on_host_maintenance=machine_class.on_host_maintenance.upper(),
        preemptible=spot,
        provisioning_model=machine_class.provisioning.upper(),
        instance_termination_action="DELETE",
        max_run_duration=compute.RegionInstanceTemplateSchedulingMaxRunDurationArgs(seconds=max_run_seconds),
    )


def shielded(machine_class: MachineClass) -> compute.RegionInstanceTemplateShieldedInstanceConfigArgs:
    """Virtual TPM and integrity monitoring always; secure boot where the drivers are signed."""
    return compute.RegionInstanceTemplateShieldedInstanceConfigArgs(
        enable_secure_boot=machine_class.secure_boot, enable_vtpm=True, enable_integrity_monitoring=True
    )


def reservation(machine_class: MachineClass) -> compute.RegionInstanceTemplateReservationAffinityArgs:
    """Any matching reservation, none, or exactly one."""
    wanted = machine_class.reservation
    if isinstance(wanted, SpecificReservation):
        return compute.RegionInstanceTemplateReservationAffinityArgs(
            type="SPECIFIC_RESERVATION",
            specific_reservation=compute.RegionInstanceTemplateReservationAffinitySpecificReservationArgs(
                key="compute.googleapis.com/reservation-name", values=[wanted.name]
            ),
        )
    return compute.RegionInstanceTemplateReservationAffinityArgs(type=_RESERVATIONS[wanted])


def accelerators(machine_class: MachineClass) -> list[compute.RegionInstanceTemplateGuestAcceleratorArgs]:
    """The class's GPUs."""
    wanted = machine_class.accelerator
    if wanted is None:
        return []
    return [compute.RegionInstanceTemplateGuestAcceleratorArgs(type=wanted.type, count=wanted.count)]


def cpu_features(machine_class: MachineClass) -> compute.RegionInstanceTemplateAdvancedMachineFeaturesArgs | None:
    """Threads per core, where a class cares (benchmarks do)."""
    threads = machine_class.threads_per_core
    return compute.RegionInstanceTemplateAdvancedMachineFeaturesArgs(threads_per_core=threads) if threads else None
