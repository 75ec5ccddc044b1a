"""What the services write down for people, read: the listener's word of a pool, the reconciler's report. Pure.

A record that is not what its writer writes is unknown: half a record proves nothing.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any, cast

from rollout.view.seen import Unknown
from rollout.view.snapshot import PoolWord, Reconciled, StockOut


class _UnreadableError(Exception):
    """It is not what its writer writes. The text says which part."""


def pool_word(data: bytes) -> PoolWord | Unknown:
    """`pools/POOL.json` of the listener's bucket."""
    try:
        said = _object(data)
        return PoolWord(
            pool=_text(said, "pool"),
            expires=_moment(said, "expires"),
            desired=_count(said, "desired"),
            assigned=_count(said, "assigned"),
            running=_count(said, "running"),
            waiting=_count(said, "waiting"),
            reasons=tuple(each for each in _list(said, "reasons") if isinstance(each, str)),
            stockouts=tuple(_stockout(_mapping(each)) for each in _list(said, "stockouts")),
        )
    except _UnreadableError as error:
        return Unknown(f"a record of the listener's cannot be read: {error}")


def reconciled(data: bytes) -> Reconciled | Unknown:
    """`reports/latest.json` of the reconciler's bucket."""
    try:
        said = _object(data)
        return Reconciled(
            written=_moment(said, "written"),
            dry_run=bool(said.get("dry_run")),
            disagreements=tuple(_mapping(each) for each in _list(said, "disagreements")),
        )
    except _UnreadableError as error:
        return Unknown(f"the reconciler's report cannot be read: {error}")


def _stockout(said: Mapping[str, Any]) -> StockOut:
    return StockOut(
        region=_text(said, "region"),
        zone=str(said.get("zone") or ""),
        since=_moment_or_none(said.get("since")),
        until=_moment_or_none(said.get("until")),
    )


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        said: Any = json.loads(data)
    except (ValueError, RecursionError):
        raise _UnreadableError("it is no JSON") from None
    return _mapping(said)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _UnreadableError("an object is missing")
    return cast("dict[str, Any]", value)


def _list(said: Mapping[str, Any], key: str) -> list[Any]:
    value = said.get(key, [])
    if not isinstance(value, list):
        raise _UnreadableError(f"{key} is no list")
    return cast("list[Any]", value)


def _text(said: Mapping[str, Any], key: str) -> str:
    value = said.get(key)
    if not isinstance(value, str) or not value:
        raise _UnreadableError(f"{key} is no text")
    return value


def _count(said: Mapping[str, Any], key: str) -> int:
    value = said.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _UnreadableError(f"{key} is no count")
    return value


def _moment(said: Mapping[str, Any], key: str) -> datetime.datetime:
    found = _moment_or_none(said.get(key))
    if found is None:
        raise _UnreadableError(f"{key} is no time")
    return found


def _moment_or_none(value: Any) -> datetime.datetime | None:
    try:
        found = datetime.datetime.fromisoformat(value)
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo else None
