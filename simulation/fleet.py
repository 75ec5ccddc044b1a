"""The fleet that is simulated: the table that the functions are deployed with, cut down to some pools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from fleet.function_table import function_table
from fleet.settings import load
from rehearsal import stack_files
from startup import bundle

ROOT = Path(__file__).parents[1]


class FleetError(Exception):
    """There is no such fleet. The text says what there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What the simulation itself wants to know of a group."""

    name: str
    pool: str
    region: str
    zones: tuple[str, ...]
    service_account: str
    runner_group: str
    labels: tuple[str, ...]
    min: int
    max: int
    idle: int
    scale_set: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A table, and its groups."""

    text: str
    """What the functions read."""
    project: str
    organization: str
    groups: tuple[Group, ...]

    @property
    def pools(self) -> tuple[str, ...]:
        """By name."""
        return tuple(sorted({group.pool for group in self.groups}))

    def of(self, pool: str) -> tuple[Group, ...]:
        """A pool's groups."""
        return tuple(group for group in self.groups if group.pool == pool)

    def idle(self, pool: str) -> int:
        """How many VMs the pool keeps waiting."""
        return max(self.of(pool)[0].idle, sum(group.min for group in self.of(pool)))

    def max(self, pool: str) -> int:
        """How many VMs the pool may have."""
        return sum(group.max for group in self.of(pool))


@lru_cache(maxsize=4)
def _table(stack: str) -> dict[str, Any]:
    packed = bundle.build(ROOT / "startup")
    sections = stack_files.read(ROOT, stack).sections
    return json.loads(function_table(load(sections, environment=stack, tree_bundle=packed.digest)))


def fleet(pools: Sequence[str], *, signal: str = "jobs", stack: str = "prod") -> Fleet:
    """Some pools of a stack. With another signal than `jobs` each group keeps at least one VM.

    Raises FleetError for a pool that the stack does not have, and ConfigError for a stack that is at fault.
    """
    table = _table(stack)
    known = sorted({group["pool"] for group in table["groups"].values()})
    if not pools or not set(pools) <= set(known):
        raise FleetError(f"--pools is {','.join(pools)!r}; allowed: some of {', '.join(known)}")
    groups = {name: dict(group) for name, group in table["groups"].items() if group["pool"] in pools}
    if signal != "jobs":
        for group in groups.values():
            group.update(signal=signal, idle=0, scale_set="", standby=None, min=max(group["min"], 1))
    text = json.dumps({**table, "groups": groups}, sort_keys=True)
    return Fleet(
        text=text,
        project=table["project"],
        organization=table["organization"],
        groups=tuple(_group(name, group) for name, group in sorted(groups.items())),
    )


def _group(name: str, group: dict[str, Any]) -> Group:
    return Group(
        name=name,
        pool=group["pool"],
        region=group["region"],
        zones=tuple(group["zones"]),
        service_account=group["service_account"],
        runner_group=group["runner_group"],
        labels=tuple(group["labels"]),
        min=group["min"],
        max=group["max"],
        idle=group["idle"],
        scale_set=group["scale_set"],
    )
