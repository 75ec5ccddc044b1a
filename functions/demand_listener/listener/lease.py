"""Who leads, pure: one object in the bucket, and what a listener may conclude from having read or written it.

A leader writes its lease every few seconds, on the condition that the object still has the generation that it wrote
last. It acts only until `LEASE_SECONDS - MARGIN_SECONDS` after the *start* of the last write that succeeded. A standby
takes the lease when it was released, or when the object has kept one generation for `LEASE_SECONDS` since the standby
first saw it, again on that generation. So it takes it at least the margin after the leader stopped to act, whatever
either clock shows: each measures a duration of its own, by a clock that nobody sets. The times in the object are for
people.

A process that is frozen with its monotonic clock would wake up believing that no time has passed. The wall clock knows
better: what it counts ends a leader's time, too, when it is more. Set forward, it makes a leader pause until its next
heartbeat; set back, it changes nothing. A standby does not ask it.

The margin is also for what is on its way: a request that a leader has given up may still be carried out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

NAME: Final = "lease.json"
LEASE_SECONDS: Final = 30.0
"""Less than the 50 s that GitHub's session outlives its owner at least (measured by others), so it costs nothing."""
MARGIN_SECONDS: Final = 6.0
HEARTBEAT_SECONDS: Final = 5.0
"""The store may fail for some four heartbeats before the leader pauses."""
LOOK_SECONDS: Final = 1.0
"""How often a standby reads; with the closing of sessions this makes a planned handover."""

State = Literal["held", "released"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the object says."""

    holder: str
    fence: int
    state: State

    def text(self, renewed: str) -> bytes:
        """What is stored; `renewed` is a time for people, RFC 3339."""
        said = {"holder": self.holder, "fence": self.fence, "state": self.state, "renewed": renewed}
        return json.dumps(said, separators=(",", ":")).encode()


def read(generation: str, data: bytes | None) -> Record:
    """The record in an object as it was read.

    One that is not there counts as held by nobody knows whom: it may have been deleted under a leader. So does one
    that cannot be read, whose fence then is its generation: that is larger than any count, and keeps rising.
    """
    if data is None:
        return Record(holder="", fence=0, state="held")
    try:
        said: Any = json.loads(data)
    except (ValueError, RecursionError):
        said = None
    fields = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
    holder, fence, state = fields.get("holder"), fields.get("fence"), fields.get("state")
    sound = isinstance(holder, str) and isinstance(fence, int) and not isinstance(fence, bool) and fence >= 0
    if not sound or state not in ("held", "released"):
        return Record(holder="", fence=int(generation), state="held")
    return Record(holder=str(holder), fence=int(cast("int", fence)), state=state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What a standby knows of the object."""

    generation: str
    record: Record
    since: float
    """By its own monotonic clock: when it first had the answer that showed this generation."""


def watch(before: Watch | None, generation: str, data: bytes | None, at: float) -> Watch:
    """After a reading whose answer came at that time. A reading that failed changes nothing, and is not told here."""
    if before is not None and before.generation == generation:
        return before
    return Watch(generation=generation, record=read(generation, data), since=at)


def claimable(seen: Watch, holder: str, at: float) -> bool:
    """Whether the lease may be taken, on the condition of the generation that was seen."""
    own = seen.record.holder == holder
    return own or seen.record.state == "released" or at - seen.since >= LEASE_SECONDS


def claim(seen: Watch, holder: str) -> Record:
    """What taking it writes: every term has a number of its own, and they only rise."""
    return Record(holder=holder, fence=seen.record.fence + 1, state="held")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A lease that was written, and when that write was begun, by both clocks."""

    generation: str
    began: float
    began_wall: float

    def seconds(self, at: float, wall: float) -> float:
        """For how long its holder may still act; 0 or less: not at all."""
        return LEASE_SECONDS - MARGIN_SECONDS - max(at - self.began, wall - self.began_wall)
