"""What a VM is told of its pool's demand: why jobs wait, as the demand listener last wrote it. Pure."""

from __future__ import annotations

import datetime
import json
from typing import Any, Final, cast

NUMBERS: Final = ("assigned", "running", "desired", "existing", "waiting")
"""Of the listener's object; of all it says, these, the reasons and the time are passed on."""


def told(stored: bytes, pool: str, *, now: float) -> dict[str, Any] | None:
    """The pool's demand; `now` in seconds since 1970. None where the listener's object is not one of that pool.

    `stale` is true after the end that the listener itself set: then it has been silent since, and things may differ.
    """
    try:
        document: Any = json.loads(stored)
    except (ValueError, RecursionError):
        return None
    fields = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    numbers = {name: fields.get(name) for name in NUMBERS}
    reasons, written, expires = fields.get("reasons"), _moment(fields.get("written")), _moment(fields.get("expires"))
    if fields.get("pool") != pool or not all(_is_count(value) for value in numbers.values()):
        return None
    if not isinstance(reasons, list) or not all(isinstance(reason, str) for reason in cast("list[Any]", reasons)):
        return None
    if written is None or expires is None:
        return None
    return {
        "pool": pool,
        **numbers,
        "reasons": reasons,
        "written": written.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "stale": now > expires.timestamp(),
    }


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _moment(value: Any) -> datetime.datetime | None:
    """A time that says its zone."""
    try:
        moment = datetime.datetime.fromisoformat(value) if isinstance(value, str) else None
        return None if moment is None or moment.tzinfo is None else moment.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        return None
