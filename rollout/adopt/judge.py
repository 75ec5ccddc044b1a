"""Which pools a listed fleet amounts to, pure: what becomes configuration, what is imported, what is left out and why.

The original fleet names a group `{prefix}-{runner group}-{type}-{region}`; no part but the region holds a dash, and a
testing fleet has another prefix. A template's metadata says group, type and trust again (`github-runner-group`,
`github-runner-type`, `github-runner-trust`), and where they differ from the name nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fleet.catalog.machine_types import MACHINE_TYPES
from fleet.schema.machine_class import MachineClass
from fleet.trust import LEVELS
from rollout.adopt.listing import Group, Listing, Template

SHAPES: Final = {"EVEN": "even", "BALANCED": "balanced"}
_NAME: Final = re.compile(r"([a-z0-9]+)-([a-z0-9]+)-([a-z]+-[a-z]+[0-9]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """One group, and the place that it gets in the configuration."""

    pool: str
    group: Group
    template: Template
    trust: str
    machine_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What is taken over."""

    groups: tuple[Adopted, ...]
    pools: Mapping[str, Any]
    """The section `pools`, as plain data."""
    machine_classes: Mapping[str, Any]
    """Classes that the configuration has not, or has otherwise."""
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name to reason."""
    notes: tuple[str, ...] = ()
    """What changes by the adoption, and what has to be done by hand."""


def judge(listing: Listing, *, prefix: str, project: str, classes: Mapping[str, MachineClass]) -> Adoption:
    """Decide for every group of the list. `prefix`, `project` and `classes` are the stack's that takes over."""
    adopted: list[Adopted] = []
    left_out: dict[str, str] = {}
    for group in sorted(listing.groups, key=lambda each: each.name):
        found = _one(group, listing, prefix, project)
        if isinstance(found, str):
            left_out[group.name] = found
        else:
            adopted.append(found)
    pools: dict[str, Any] = {}
    needed: dict[str, Any] = {}
    notes: list[str] = []
    for key in sorted({each.pool for each in adopted}):
        members = [each for each in adopted if each.pool == key]
        pools[key] = _pool(members)
        notes += _notes(key, members, pools[key])
        name, wanted = members[0].machine_class, _machine_class(members)
        if name not in classes or _differs(classes[name], wanted):
            needed[name] = wanted
            if name in classes:
                notes.append(
                    f"machine_classes.{name} is configured otherwise than these VMs are; the one printed is theirs"
                )
    return Adoption(
        groups=tuple(adopted), pools=pools, machine_classes=needed, left_out=left_out, notes=tuple(dict.fromkeys(notes))
    )


def _one(group: Group, listing: Listing, prefix: str, project: str) -> Adopted | str:
    """The group's place, or why it has none."""
    if group.project != project:
        return f"is of project {group.project}, and this stack's is {project}"
    match = _NAME.fullmatch(group.name.removeprefix(f"{prefix}-")) if group.name.startswith(f"{prefix}-") else None
    if match is None:
        return f"its name is not {prefix}-GROUP-TYPE-REGION"
    runner_group, kind, region = match.groups()
    if region != group.region:
        return (
            f"its name says {region}, and it is in {group.region or 'a zone; only regional groups can be taken over'}"
        )
    if group.shape not in SHAPES:
        return f"has the target shape {group.shape}; allowed: {', '.join(SHAPES)}"
    if group.base_instance_name != f"{prefix}-{runner_group}-{kind}-{region}":
        return f"names its VMs {group.base_instance_name}-…, and a pool of ours could not: it would be replaced"
    template = listing.templates.get(group.templates[0])
    if template is None:
        return f"its template {group.templates[0]} is not in the list; list instance-templates, too"
    if template.machine_type not in MACHINE_TYPES:
        return f"its machines are {template.machine_type}, which the catalog of machine types does not list"
    return _of_template(group, template, runner_group, kind)


def _of_template(group: Group, template: Template, runner_group: str, kind: str) -> Adopted | str:
    said = {key: template.metadata.get(f"github-runner-{key}", "") for key in ("group", "type", "trust")}
    if (said["group"] or runner_group, said["type"] or kind) != (runner_group, kind):
        return f"its template says group {said['group']} and type {said['type']}, and its name something else"
    if said["trust"] not in LEVELS:
        seen = said["trust"] or "nothing"
        return f"its template says {seen} as github-runner-trust; allowed: {', '.join(sorted(LEVELS))}"
    return Adopted(
        pool=f"{runner_group}-{kind}", group=group, template=template, trust=said["trust"], machine_class=kind
    )


def _pool(members: Sequence[Adopted]) -> dict[str, Any]:
    """One pool. It goes on as it was sized; following jobs is a later edit, which a review can read by itself."""
    regions = {
        each.group.region: {
            "zones": [zone.rpartition("-")[2] for zone in each.group.zones],
            "min": _bounds(each.group)[0],
            "max": _bounds(each.group)[1],
            "group": each.group.name,
        }
        for each in members
    }
    return {
        "trust": members[0].trust,
        "machine_class": members[0].machine_class,
        "regions": regions,
        "scaling": _scaling(members),
    }


def _bounds(group: Group) -> tuple[int, int]:
    if group.autoscaler is None:
        return group.target_size, group.target_size
    return group.autoscaler.min, group.autoscaler.max


def _by_cpu(members: Sequence[Adopted]) -> bool:
    return all(each.group.autoscaler and each.group.autoscaler.cpu_target is not None for each in members)


def _scaling(members: Sequence[Adopted]) -> dict[str, Any]:
    if all(low == high for low, high in (_bounds(each.group) for each in members)):
        return {"signal": "fixed"}
    scaler = members[0].group.autoscaler
    if not _by_cpu(members) or scaler is None:
        return {"signal": "jobs"}
    return {"signal": "cpu", "target": scaler.cpu_target, "cool_down_seconds": scaler.cool_down_seconds}


def _machine_class(members: Sequence[Adopted]) -> dict[str, Any]:
    template = members[0].template
    wanted: dict[str, Any] = {
        "machine_type": template.machine_type,
        "arch": MACHINE_TYPES[template.machine_type].arch,
        "disk_gb": template.disk_gb,
        "disk_type": template.disk_type,
        "shape": SHAPES[members[0].group.shape],
    }
    if template.accelerator is not None:
        wanted["accelerator"] = {"type": template.accelerator[0], "count": template.accelerator[1]}
    return wanted


def _differs(known: MachineClass, wanted: Mapping[str, Any]) -> bool:
    has = known.model_dump(include={*wanted, "accelerator"})
    return has != {"accelerator": None, **wanted}


def _notes(key: str, members: Sequence[Adopted], pool: Mapping[str, Any]) -> list[str]:
    """What a maintainer has to know of one pool before the first `up`."""
    notes: list[str] = []
    for name in ("trust", "machine_class"):
        values = sorted({getattr(each, name) for each in members})
        if len(values) > 1:
            notes.append(f"{key}: its groups differ in {name} ({', '.join(values)}); the first one's was taken")
    hardware = {(each.template.machine_type, each.template.disk_gb, each.template.accelerator) for each in members}
    if len(hardware) > 1:
        notes.append(f"{key}: its groups have different machines; the first one's were taken")
    scalers = [each.group.autoscaler for each in members if each.group.autoscaler]
    if pool["scaling"]["signal"] == "cpu" and len({(s.cpu_target, s.cool_down_seconds) for s in scalers}) > 1:
        notes.append(f"{key}: its groups' autoscalers differ; the first one's target and cool-down were taken")
    if pool["scaling"]["signal"] == "cpu" and any(s.mode not in {"ONLY_SCALE_OUT", "ONLY_UP"} for s in scalers):
        notes.append(f"{key}: an autoscaler of it also shrinks, which ends running jobs; after the adoption none does")
    then = (
        "right before `up`, which makes ours"
        if pool["scaling"]["signal"] == "cpu"
        else "before `up`; the pool needs none"
    )
    notes += [
        f"{key}: delete the autoscaler of {each.group.name} {then}: gcloud compute instance-groups managed "
        f"stop-autoscaling {each.group.name} --region {each.group.region} --project {each.group.project}"
        for each in members
        if each.group.autoscaler
    ]
    notes += [
        f"{key}: {each.group.name} has a canary, {', '.join(each.group.templates[1:])}; finish or undo it first"
        for each in members
        if len(each.group.templates) > 1
    ]
    return notes
