"""Rules about versions: which is newest, when GitHub stops accepting its runner, and what may never change.

A version is immutable: templates that carry it are frozen, so an edit would change nothing but what people believe.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from fleet.schema.version import Rollout, RunnerRelease, Version

REGISTRATION_FLOOR: Final = "2.329.0"
"""Older runners may not register (GitHub changelog 2026-06-12 and the refusals seen since 2026-01-20)."""

ADOPTION_DAYS: Final = 30
"""Once a newer release exists, the older must be gone within 30 days; dot releases count (actions/runner#3405)."""

NEAR_DAYS: Final = 10
"""A deadline this close is worth a warning: a canary week and a weekend."""

_VERSION_ID: Final = re.compile(r"\d{4}-\d{2}-\d{2}(-[1-9]\d?)?")
"""A version is named by the day it was cut, with -1 to -99 behind it for further ones of the same day."""

DeadlineState = Literal["newest", "within", "near", "past"]
Role = Literal["stable", "canary", "kept", "unused"]


def release_key(release: str) -> tuple[int, ...]:
    """Sorts releases by number: 2.99.0 before 2.100.0."""
    return tuple(int(part) for part in release.split("."))


def version_key(version: str) -> tuple[str, int]:
    """Sorts versions by the day they were cut, then by their count on that day."""
    return version[:10], int(version[11:] or 0)


def is_version_id(name: str) -> bool:
    """Whether this is a day of the calendar, perhaps with a count behind it."""
    if not _VERSION_ID.fullmatch(name):
        return False
    try:
        datetime.date.fromisoformat(name[:10])
    except ValueError:
        return False
    return True


def newest(versions: Mapping[str, Any]) -> str | None:
    """The version cut last; None when there is none."""
    return max(versions, key=version_key, default=None)


def below_floor(release: str) -> bool:
    """Whether GitHub refuses to register this release at all."""
    return release_key(release) < release_key(REGISTRATION_FLOOR)


def deadline(release: str, releases: Mapping[str, RunnerRelease]) -> datetime.date | None:
    """The day by which a release must be replaced: 30 days after the next one. None for the newest of the table.

    The table is what we know, not what exists: a newest release that is itself old has a deadline nobody recorded.
    """
    later = [known for known in releases if release_key(known) > release_key(release)]
    if not later:
        return None
    successor = releases[min(later, key=release_key)]
    return successor.released + datetime.timedelta(days=ADOPTION_DAYS)


def deadline_state(due: datetime.date | None, on: datetime.date) -> DeadlineState:
    """Where a deadline stands on a given day. The day itself is still `near`; the one after it is `past`."""
    if due is None:
        return "newest"
    if on > due:
        return "past"
    return "near" if (due - on).days <= NEAR_DAYS else "within"


def role(version: str, rollout: Rollout) -> Role:
    """What a version is to one environment."""
    if version == rollout.stable:
        return "stable"
    if version == rollout.canary:
        return "canary"
    return "kept" if version in rollout.keep else "unused"


@dataclass(frozen=True, slots=True)
class Edit:
    """A change to a version that existed before: refused, except for the image of a class it did not have yet."""

    version: str
    field: str


def edits(before: Mapping[str, Version], after: Mapping[str, Version]) -> tuple[Edit, ...]:
    """Every forbidden edit between two states of `versions`. Adding and removing whole versions is fine."""
    found: list[Edit] = []
    for version in sorted(before.keys() & after.keys()):
        old, new = before[version], after[version]
        if old.runner != new.runner:
            found.append(Edit(version, "runner"))
        if old.boot_bundle != new.boot_bundle:
            found.append(Edit(version, "boot_bundle"))
        found += [
            Edit(version, f"images.{key}") for key in sorted(old.images) if new.images.get(key) != old.images[key]
        ]
    return tuple(found)
