"""A configuration between parsing and trust: what could be read of it, so that rules find all other faults too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from pydantic import BaseModel, ValidationError

from fleet.errors import Fault, show, unknown_key
from fleet.naming import Names
from fleet.schema.machine_class import MachineClass
from fleet.schema.network import NetworkSettings
from fleet.schema.pool import PoolSettings
from fleet.schema.project import GitHub, Google, Lifecycle
from fleet.schema.reconciler import ReconcilerSettings
from fleet.schema.trust_level import TrustSettings
from fleet.schema.version import Rollout, RunnerRelease, Version
from fleet.structure import structural_faults

SINGLES: Final[dict[str, type[BaseModel]]] = {
    "google": Google,
    "github": GitHub,
    "network": NetworkSettings,
    "lifecycle": Lifecycle,
    "reconciler": ReconcilerSettings,
    "rollout": Rollout,
}
"""Sections that are one object each."""

MAPPINGS: Final[dict[str, type[BaseModel]]] = {
    "machine_classes": MachineClass,
    "runner_releases": RunnerRelease,
    "versions": Version,
    "trust_levels": TrustSettings,
    "pools": PoolSettings,
}
"""Sections that map a name to an object each; one bad entry hides no fault of its neighbours."""

OPTIONAL: Final = frozenset({"lifecycle", "reconciler"})
SECTIONS: Final = (*SINGLES, *MAPPINGS)


@dataclass(slots=True)
class Draft:
    """The readable part of a configuration. A section that is missing or faulty is None or lacks its entry."""

    environment: str
    tree_bundle: str
    google: Google | None = None
    github: GitHub | None = None
    network: NetworkSettings | None = None
    lifecycle: Lifecycle | None = None
    reconciler: ReconcilerSettings | None = None
    rollout: Rollout | None = None
    machine_classes: dict[str, MachineClass] = field(default_factory=dict[str, MachineClass])
    runner_releases: dict[str, RunnerRelease] = field(default_factory=dict[str, RunnerRelease])
    versions: dict[str, Version] = field(default_factory=dict[str, Version])
    trust_levels: dict[str, TrustSettings] = field(default_factory=dict[str, TrustSettings])
    pools: dict[str, PoolSettings] = field(default_factory=dict[str, PoolSettings])
    declared: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Every name that a mapping section declares, faulty entries included: they are no dangling references."""

    @property
    def names(self) -> Names | None:
        """Every physical name that would be made; None where prefix or project cannot be read."""
        return Names(prefix=self.google.name_prefix, project=self.google.project) if self.google else None


def parse(raw: Mapping[str, Any], environment: str, tree_bundle: str) -> tuple[Draft, list[Fault]]:
    """Read what can be read, and say what cannot."""
    draft = Draft(environment, tree_bundle)
    faults = [unknown_key((), key, SECTIONS) for key in raw if key not in SECTIONS]
    for section, model in SINGLES.items():
        if section in raw:
            setattr(draft, section, _one(model, raw[section], (section,), faults))
        elif section in OPTIONAL:
            setattr(draft, section, model())
        else:
            faults.append(Fault((section,), "nothing", "a section", f"add {section}"))
    for section, model in MAPPINGS.items():
        value = raw.get(section)
        if not isinstance(value, Mapping) or not value:
            seen = show(value) if section in raw else "nothing"
            faults.append(Fault((section,), seen, "a mapping of names to objects", f"declare the {section}"))
            continue
        entries = cast("Mapping[Any, Any]", value)
        draft.declared[section] = {str(name) for name in entries}
        parsed = {str(name): _one(model, entry, (section, str(name)), faults) for name, entry in entries.items()}
        setattr(draft, section, {name: entry for name, entry in parsed.items() if entry is not None})
    return draft, faults


def _one(model: type[BaseModel], value: Any, at: tuple[str, ...], faults: list[Fault]) -> BaseModel | None:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults += structural_faults(error, model, at)
        return None
