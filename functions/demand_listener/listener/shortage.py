"""What a pool's groups could not have lately: zones without capacity, quotas, groups that are not there. Pure.

A shortage is remembered until it expires, so that the pool grows elsewhere meanwhile, and is tried again after. Each
repeat doubles the time, up to a maximum; one that did not return for as long as that is forgotten. The figures are our
own: long enough not to ask in vain at every look, short enough to return to a better region within the hour.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

FIRST_SECONDS: Final = 120
MOST_SECONDS: Final = 1800
EVERYWHERE: Final = ""
"""The zone of a shortage that concerns its whole group."""


class Kind(StrEnum):
    """What is short."""

    CAPACITY = "capacity"
    QUOTA = "quota"
    GROUP = "group"
    """The group itself: it does not exist."""
    LEAVE = "leave"
    """The resize is refused for another reason: permissions, as a rule."""
    CREATION = "creation"
    """VMs cannot be made for a reason that is neither capacity nor quota: the template or its image, as a rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """One thing that a group cannot have for now."""

    group: str
    region: str
    zone: str
    kind: Kind
    since: datetime.datetime
    """When it was first seen, without a break longer than the maximum since."""
    until: datetime.datetime
    """When it is tried again."""
    times: int = 1
    vms: int = 0
    """How many VMs were asked for, where that is known."""


Key = tuple[str, str, Kind]


@dataclass(frozen=True, slots=True)
class Shortages:
    """All that is remembered of one pool."""

    known: Mapping[Key, Shortage] = field(default_factory=dict[Key, Shortage])

    def noted(
        self, *, group: str, region: str, zone: str, kind: Kind, now: datetime.datetime, vms: int = 0
    ) -> Shortages:
        """With one that was just seen. While it still holds, seeing it again changes nothing."""
        key = (group, zone, kind)
        old = self.known.get(key)
        if old is not None and now < old.until:
            return self
        first = datetime.timedelta(seconds=FIRST_SECONDS)
        most = datetime.timedelta(seconds=MOST_SECONDS)
        new = Shortage(group=group, region=region, zone=zone, kind=kind, since=now, until=now + first, vms=vms)
        if old is not None and now < old.until + most:
            # 2 ** 10 is far beyond the maximum, and far below what a timedelta holds.
            wait = min(first * 2 ** min(old.times, 10), most)
            new = replace(new, since=old.since, until=now + wait, times=old.times + 1)
        return Shortages({**self.known, key: new})

    def cleared(self, group: str, zone: str, kinds: frozenset[Kind]) -> Shortages:
        """Without those of that group and zone, and of the whole group: it was seen to have what it wants."""
        kept = {
            key: each
            for key, each in self.known.items()
            if each.group != group or each.kind not in kinds or each.zone not in (zone, EVERYWHERE)
        }
        return self if len(kept) == len(self.known) else Shortages(kept)

    def current(self, now: datetime.datetime) -> tuple[Shortage, ...]:
        """Those that hold, in a fixed order."""
        return tuple(self.known[key] for key in sorted(self.known) if now < self.known[key].until)

    def swept(self, now: datetime.datetime) -> Shortages:
        """Without those that would be forgotten anyway."""
        most = datetime.timedelta(seconds=MOST_SECONDS)
        return Shortages({key: each for key, each in self.known.items() if now < each.until + most})
