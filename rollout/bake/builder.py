"""A builder VM: stock Ubuntu that provisions itself and waits to be captured. Data only.

It has no service account, so that nothing that a package's script does can speak for the project; it gets the boot
bundle in its metadata, and a way out to the package archives. It cannot outlive its `max_run_seconds`: Compute Engine
deletes it then, whoever forgot it.
"""

from __future__ import annotations

import base64
import datetime
import gzip
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fleet.metadata import ARCHIVE_URL
from fleet.schema.machine_class import MachineClass
from fleet.settings import Settings
from startup.bundle import Bundle

MAX_METADATA_VALUE_BYTES: Final = 256 * 1024
"""What the Compute Engine v1 API's description of metadata items allows for one value, read 2026-11-25."""
MAX_RUN_SECONDS: Final = 2 * 3600
"""Provisioning has 1500 s of its own; the rest is for boot, capture, and somebody who looks after a failure."""
DISK_GB: Final = 50
"""What is captured; a VM's own disk is as large as its class says, and grows the file system at its first boot."""
PASSED: Final = r"^bake: passed ([0-9a-f]{64})\s*$"
FAILED: Final = r"^bake: failed (.*)$"
_BUILDERS: Final = {"x64": "e2-standard-4", "arm64": "t2a-standard-4"}
_GPU_BUILDER: Final = "n1-standard-8"
"""N1 is the series to which a GPU of one's choice can be attached."""
_SCRIPT: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - the text is for a shell; what goes in is checked before
)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """One VM to be, for one image."""

    name: str
    zone: str
    body: Mapping[str, Any]
    """What instances.insert takes."""


def builder(
    settings: Settings, key: str, *, made: Bundle, base_image: str, zone: str, at: datetime.datetime
) -> Builder:
    """The builder of the image that an image key names. Raises ValueError for what cannot be baked, in one line.

    `made` is the boot bundle of the tree, `base_image` projects/…/global/images/…, `at` the time, which names it.
    """
    name = settings.names.of("bake", key, f"{at:%m%d%H%M%S}")
    machine_class = class_of(settings, key)
    return Builder(
        name=name,
        zone=zone,
        body={
            "name": name,
            "machineType": f"zones/{zone}/machineTypes/{machine_type(machine_class)}",
            "labels": settings.google_labels(purpose="bake", image=key),
            "disks": [
                {
                    "boot": True,
                    "autoDelete": True,
                    "initializeParams": {
                        "diskName": name,
                        "sourceImage": base_image,
                        "diskSizeGb": str(DISK_GB),
                        "diskType": f"zones/{zone}/diskTypes/pd-ssd",
                    },
                }
            ],
            "guestAccelerators": [
                {"acceleratorType": f"zones/{zone}/acceleratorTypes/{gpu.type}", "acceleratorCount": 1}
                for gpu in [machine_class.accelerator]
                if gpu
            ],
            "networkInterfaces": [_interface(settings, zone, machine_class)],
            "scheduling": {
                "automaticRestart": False,
                "onHostMaintenance": "TERMINATE" if machine_class.accelerator else "MIGRATE",
                "maxRunDuration": {"seconds": str(MAX_RUN_SECONDS)},
                "instanceTerminationAction": "DELETE",
            },
            "shieldedInstanceConfig": {
                "enableSecureBoot": machine_class.secure_boot,
                "enableVtpm": True,
                "enableIntegrityMonitoring": True,
            },
            "metadata": {
                "items": [
                    {"key": "startup-script", "value": script(settings, machine_class, made)},
                    {"key": "bake-bundle", "value": packed(made)},
                    {"key": "block-project-ssh-keys", "value": "TRUE"},
                    {"key": "serial-port-logging-enable", "value": "FALSE"},
                ]
            },
        },
    )


def class_of(settings: Settings, key: str) -> MachineClass:
    """The class whose image a key names; of several, the one that is called so. Raises ValueError."""
    users = {name: each for name, each in settings.machine_classes.items() if settings.image_key(name) == key}
    if not users:
        keys = sorted({settings.image_key(name) for name in settings.machine_classes})
        raise ValueError(f"image {key}: no machine class uses it; allowed: {', '.join(keys)}")
    return users.get(key) or users[min(users)]


def machine_type(machine_class: MachineClass) -> str:
    """What builds: small, of the class's architecture; with the class's GPU where it has one."""
    if machine_class.accelerator is None:
        return _BUILDERS[machine_class.arch]
    built_in = not machine_class.machine_type.startswith("n1-")
    return machine_class.machine_type if built_in else _GPU_BUILDER


def script(settings: Settings, machine_class: MachineClass, made: Bundle) -> str:
    """The startup script. Raises ValueError where the runner release has no digest for the architecture."""
    release = settings.versions[settings.newest_version].runner
    digest = settings.runner_releases[release].sha256.get(machine_class.arch, "")
    if not _SHA256.fullmatch(digest):
        raise ValueError(
            f"runner_releases.{release}.sha256: no digest for {machine_class.arch}; "
            f"fix: scripts/rollout bump-runner {release}"
        )
    return _SCRIPT.get_template("builder.sh.j2").render(
        sha256=made.sha256,
        gpu=machine_class.accelerator is not None,
        archive_url=ARCHIVE_URL.format(release=release, arch=machine_class.arch),
        archive_sha256=digest,
    )


def packed(made: Bundle) -> str:
    """The bundle as an attribute's text. Raises ValueError where it does not fit."""
    text = base64.b64encode(gzip.compress(made.data, mtime=0)).decode("ascii")
    if len(text) > MAX_METADATA_VALUE_BYTES:
        raise ValueError(f"the boot bundle has {len(text)} bytes as metadata; allowed: {MAX_METADATA_VALUE_BYTES}")
    return text


def snapshot_body(settings: Settings, key: str, *, name: str, builder_name: str, zone: str) -> dict[str, Any]:
    """What disks.createSnapshot takes for a builder's disk."""
    return {
        "name": name,
        "labels": settings.google_labels(purpose="image", image=key),
        "storageLocations": [zone.rpartition("-")[0]] if len(settings.network.regions) == 1 else [],
        "description": f"boot disk of {builder_name}",
    }


def _interface(settings: Settings, zone: str, machine_class: MachineClass) -> dict[str, Any]:
    region = zone.rpartition("-")[0]
    external = (
        [{"type": "ONE_TO_ONE_NAT", "networkTier": "PREMIUM"}] if settings.network.egress == "external_ip" else []
    )
    return {
        "subnetwork": f"regions/{region}/subnetworks/{settings.names.network}",
        "accessConfigs": external,
        **({"nicType": "GVNIC"} if machine_class.arch == "arm64" else {}),
    }
