"""What a listener tells while it listens: for logs and metrics, and for nobody's decisions."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class What(enum.StrEnum):
    """What happened."""

    SCALE_SET_MADE = "scale set made"
    LABELS_MISSING = "labels missing"
    """The server left labels out: jobs that name them will not come here."""
    UPDATE_REFUSED = "update refused"
    SESSION_OPENED = "session opened"
    SESSION_CONFLICT = "session conflict"
    """Another session is active, perhaps our own of before a crash. It is waited for, without a deadline."""
    SESSION_REFRESHED = "session refreshed"
    SESSION_LOST = "session lost"
    SESSION_CLOSED = "session closed"
    CLOSE_FAILED = "close failed"
    """The session stays until it lapses, which keeps the next one waiting."""
    HANDLING_FAILED = "handling failed"
    PUT_OFF = "put off"
    """The handler cannot act for now; the message stays."""
    MESSAGE_UNREADABLE = "message unreadable"
    MESSAGE_DROPPED = "message dropped"
    """It failed as often as it may: acknowledged without having been acted on."""
    OFFERS_REFUSED = "offers refused"
    """Offered jobs could not be acquired; they are somebody else's."""
    FAILED = "failed"
    """A call failed; after the pause it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to the listener of one scale set. What does not apply is empty or 0."""

    what: What
    scale_set: str
    scale_set_id: int = 0
    message_id: int = 0
    deliveries: int = 0
    labels: tuple[str, ...] = ()
    waited_seconds: float = 0.0
    """How long a conflict has lasted so far."""
    pause_seconds: float = 0.0
    error: Exception | None = None
    """Of a call: a ScaleSetError, whose text may be logged. Of the handler: its own."""
