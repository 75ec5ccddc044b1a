"""Schedules: cron expressions that name times that exist, time zones, and sizes that a group can have."""

from __future__ import annotations

import functools
import re
import zoneinfo
from collections.abc import Iterator
from typing import Final

from fleet.checks.keys import key_fault
from fleet.errors import Fault, Path, not_in_the_world, show
from fleet.schema.pool import PoolSettings, ScheduleScaling

_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS: Final = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
# Name, least, most, and words for values from the least on.
_FIELDS: Final[tuple[tuple[str, int, int, tuple[str, ...]], ...]] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
_TERM: Final = re.compile(r"(?:\*|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\d+))?")


def schedule_faults(at: Path, pool: PoolSettings, scaling: ScheduleScaling) -> Iterator[Fault]:
    """Faults of every schedule of a pool."""
    smallest = min(size.max for size in pool.regions.values())
    for name, schedule in scaling.schedules.items():
        yield from key_fault((*at, name), name)
        wrong = cron_fault(schedule.cron)
        if wrong:
            fix = "write minute, hour, day of month, month, day of week"
            allowed = f"five cron fields such as 0 8 * * 1-5 ({wrong})"
            yield Fault((*at, name, "cron"), show(schedule.cron), allowed, fix)
        if schedule.time_zone not in _time_zones():
            noun = "an IANA time zone such as America/Los_Angeles"
            yield not_in_the_world((*at, name, "time_zone"), schedule.time_zone, _time_zones(), noun)
        if schedule.min > smallest:
            allowed = f"at most the smallest max of the pool's regions, {smallest}"
            yield Fault((*at, name, "min"), show(schedule.min), allowed, f"write {smallest} or less")


def cron_fault(cron: str) -> str:
    """What is wrong with a cron expression; empty when nothing is."""
    fields = cron.split(" ")
    if len(fields) != len(_FIELDS):
        return f"{len(fields)} fields are there"
    for text, (name, least, most, words) in zip(fields, _FIELDS, strict=True):
        for part in text.split(","):
            term = _TERM.fullmatch(part)
            bounds = [_value(term[key], least, words) for key in ("low", "high") if term[key]] if term else [-1]
            within = all(least <= bound <= most for bound in bounds) and bounds == sorted(bounds)
            if not within or (term and term["step"] == "0"):
                return f"{name} is {part or 'empty'}, not within {least}-{most}"
    return ""


def _value(text: str, least: int, words: tuple[str, ...]) -> int:
    if text.isdigit():
        return int(text)
    return words.index(text.upper()) + least if text.upper() in words else -1


@functools.cache
def _time_zones() -> frozenset[str]:
    # The one thing the model reads from the machine: its time zone database.
    return frozenset(zoneinfo.available_timezones())
