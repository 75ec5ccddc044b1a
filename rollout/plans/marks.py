"""The moments that operators write on VMs, in the one form that VMs and services read (`fleet.metadata.MARKS`)."""

from __future__ import annotations

import datetime

from startup.lib import marks


def moment(text: str | None) -> float | None:
    """The end of a hold, in seconds since 1970; None for a text that holds nothing. What a VM makes of it."""
    return marks.moment(text)


def written(seconds: float) -> str:
    """A moment as it is written: in UTC, in whole seconds."""
    return f"{datetime.datetime.fromtimestamp(int(seconds), datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
