"""The inventory: every resource a stack would register, as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Plain = Any
"""What JSON can hold: dict, list, str, int, float, bool or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One registration, as the engine would have received it."""

    type: str
    name: str
    urn: str
    parent: str
    """The parent's URN; the stack's for what stands at the top."""
    custom: bool
    """True for a provider's resource, false for a component."""
    inputs: Mapping[str, Plain]
    options: Mapping[str, Plain] = field(default_factory=dict[str, Plain])
    """Only options that differ from the default: protect, retain_on_delete, ignore_changes, …"""
    provider: str = ""
    """The provider's URN; empty for components, and for a resource that relies on a default provider."""
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    outputs: Mapping[str, Plain] | None = None
    """What a component registered; None when it never did."""

    @property
    def key(self) -> str:
        """What identifies the resource in any stack: its type within its parents' types, and its name."""
        return self.urn.split("::", 2)[2]

    @property
    def short(self) -> str:
        """How people call it: the last part of its type, and its name."""
        return f"{self.type.rpartition(':')[2]} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All registrations of one run, sorted by URN, and what the program exported."""

    stack: str
    resources: tuple[Resource, ...]
    exports: Mapping[str, Plain]

    def counts(self) -> dict[str, int]:
        """Resources of providers by type token, sorted. Components and providers cost nothing and are left out."""
        types = (r.type for r in self.resources if r.custom and not r.type.startswith("pulumi:providers:"))
        return dict(sorted(Counter(types).items()))

    def of_type(self, type_token: str) -> tuple[Resource, ...]:
        """The resources of one type."""
        return tuple(resource for resource in self.resources if resource.type == type_token)

    def named(self, name: str) -> Resource:
        """The one resource of that logical name. Raises KeyError where there is none, or more than one."""
        found = [resource for resource in self.resources if resource.name == name]
        if len(found) != 1:
            raise KeyError(f"{len(found)} resources are named {name}")
        return found[0]

    def to_json(self) -> dict[str, Plain]:
        """The inventory as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Plain]) -> Inventory:
        """The inventory that `to_json` wrote, perhaps by an older revision: fields that are not known are dropped."""
        return cls(
            stack=data["stack"],
            resources=tuple(_resource(entry) for entry in data["resources"]),
            exports=data["exports"],
        )


def _resource(entry: Mapping[str, Plain]) -> Resource:
    known = {key: value for key, value in entry.items() if key in Resource.__dataclass_fields__}
    known["dependencies"] = tuple(entry.get("dependencies", ()))
    reasons: Mapping[str, list[str]] = entry.get("property_dependencies", {})
    known["property_dependencies"] = {key: tuple(urns) for key, urns in reasons.items()}
    return Resource(**known)
