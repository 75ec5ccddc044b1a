"""What a run leaves for the next: what it saw disagree and since when, how much it saw, and who runs now. Pure.

It is one object, changed only from the generation that was read. A run writes its claim into it first, so of two at
once the second finds the claim, or fails to write its own; either way it does nothing.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who runs, and until when at most; seconds since 1970."""

    holder: str
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A disagreement, as it was seen by runs that followed one another."""

    since: float
    """Seconds since 1970."""
    runs: int
    proved_since: float | None = None
    """Since when each of these runs had the proof too; None where the last one had none."""
    proofs: int = 0
    """In how many runs in a row."""
    orders: int = 0
    """How often something was done about it. It is still there, so that came to nothing, or takes its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """All of it."""

    claim: Claim | None = None
    finished: float | None = None
    """When the last run that came to its end looked; seconds since 1970."""
    sightings: Mapping[str, Sighting] = field(default_factory=dict[str, Sighting])
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """How much each source is expected to list. An expectation that was disappointed halves with each run."""

    def text(self) -> bytes:
        """What is stored."""
        claim = None if self.claim is None else {"holder": self.claim.holder, "until": rfc3339(self.claim.until)}
        sightings = {
            key: {
                "since": rfc3339(seen.since),
                "runs": seen.runs,
                "proved_since": None if seen.proved_since is None else rfc3339(seen.proved_since),
                "proofs": seen.proofs,
                "orders": seen.orders,
            }
            for key, seen in sorted(self.sightings.items())
        }
        stored = {
            "claim": claim,
            "finished": None if self.finished is None else rfc3339(self.finished),
            "sightings": sightings,
            "counts": dict(sorted(self.counts.items())),
        }
        return json.dumps(stored, separators=(",", ":")).encode()


def parse(stored: bytes | None) -> Memory:
    """The memory in what is stored; an empty one where nothing is, or what is no memory: then nothing was ever seen."""
    if stored is None:
        return Memory()
    try:
        said: Any = json.loads(stored)
        claim = said["claim"]
        finished = said["finished"]
        sightings = cast("dict[str, dict[str, Any]]", said["sightings"])
        return Memory(
            claim=None if claim is None else Claim(holder=str(claim["holder"]), until=moment(claim["until"])),
            finished=None if finished is None else moment(finished),
            sightings={key: _sighting(seen) for key, seen in sightings.items()},
            counts={key: int(count) for key, count in cast("dict[str, int]", said["counts"]).items()},
        )
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, OverflowError):
        return Memory()


def _sighting(seen: Mapping[str, Any]) -> Sighting:
    proved: Any = seen["proved_since"]
    return Sighting(
        since=moment(seen["since"]),
        runs=int(seen["runs"]),
        proved_since=None if proved is None else moment(proved),
        proofs=int(seen["proofs"]),
        orders=int(seen["orders"]),
    )


def moment(text: str) -> float:
    """Seconds since 1970 of a time with an offset. Raises ValueError for any other."""
    when = datetime.datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError("a time without an offset says no time")
    return when.timestamp()


def rfc3339(seconds: float) -> str:
    """A time as it is stored."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
