"""The exact list of groups that the functions serve, read from `fleet.json`.

`fleet/function_table.py` makes the file from the stack's settings and it is deployed beside the function, so what a
group is allowed never comes from a VM. All functions hold this file byte by byte: shared by contract, not by import.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, cast

Signal = Literal["jobs", "cpu", "fixed", "schedule"]

_T = TypeVar("_T")

SIGNALS: Final[tuple[Signal, ...]] = ("jobs", "cpu", "fixed", "schedule")


class TableError(Exception):
    """The table is not as it must be. The text names the place, what stands there, and what may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One regional managed instance group, as the inventory has it today."""

    name: str
    region: str
    pool: str
    zones: tuple[str, ...]
    service_account: str
    runner_group: str
    labels: tuple[str, ...]
    signal: Signal
    min: int
    max: int
    rank: int
    """Where demand grows its pool first: 0 before 1."""
    idle: int
    """VMs that the whole pool keeps waiting for jobs; 0 unless its signal is jobs."""
    scale_set: str
    """The runner scale set at GitHub that stands for its pool; empty unless its signal is jobs."""
    standby: int | None
    """VMs that it keeps suspended or stopped: 0 while it gives a reserve up, None where its pool has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All groups of one environment."""

    environment: str
    """The stack's name: what tells two fleets of one project apart."""
    project: str
    organization: str
    groups: Mapping[str, Group]

    def pool(self, name: str) -> tuple[Group, ...]:
        """The groups of a pool, in the order in which demand grows them."""
        return tuple(sorted((g for g in self.groups.values() if g.pool == name), key=lambda g: (g.rank, g.name)))

    def pools(self, signal: Signal) -> tuple[str, ...]:
        """The pools that follow a signal, by name."""
        return tuple(sorted({group.pool for group in self.groups.values() if group.signal == signal}))


def parse(text: str) -> Fleet:
    """The fleet of a table. Raises TableError."""
    try:
        table: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise TableError("the fleet table is not JSON") from None
    groups = cast("dict[str, Any]", _take(table, "", "groups", dict))
    return Fleet(
        environment=_take(table, "", "environment", str),
        project=_take(table, "", "project", str),
        organization=_take(table, "", "organization", str),
        groups={name: _group(name, group) for name, group in groups.items()},
    )


def _group(name: str, group: Any) -> Group:
    where = f"groups.{name}"
    signal = _take(group, where, "signal", str)
    if signal not in SIGNALS:
        raise TableError(f"{where}.signal is {signal!r}; allowed: {', '.join(SIGNALS)}")
    return Group(
        name=name,
        region=_take(group, where, "region", str),
        pool=_take(group, where, "pool", str),
        zones=_texts(group, where, "zones"),
        service_account=_take(group, where, "service_account", str),
        runner_group=_take(group, where, "runner_group", str),
        labels=_texts(group, where, "labels"),
        signal=signal,
        min=_take(group, where, "min", int),
        max=_take(group, where, "max", int),
        rank=_take(group, where, "rank", int),
        idle=_take(group, where, "idle", int),
        scale_set=_scale_set(group, where, signal),
        standby=_standby(group, where, signal),
    )


def _scale_set(group: Any, where: str, signal: Signal) -> str:
    """A pool that follows jobs has one; others have none."""
    value: Any = cast("dict[str, Any]", group).get("scale_set")
    if not isinstance(value, str) or bool(value) != (signal == "jobs"):
        allowed = "a text" if signal == "jobs" else "empty"
        raise TableError(f"{where}.scale_set is {value!r}; with signal {signal} it must be {allowed}")
    return value


def _standby(group: Any, where: str, signal: str) -> int | None:
    """Only what grows by its size alone keeps a reserve. The key stands in every row, so none is forgotten."""
    value: Any = cast("dict[str, Any]", group).get("standby", "")
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0 or signal != "jobs":
        allowed = "null, or a number of VMs" if signal == "jobs" else "null"
        raise TableError(f"{where}.standby is {value!r}; with signal {signal} it must be {allowed}")
    return value


def _take(table: Any, where: str, key: str, kind: type[_T]) -> _T:
    path = f"{where}.{key}" if where else key
    if not isinstance(table, dict):
        raise TableError(f"{where or 'the fleet table'} is no object")
    value: Any = cast("dict[str, Any]", table).get(key)
    if not isinstance(value, kind) or isinstance(value, bool) or value == "":
        raise TableError(f"{path} is {value!r}; it must be a {kind.__name__}")
    return value


def _texts(table: Any, where: str, key: str) -> tuple[str, ...]:
    values = cast("list[Any]", _take(table, where, key, list))
    if not values or not all(isinstance(value, str) and value for value in values):
        raise TableError(f"{where}.{key} is {values!r}; it must be a list of texts")
    return tuple(cast("list[str]", values))
