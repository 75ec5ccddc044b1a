"""The exact list of groups that the functions serve, read from `fleet.json`.

`fleet/function_table.py` makes the file from the stack's settings and it is deployed beside the function, so what a
group is allowed never comes from a VM. Both functions hold this file byte by byte: shared by contract, not by import.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All groups of one environment."""

    project: str
    organization: str
    groups: Mapping[str, Group]


def parse(text: str) -> Fleet:
    """The fleet of a table. Raises TableError."""
    try:
        table: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise TableError("the fleet table is not JSON") from None
    groups = cast("dict[str, Any]", _take(table, "", "groups", dict))
    return Fleet(
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
    )


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
