"""How GitHub's scale sets behave; each of these was seen to differ, or to go wrong."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True)
class Options:
    """May be edited by a test at any time. Seconds are those of the stand-in's clock.

    Measured by third parties against github.com: a poll is held 50 s (51 and 88 seen), a session that nobody uses is in
    the way of another for 60 to 92 s. From GitHub's documentation: an assigned job that nobody starts is taken back
    and assigned again, three times at most. Our own choice, for want of a source: each try takes five minutes.
    """

    flavour: str = "dotcom"
    """`dotcom` assigns jobs at once; `ghes`, Enterprise Server, offers them and waits until they are acquired."""
    hold_seconds: float = 50.0
    session_lapse_seconds: float = 75.0
    admin_token_seconds: float = 3600.0
    queue_token_seconds: float = 3600.0
    assignment_seconds: float = 300.0
    assignment_tries: int = 3
    assignment_delay_seconds: float = 0.0
    """From a job's being queued until a scale set can have it."""
    reassignment_delay_seconds: float = 0.0
    """The same after its first expiry, twice that after the second: the documentation speaks of growing delays."""
    message_delay_seconds: float = 0.0
    """From an event until it is in a message."""
    completion_delay_seconds: float = 0.0
    """The same of a JobCompleted, which was seen minutes late."""
    lost_runner_seconds: float = 570.0
    """From a busy runner's disconnection until its job is failed: about 9.5 minutes were measured."""
    wake_for_started: bool = False
    """Whether a JobStarted answers a poll that is open; on github.com it waits for the next one."""
    duplicate_share: float = 0.0
    """Of the acknowledged messages, how many come once more nevertheless."""
    runner_choice: str = "first"
    """Which idle runner gets a job: the one that waits longest (`first`), the newest (`last`), or any (`random`)."""
    byte_order_mark: bool = False
    """Before every JSON body of the service."""
    drop_extra_labels: bool = False
    """Of a set's labels, keep only its name, as Enterprise Server before 3.21 does unless a feature flag is set."""
    labels_can_change: bool = True
    """Whether an update changes a set's labels; garm's authors found that it does not."""
    blank_queue_urls: int = 0
    """How many of the next sessions come with an empty queue URL, as in an incident of 2026."""
