"""An operator's marks on a VM, as Compute Engine shows them: instance metadata, which no VM's account may write.

A hold is a moment, such as 2026-11-25T14:10:00Z and in no other form, and lasts until then; any text in the other mark
says that the VM is to leave. The VM reads the same in startup/lib/marks.py.

Deleter and reconciler hold this file byte by byte: shared by contract, not by import.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any, Final, cast

HOLD_UNTIL: Final = "runner-hold-until"
DRAIN: Final = "runner-drain"
"""HOLD_UNTIL and DRAIN of fleet/metadata.py."""

_MOMENT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def held_until(instance: Mapping[str, Any]) -> float | None:
    """The end of an instance's hold, in seconds since 1970; None where it has none. It may be over."""
    text = _value(instance, HOLD_UNTIL)
    if not _MOMENT.fullmatch(text):
        return None
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def held(instance: Mapping[str, Any], now: float) -> bool:
    """Whether an operator holds an instance at `now`, seconds since 1970."""
    until = held_until(instance)
    return until is not None and now < until


def drained(instance: Mapping[str, Any]) -> bool:
    """Whether an operator wants an instance to leave."""
    return bool(_value(instance, DRAIN))


def _value(instance: Mapping[str, Any], key: str) -> str:
    """What the instance's own metadata says; empty where nothing. Of a key that stands twice, nothing is believed."""
    metadata: Any = instance.get("metadata")
    items: Any = cast("dict[str, Any]", metadata).get("items") if isinstance(metadata, dict) else None
    entries = cast("list[Any]", items) if isinstance(items, list) else []
    objects = [cast("dict[str, Any]", entry) for entry in entries if isinstance(entry, dict)]
    values = [entry.get("value") for entry in objects if entry.get("key") == key]
    return values[0].strip() if len(values) == 1 and isinstance(values[0], str) else ""
