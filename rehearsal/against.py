"""What changes between two inventories, said by pool: created, changed, replaced, removed, frozen.

Resources are matched by type and name within their parents, so two stacks compare as well as two revisions of one;
between stacks a resource merely `differs`. `frozen` is an edit that the engine will ignore, because the resource
ignores changes to it: a template of a version that exists already keeps what it was made with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal, cast, get_args

from rehearsal.inventory import Inventory, Plain, Resource
from rehearsal.replacement import replaces

Action = Literal["created", "removed", "replaced", "changed", "frozen", "differs"]

ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
GROUP_TYPE: Final = "gcp:compute/regionInstanceGroupManager:RegionInstanceGroupManager"
AUTOSCALER_TYPE: Final = "gcp:compute/regionAutoscaler:RegionAutoscaler"
FUNCTION_TYPE: Final = "gcp:cloudfunctionsv2/function:Function"
POOL_TYPE: Final = "runner-fleet:index:RunnerPool"
_LONG: Final = 60
_TARGETS: Final = ("bucket", "secretId", "name", "project")
"""What a grant is on, the nearest thing first."""


@dataclass(frozen=True, slots=True)
class PropertyChange:
    """One value inside a resource: its path, and how it reads before and after."""

    path: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path}: {self.before} → {self.after}"


@dataclass(frozen=True, slots=True)
class Change:
    """One resource that differs."""

    action: Action
    owner: str
    """The component at the top that holds it: `RunnerPool presubmit-cpu`."""
    resource: Resource
    """As it will be; as it was, for one that is removed."""
    goes: str = ""
    """The name of the group that goes, with its VMs."""
    properties: tuple[PropertyChange, ...] = ()
    stuck: bool = False
    """Whether Google would refuse it: a group is resized while the autoscaler that goes still holds it."""

    @property
    def consequence(self) -> str:
        """What a reviewer must know beyond the values; empty where they say it all."""
        resource = self.resource
        if self.action == "differs":
            return ""
        if self.action == "frozen":
            if resource.type == GROUP_TYPE:
                return "no effect: something else sizes the group once it exists"
            return "no effect: the template exists and is frozen; scripts/rollout cut ID makes a version with the edit"
        if self.action in {"removed", "replaced"} and resource.options.get("protect"):
            return "protected: `pulumi up` refuses until it is unprotected by hand"
        if self.action == "removed" and resource.options.get("retain_on_delete"):
            return "stays in the cloud: retained on delete"
        if "role" in resource.inputs and "member" in resource.inputs:
            verb = "loses" if self.action == "removed" else "gets"
            target = next((resource.inputs[key] for key in _TARGETS if resource.inputs.get(key)), "")
            return f"{resource.inputs['member']} {verb} {resource.inputs['role']} on {target}"
        return self._group_consequence if resource.type == GROUP_TYPE else self._service_consequence

    @property
    def _service_consequence(self) -> str:
        if self.resource.type == POOL_TYPE:
            return "the demand listener follows it from its next call on"
        if self.resource.type == FUNCTION_TYPE and any("storageSource" in change.path for change in self.properties):
            return "built and deployed anew: its code or its list of groups is another"
        return ""

    @property
    def _group_consequence(self) -> str:
        if self.stuck:
            return (
                "`up` would fail: Google resizes no group whose autoscaler still exists; deploy `signal: jobs` before"
            )
        match self.action:
            case "replaced":
                return "a new group is made first, then the old one goes with its VMs: drain it before"
            case "removed":
                return "its VMs go with it: drain it before"
            case "changed" if any(change.path.startswith("versions") for change in self.properties):
                return "running VMs finish their job; each VM made from now on takes its version"
            case _:
                return ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that differs from a base, which a git revision or a stack names."""

    base: str
    changes: tuple[Change, ...]
    peak_usd_hour: tuple[float | None, float | None] = (None, None)
    """List price of the hardware at its peak, before and after; None where it is not known."""

    def summary(self) -> str:
        """One line: how many of each action, and which groups go."""
        if not self.changes:
            return f"no changes against {self.base}"
        counts = [(action, sum(change.action == action for change in self.changes)) for action in ACTIONS]
        line = ", ".join(f"{count} {action}" for action, count in counts if count)
        lost = [change.goes for change in self.changes if change.goes]
        before, after = self.peak_usd_hour
        if before is not None and after is not None and round(before, 2) != round(after, 2):
            line += f"; at peak {before:,.2f} → {after:,.2f} USD/h"
        return f"{line}; groups that go: {', '.join(lost)}" if lost else line

    def to_json(self) -> Plain:
        """The comparison as JSON can hold it."""
        return {
            "base": self.base,
            "peak_usd_per_hour": dict(zip(("before", "after"), self.peak_usd_hour, strict=True)),
            "changes": [
                {
                    "action": change.action,
                    "owner": change.owner,
                    "type": change.resource.type,
                    "name": change.resource.name,
                    "properties": [asdict(prop) for prop in change.properties],
                    "consequence": change.consequence,
                }
                for change in self.changes
            ],
        }


def compare(
    before: Inventory, after: Inventory, base: str, peak_usd_hour: tuple[float | None, float | None] = (None, None)
) -> Comparison:
    """Every difference, by owner and name."""
    return Comparison(base, changes(before, after), peak_usd_hour)


def changes(before: Inventory, after: Inventory) -> tuple[Change, ...]:
    """Every difference, by owner and name.

    Components themselves are left out, since their resources say it all: but for the demand that a pool may follow.
    """
    new = {resource.key: resource for resource in after.resources if resource.custom}
    renamed = {former: key for key, resource in new.items() for former in _former_keys(resource)}
    old = {renamed.get(resource.key, resource.key): resource for resource in before.resources if resource.custom}
    owners = _owners(before) | _owners(after)
    edit = _deployed if before.stack == after.stack else _differing
    found: list[Change] = []
    for key in old.keys() | new.keys():
        if key not in new:
            goes = old[key].inputs["name"] if old[key].type == GROUP_TYPE and edit is _deployed else ""
            found.append(Change("removed", owners[key], old[key], goes))
        elif key not in old:
            found.append(Change("created", owners[key], new[key]))
        elif old[key].inputs != new[key].inputs:
            found.append(edit(owners[key], old[key], new[key]))
    found += _demands(before, after, "changed" if edit is _deployed else "differs")
    stuck = _stuck(found)
    marked = (replace(change, stuck=True) if change in stuck else change for change in found)
    return tuple(sorted(marked, key=lambda change: (change.owner, change.resource.name, change.resource.type)))


def _demands(before: Inventory, after: Inventory, action: Action) -> Iterator[Change]:
    """Pools of both sides that demand grows by other limits, or that begin or cease to follow it."""
    old = {pool.key: pool for pool in before.of_type(POOL_TYPE)}
    for pool in after.of_type(POOL_TYPE):
        if pool.key in old:
            was, now = ((side.outputs or {}).get("demand") for side in (old[pool.key], pool))
            if was != now:
                yield Change(action, pool.short, pool, properties=tuple(_differences("demand", was, now)))


def _former_keys(resource: Resource) -> Iterator[str]:
    """What the resource was called before: its aliases, which the engine takes for the same resource."""
    within = resource.key.rpartition("::")[0]
    for alias in resource.options.get("aliases", ()):
        yield f"{within}::{alias.rpartition('::')[2]}"


def _stuck(found: list[Change]) -> list[Change]:
    """Groups that get another size in the very step in which their autoscaler goes; the engine resizes first."""
    gone = {
        change.resource.inputs["target"]
        for change in found
        if change.action == "removed" and change.resource.type == AUTOSCALER_TYPE
    }
    return [
        change
        for change in found
        if change.action == "changed"
        and f"${{{change.resource.name}.id}}" in gone
        and any(edit.path == "targetSize" for edit in change.properties)
    ]


def _differing(owner: str, old: Resource, new: Resource) -> Change:
    """Between two stacks nothing is deployed: a difference is one, and has no consequence."""
    return Change("differs", owner, new, properties=tuple(_differences("", old.inputs, new.inputs)))


def _deployed(owner: str, old: Resource, new: Resource) -> Change:
    """Between two revisions of one stack, what an engine would make of the edit."""
    changed = [key for key in {**old.inputs, **new.inputs} if old.inputs.get(key) != new.inputs.get(key)]
    ignored: list[str] = new.options.get("ignore_changes", [])
    effective = [key for key in changed if "*" not in ignored and key not in ignored]
    properties = tuple(
        change
        for key in sorted(effective or changed)
        for change in _differences(f".{key}", old.inputs.get(key), new.inputs.get(key))
    )
    if not effective:
        return Change("frozen", owner, new, properties=properties)
    if not replaces(new, effective):
        return Change("changed", owner, new, properties=properties)
    return Change("replaced", owner, new, old.inputs["name"] if new.type == GROUP_TYPE else "", properties)


def _differences(path: str, old: Plain, new: Plain) -> Iterator[PropertyChange]:
    left, right = _children(old), _children(new)
    # Plain lists of different length are said whole: which element went is a guess.
    if left is None or right is None or (len(left) != len(right) and "[0]" in {**left, **right}):
        yield PropertyChange(path.removeprefix("."), _short(old), _short(new))
        return
    for key in sorted({**left, **right}):
        if left.get(key) != right.get(key):
            yield from _differences(f"{path}{key}", left.get(key), right.get(key))


def _children(value: Plain) -> dict[str, Plain] | None:
    """What a value holds, by how its path goes on; None for what holds nothing."""
    if isinstance(value, dict):
        return {f".{key}": item for key, item in cast("dict[str, Plain]", value).items()}
    if isinstance(value, list):
        items = cast("list[Plain]", value)
        return {f"[{_label(item, index)}]": item for index, item in enumerate(items)}
    return None


def _label(item: Plain, index: int) -> str:
    """Elements that have a name, as a group's versions do, are told apart by it; others by their place."""
    return str(cast("dict[str, Plain]", item).get("name", index)) if isinstance(item, dict) else str(index)


def _short(value: Plain) -> str:
    text = "nothing" if value is None else str(value).replace("\n", "⏎")
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


def _owners(inventory: Inventory) -> dict[str, str]:
    by_urn = {resource.urn: resource for resource in inventory.resources}
    return {resource.key: _owner(resource, by_urn) for resource in inventory.resources if resource.custom}


def _owner(resource: Resource, by_urn: Mapping[str, Resource]) -> str:
    top = resource
    while top.parent in by_urn:
        top = by_urn[top.parent]
    return top.short
