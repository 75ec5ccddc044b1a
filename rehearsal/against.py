"""What changes between two inventories, said by pool: created, changed, replaced, removed, frozen.

Resources are matched by type and name within their parents, so two stacks compare as well as two revisions. `frozen`
is an edit that the engine will ignore, because the resource ignores changes to it: a template of a version that
exists already keeps what it was made with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Final, Literal, cast, get_args

from rehearsal.inventory import Inventory, Plain, Resource
from rehearsal.replacement import replaces

Action = Literal["created", "removed", "replaced", "changed", "frozen"]

ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
GROUP_TYPE: Final = "gcp:compute/regionInstanceGroupManager:RegionInstanceGroupManager"
_LONG: Final = 60


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
    properties: tuple[PropertyChange, ...] = ()

    @property
    def consequence(self) -> str:
        """What a reviewer must know of running VMs; empty where nothing happens to any."""
        if self.action == "frozen":
            return "no effect: the template exists and is frozen; scripts/cut-version ID makes a version with the edit"
        if self.resource.type != GROUP_TYPE:
            return ""
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

    def summary(self) -> str:
        """One line: how many of each action, and which groups go."""
        if not self.changes:
            return f"no changes against {self.base}"
        counts = [(action, sum(change.action == action for change in self.changes)) for action in ACTIONS]
        line = ", ".join(f"{count} {action}" for action, count in counts if count)
        lost = [c.resource.name for c in self.changes if c.consequence and c.action in {"replaced", "removed"}]
        return f"{line}; groups that go: {', '.join(lost)}" if lost else line

    def to_json(self) -> Plain:
        """The comparison as JSON can hold it."""
        return {
            "base": self.base,
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


def compare(before: Inventory, after: Inventory, base: str) -> Comparison:
    """Every difference, by owner and name."""
    return Comparison(base, changes(before, after))


def changes(before: Inventory, after: Inventory) -> tuple[Change, ...]:
    """Every difference, by owner and name. Components themselves are left out: their resources say it all."""
    old = {resource.key: resource for resource in before.resources if resource.custom}
    new = {resource.key: resource for resource in after.resources if resource.custom}
    owners = _owners(before) | _owners(after)
    found: list[Change] = []
    for key in old.keys() | new.keys():
        if key not in new:
            found.append(Change("removed", owners[key], old[key]))
        elif key not in old:
            found.append(Change("created", owners[key], new[key]))
        elif edited := _edited(owners[key], old[key], new[key]):
            found.append(edited)
    return tuple(sorted(found, key=lambda change: (change.owner, change.resource.name, change.resource.type)))


def _edited(owner: str, old: Resource, new: Resource) -> Change | None:
    differing = [key for key in {**old.inputs, **new.inputs} if old.inputs.get(key) != new.inputs.get(key)]
    if not differing:
        return None
    ignored: list[str] = new.options.get("ignore_changes", [])
    effective = [key for key in differing if "*" not in ignored and key not in ignored]
    shown = effective or differing
    properties = tuple(
        change for key in sorted(shown) for change in _differences(key, old.inputs.get(key), new.inputs.get(key))
    )
    if not effective:
        return Change("frozen", owner, new, properties)
    return Change("replaced" if replaces(new, effective) else "changed", owner, new, properties)


def _differences(path: str, old: Plain, new: Plain) -> Iterator[PropertyChange]:
    if isinstance(old, dict) and isinstance(new, dict):
        left, right = cast("dict[str, Plain]", old), cast("dict[str, Plain]", new)
        pairs = [(f"{path}.{key}", left.get(key), right.get(key)) for key in sorted({**left, **right})]
    elif (
        isinstance(old, list)
        and isinstance(new, list)
        and len(cast("list[Plain]", old)) == len(cast("list[Plain]", new))
    ):
        both = zip(cast("list[Plain]", old), cast("list[Plain]", new), strict=True)
        pairs = [(f"{path}[{index}]", *pair) for index, pair in enumerate(both)]
    else:
        yield PropertyChange(path, _short(old), _short(new))
        return
    for inner, before, after in pairs:
        if before != after:
            yield from _differences(inner, before, after)


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
