"""Log lines: one JSON object a line, as Cloud Logging parses it. Metrics are made of some of them."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

Log = Callable[[Mapping[str, Any]], None]


def write_line(entry: Mapping[str, Any]) -> None:
    """To stdout."""
    sys.stdout.write(json.dumps(entry) + "\n")
    sys.stdout.flush()


class Records:
    """The records of one term of leading: each carries its fencing number."""

    def __init__(self, log: Log, fence: int) -> None:
        self._log = log
        self._fence = fence

    def say(self, message: str, /, *, severity: str = "INFO", **fields: Any) -> None:
        """One record. A field `from_` is written as `from`."""
        named = {name.rstrip("_"): value for name, value in fields.items()}
        self._log({"severity": severity, "message": message, **named, "fence": self._fence})


def rfc3339(moment: datetime.datetime) -> str:
    """A moment as it is stored, in UTC and whole seconds."""
    return moment.astimezone(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def place(error: BaseException) -> str:
    """What an exception is and where it comes from: type, function and line, without its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace else "?"
    return f"{type(error).__name__} at {where}"
