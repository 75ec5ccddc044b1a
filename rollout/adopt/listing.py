"""What Google says is there: groups, templates and autoscalers, from gcloud's lists or the API's own answers.

`gcloud compute instance-groups managed list --format=json` prints the API's resources, and adds `autoscaler` to a group
that has one (the Cloud SDK's sources, `AddAutoscalersToMigs`, read 2026-11-25). The API lists autoscalers apart. Only
fields that decide something are read, and a resource without one of them is refused by name: a fleet that is half read
would be half imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

_KINDS: Final = {
    "compute#instanceGroupManager": "group",
    "compute#instanceTemplate": "template",
    "compute#autoscaler": "autoscaler",
}


class ListingError(Exception):
    """A file that is no such list. Its text is one line for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaler:
    """How a group's size follows its CPUs, or something else."""

    name: str
    min: int
    max: int
    mode: str
    """ON, ONLY_SCALE_OUT (or ONLY_UP, its older name), OFF"""
    cool_down_seconds: int
    cpu_target: float | None
    """A share; None where it follows something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A managed instance group."""

    name: str
    project: str
    region: str
    """Empty for a group of a single zone."""
    zones: tuple[str, ...]
    """Full names, sorted."""
    shape: str
    base_instance_name: str
    target_size: int
    templates: tuple[str, ...]
    """Names of the templates of its versions: of the rest first, of canaries after it."""
    autoscaler: Autoscaler | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """An instance template's hardware, and what it tells its VMs."""

    name: str
    machine_type: str
    disk_gb: int
    disk_type: str
    accelerator: tuple[str, int] | None
    """Type and count."""
    source_image: str
    """projects/…/global/images/…"""
    service_account: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All that was found."""

    groups: tuple[Group, ...] = ()
    templates: Mapping[str, Template]


def read(texts: Mapping[str, str]) -> Listing:
    """Read files, by name, each with a JSON list. Raises ListingError, with the file and the resource."""
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {"group": [], "template": [], "autoscaler": []}
    for name, text in texts.items():
        for document in _documents(name, text):
            kind = _KINDS.get(str(document.get("kind", "")))
            if kind is None:
                allowed = ", ".join(_KINDS)
                raise ListingError(f"{name}: an entry of kind {document.get('kind', 'nothing')!r}; allowed: {allowed}")
            found[kind].append((name, document))
    scalers = {_last(document["target"]): document for _, document in found["autoscaler"] if "target" in document}
    groups = tuple(_group(name, document, scalers) for name, document in found["group"])
    templates = [_template(name, document) for name, document in found["template"]]
    return Listing(groups=groups, templates={template.name: template for template in templates})


def _documents(name: str, text: str) -> list[dict[str, Any]]:
    try:
        document: Any = json.loads(text)
    except ValueError as error:
        raise ListingError(f"{name}: not JSON ({error}); make it with gcloud … list --format=json") from None
    if not isinstance(document, list) or not all(isinstance(entry, dict) for entry in cast("list[Any]", document)):
        raise ListingError(f"{name}: no list of resources; make it with gcloud … list --format=json")
    return cast("list[dict[str, Any]]", document)


def _group(file: str, document: dict[str, Any], scalers: Mapping[str, dict[str, Any]]) -> Group:
    try:
        name = str(document["name"])
        policy = document.get("distributionPolicy", {})
        versions = document.get("versions") or [{"instanceTemplate": document["instanceTemplate"]}]
        rest_first = sorted(versions, key=lambda version: "targetSize" in version)
        scaler = document.get("autoscaler") or scalers.get(name)
        return Group(
            name=name,
            project=str(document["selfLink"]).split("/projects/", 1)[1].split("/", 1)[0],
            region=_last(document.get("region", "")),
            zones=tuple(sorted(_last(entry["zone"]) for entry in policy.get("zones", ()))),
            shape=str(policy.get("targetShape", "EVEN")),
            base_instance_name=str(document["baseInstanceName"]),
            target_size=int(document["targetSize"]),
            templates=tuple(_last(version["instanceTemplate"]) for version in rest_first),
            autoscaler=_autoscaler(scaler) if scaler else None,
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(file, "group", document, error) from None


def _autoscaler(document: dict[str, Any]) -> Autoscaler:
    policy = document["autoscalingPolicy"]
    cpu = policy.get("cpuUtilization", {}).get("utilizationTarget")
    return Autoscaler(
        name=str(document["name"]),
        min=int(policy["minNumReplicas"]),
        max=int(policy["maxNumReplicas"]),
        mode=str(policy.get("mode", "ON")),
        cool_down_seconds=int(policy.get("coolDownPeriodSec", 60)),
        cpu_target=None if cpu is None else float(cpu),
    )


def _template(file: str, document: dict[str, Any]) -> Template:
    try:
        properties = document["properties"]
        boot = next(disk["initializeParams"] for disk in properties["disks"] if disk.get("boot"))
        accelerators = properties.get("guestAccelerators", [])
        accounts = properties.get("serviceAccounts", [])
        return Template(
            name=str(document["name"]),
            machine_type=_last(properties["machineType"]),
            disk_gb=int(boot["diskSizeGb"]),
            disk_type=_last(boot.get("diskType", "pd-standard")),
            accelerator=(_last(accelerators[0]["acceleratorType"]), int(accelerators[0]["acceleratorCount"]))
            if accelerators
            else None,
            source_image="projects/" + str(boot["sourceImage"]).rpartition("projects/")[2],
            service_account=str(accounts[0]["email"]) if accounts else "",
            metadata={item["key"]: item.get("value", "") for item in properties.get("metadata", {}).get("items", [])},
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise _unreadable(file, "template", document, error) from None


def _unreadable(file: str, kind: str, document: dict[str, Any], error: Exception) -> ListingError:
    what = f"no {error}" if isinstance(error, KeyError) else type(error).__name__
    name = document.get("name", "without a name")
    return ListingError(f"{file}: {kind} {name}: cannot be read ({what}); list it anew with --format=json")


def _last(url: Any) -> str:
    return str(url).rpartition("/")[2]
