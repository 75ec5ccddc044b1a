"""What the work of every pool is done with, in one term of leading."""

from __future__ import annotations

import datetime
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from .clients.compute import Compute
from .clients.storage import Storage
from .leadership import Leadership
from .limiter import Limiter
from .records import Records


def pace(pool: str) -> float:
    """How long a pool's minute is, from 0.75 to 1: a hundred pools shall not do their minute's work in one moment."""
    return 1 - zlib.crc32(pool.encode()) / 2**34


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Services, the right to use them, and where to say what was done."""

    compute: Compute
    limiter: Limiter
    storage: Storage
    leadership: Leadership
    records: Records
    now: Callable[[], float]
    """The wall clock, in seconds since 1970."""

    def moment(self) -> datetime.datetime:
        """What it is now."""
        return datetime.datetime.fromtimestamp(self.now(), datetime.UTC)
