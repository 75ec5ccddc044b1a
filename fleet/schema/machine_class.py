"""A machine class: hardware and image as data. What a pool's VMs are made of, and nothing about who may use them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fleet.schema.base import Model

Arch = Literal["x64", "arm64"]
Shape = Literal["even", "balanced"]
Maintenance = Literal["migrate", "terminate"]


WarmImage = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9._:/-]{0,254}@sha256:[0-9a-f]{64}$",
        description="REGISTRY/NAME@sha256: and 64 lower-case hex digits",
    ),
]


class Accelerator(Model):
    """GPUs on each VM. Machine types with built-in GPUs (a2, g2) name theirs here too, so that the file says it."""

    type: str = Field(description="a GPU type, such as nvidia-tesla-t4")
    count: int = Field(ge=1, le=16, description="GPUs on each VM, 1 to 16")


class SpecificReservation(Model):
    """Use exactly one named reservation, and fail when it is used up."""

    name: str = Field(min_length=1, description="the reservation's name")


class MachineClass(Model):
    """Hardware and image of a pool's VMs.

    Left out, a field has the default an expert picks: secure boot on, standard provisioning, live migration unless
    there is a GPU (which cannot migrate), any matching reservation, EVEN distribution over zones.
    """

    machine_type: str = Field(description="a Compute Engine machine type, such as n1-standard-96")
    arch: Arch = Field(description="x64 or arm64")
    disk_gb: int = Field(ge=10, le=65536, description="boot disk, whole GB, 10 to 65536")
    disk_type: str = Field(description="a boot disk type, such as pd-ssd")
    image: str | None = Field(
        default=None, description="key in each version's images; the class's own name if left out"
    )
    accelerator: Accelerator | None = None
    shape: Shape = Field(default="even", description="even or balanced")
    maintenance: Maintenance | None = Field(default=None, description="migrate or terminate")
    provisioning: Literal["standard", "spot"] = Field(default="standard", description="standard or spot")
    min_cpu_platform: str | None = Field(default=None, description="such as Intel Skylake")
    threads_per_core: Literal[1, 2] | None = Field(default=None, description="1 or 2")
    local_ssd_count: int = Field(default=0, ge=0, le=32, description="local SSDs of 375 GB, 0 to 32")
    reservation: Literal["any", "none"] | SpecificReservation = Field(
        default="any", description="any, none, or {name: RESERVATION}"
    )
    docker: bool = Field(default=False, description="true where jobs may use Docker, which makes them root")
    passwordless_root: bool = Field(default=False, description="true where jobs may use sudo")
    warm_images: tuple[WarmImage, ...] = Field(
        default=(), strict=False, description="container images to pull ahead of the first job, REGISTRY/NAME@sha256:…"
    )
    secure_boot: bool = Field(default=True, description="true, or false where a driver is unsigned")

    @property
    def on_host_maintenance(self) -> Maintenance:
        """What the VM does when its host is serviced; a GPU or spot VM can only be terminated."""
        fixed = self.accelerator is not None or self.provisioning == "spot"
        return self.maintenance or ("terminate" if fixed else "migrate")
