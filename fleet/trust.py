"""What a trust level may do by nature: one table of level x events, cache rights and identity.

The levels and their order are policy, so they are code and not configuration; what differs between environments
(runner group, repositories, refs) is `fleet.schema.trust_level`. Nothing here grants anything: `components.trust_level`
turns the table into grants, and tests read both sides.

Every level has its own service account, artifact bucket and runner group. The single thing that crosses is stated in
`reads_cache_of`: presubmit builds read the compiler cache that merged code wrote.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from fleet.catalog.github_events import EVENTS, OPEN_TO_STRANGERS
from fleet.schema.trust_level import TrustSettings


@dataclass(frozen=True, slots=True)
class Rights:
    """The fixed part of a trust level."""

    rank: int
    meaning: str
    events: frozenset[str]
    """Events that may ever reach this level; a stack may allow fewer, never more."""
    writes_cache: bool
    reads_cache_of: tuple[str, ...]
    forks: bool = False
    """Whether code of another repository may ever run here."""


_MERGED = EVENTS - OPEN_TO_STRANGERS

LEVELS: Final[dict[str, Rights]] = {
    "minimal": Rights(
        0, "presubmit: anybody's code", EVENTS, writes_cache=False, reads_cache_of=("basic",), forks=True
    ),
    "basic": Rights(1, "postsubmit: merged code", _MERGED, writes_cache=True, reads_cache_of=("basic",)),
    # A release is built from a tag or by hand, never from each push (the original's releaser hook says the same).
    "releaser": Rights(2, "releases", _MERGED - {"push"}, writes_cache=False, reads_cache_of=()),
}

ARTIFACT_ROLES: Final = {
    "roles/storage.objectCreator": "a job uploads artifacts; without delete it can overwrite none",
    "roles/storage.legacyObjectReader": "a job fetches an artifact whose name it knows; it can list none",
}
"""What a level's account may do in its own artifact bucket: create and read, never delete, overwrite or list."""

CACHE_WRITE_ROLES: Final = {"roles/storage.objectUser": "jobs of merged code fill and refresh the compiler cache"}
CACHE_READ_ROLES: Final = {"roles/storage.legacyObjectReader": "jobs look up cache entries by their hash"}
BUNDLE_READ_ROLES: Final = {"roles/storage.legacyObjectReader": "a booting VM fetches the bundle it was told by digest"}

RUNNER_PROJECT_ROLES: Final = {
    "roles/logging.logWriter": "the record of how each VM ended",
    "roles/monitoring.metricWriter": "the Ops Agent's metrics",
}
"""All that a runner's account may do in the project; everything else is granted on one resource."""


def allowed_events(level: str, settings: TrustSettings) -> tuple[str, ...]:
    """The events of a level in this environment, sorted; `any` means all that the level may ever see."""
    if settings.allowed_events == "any":
        return tuple(sorted(LEVELS[level].events))
    return tuple(sorted(settings.allowed_events))


def cache_readers(owner: str, levels: Collection[str]) -> tuple[str, ...]:
    """The declared levels that read the owner's cache without writing it, lowest first."""
    return by_rank(level for level in levels if level != owner and owner in LEVELS[level].reads_cache_of)


def cache_of(level: str, levels: Collection[str]) -> str | None:
    """The level whose cache bucket this level's jobs use, if any declared level has one."""
    owners = (owner for owner in LEVELS[level].reads_cache_of if owner in levels and LEVELS[owner].writes_cache)
    return next(owners, None)


def by_rank(levels: Iterable[str]) -> tuple[str, ...]:
    """Levels, the least trusted first."""
    return tuple(sorted(levels, key=lambda level: LEVELS[level].rank))
