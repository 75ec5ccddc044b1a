"""How an idle runner VM leaves without ever taking a job along: which step comes next, given what is seen.

The order is the safety. GitHub's word on whether a runner is busy is late (a job may run for 25 to 60 s and more while
it says idle, and it may let a runner with a job be deregistered), so only the VM knows:

    resting -> asking -> deregistering -> settling -> freezing -> stopping
                 a job, seen before any of these but resting: returning -> resting

A frozen listener cannot start a worker. Looked at once more while it is frozen, and then killed without ever running
again, it has none: that holds however late GitHub delivers. A signal that it handles itself would not do: its message
loop starts the job it has just been sent before it asks whether it is to end (src/Runner.Listener/Runner.cs).
Settling is for jobs that are assigned and have no worker yet: once the registration is gone nothing new is assigned,
and what is on its way arrives meanwhile.

A call whose outcome is unknown was perhaps executed and perhaps will be. So it ends the run, and the timer's interval
passes before the next: by then the call has landed or never will. What was asked for in doubt is given back. A runner
deregistered in doubt is deregistered again, the permit kept, until that is certain: without its registration it would
be of no use to anybody, and where it is already gone, that counts as done.

An operator's marks (`marks`) count at the beginning of an attempt alone. That a VM is to leave stands for the idle
timeout and for nothing else; a hold keeps an attempt from beginning. A hold that comes later finds the VM on its way:
without its registration it is of no more use, and its listener ends. But the VM is not deleted until the hold is over
(bin/delete-self), so nothing is lost that an operator wants to see.

A run may be killed anywhere. A stage is saved before what it does is done, and `begin` says what the next run makes of
it: it trusts no look of a run before. The search in tests/startup/retirement_model.py explores these functions, in
every interleaving with GitHub, the services, the network and kills; processes, files and calls are in `retire`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

SETTLE_SECONDS: Final = 90
"""Longer than the 25 to 60 s by which GitHub's view was seen to lag (actions/runner#4422,
github-aws-runners/terraform-aws-github-runner#5228)."""

POLL_SECONDS: Final = 5
"""Between two looks while settling. It bounds how long a permit is held beside a job; safety does not rest on it."""


class Stage(Enum):
    """What a run is about to do. The value is what the state file says."""

    RESTING = "resting"
    """Nothing: no permit is held and the listener runs."""
    ASKING = "asking"
    """Ask the deleter for a permit to leave."""
    DEREGISTERING = "deregistering"
    """Have the broker remove this runner at GitHub."""
    SETTLING = "settling"
    """Wait, with the listener connected, for a job that GitHub assigned before."""
    FREEZING = "freezing"
    """Freeze the listener."""
    STOPPING = "stopping"
    """Kill the frozen listener; the VM's end follows."""
    RETURNING = "returning"
    """Let the listener run, and give the permit back."""


class Outcome(Enum):
    """How an action ended. UNKNOWN is everything that is neither a clear yes nor a clear no."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a look at this VM shows."""

    idle: bool
    """It has listened for the idle timeout."""
    job: bool
    """It has or had a worker."""
    settled_seconds: float
    """How long this run has waited in SETTLING."""
    held: bool = False
    """An operator holds it, or may: nobody could tell."""
    drained: bool = False
    """An operator wants it to leave, however short it has listened."""


AFTER: Final[Mapping[tuple[Stage, Outcome], Stage]] = {
    (Stage.ASKING, Outcome.DONE): Stage.DEREGISTERING,
    (Stage.ASKING, Outcome.REFUSED): Stage.RESTING,
    (Stage.ASKING, Outcome.UNKNOWN): Stage.RETURNING,
    (Stage.DEREGISTERING, Outcome.DONE): Stage.SETTLING,
    (Stage.DEREGISTERING, Outcome.REFUSED): Stage.RETURNING,
    (Stage.DEREGISTERING, Outcome.UNKNOWN): Stage.DEREGISTERING,
    (Stage.SETTLING, Outcome.DONE): Stage.SETTLING,
    (Stage.FREEZING, Outcome.DONE): Stage.STOPPING,
    (Stage.FREEZING, Outcome.UNKNOWN): Stage.FREEZING,
    (Stage.STOPPING, Outcome.DONE): Stage.STOPPING,
    (Stage.STOPPING, Outcome.UNKNOWN): Stage.FREEZING,
    (Stage.RETURNING, Outcome.DONE): Stage.RESTING,
    (Stage.RETURNING, Outcome.UNKNOWN): Stage.RETURNING,
}
"""The stage that follows an action's outcome; no action has another."""

BEGIN: Final[Mapping[str | None, Stage]] = {
    None: Stage.RESTING,
    Stage.RESTING.value: Stage.RESTING,
    Stage.ASKING.value: Stage.RETURNING,
    Stage.DEREGISTERING.value: Stage.DEREGISTERING,
    Stage.SETTLING.value: Stage.SETTLING,
    Stage.FREEZING.value: Stage.FREEZING,
    Stage.STOPPING.value: Stage.FREEZING,
    Stage.RETURNING.value: Stage.RETURNING,
}
"""What a run makes of the stage the one before saved; None where there is no file, as after every boot."""


def begin(saved: str | None) -> Stage:
    """The first stage of a run. What nobody can have saved may hide a permit and a frozen listener: back with both."""
    return BEGIN.get(saved, Stage.RETURNING)


def decide(stage: Stage, seen: Seen) -> Stage:
    """The stage to enter, and to save, before anything is done. The listener runs or is frozen; else a run ends."""
    match stage:
        case Stage.RESTING:
            leaves = (seen.idle or seen.drained) and not seen.job and not seen.held
            return Stage.ASKING if leaves else Stage.RESTING
        case _ if seen.job:
            return Stage.RETURNING
        case Stage.SETTLING if seen.settled_seconds >= SETTLE_SECONDS:
            return Stage.FREEZING
        case _:
            return stage


def goes_on(stage: Stage, outcome: Outcome) -> bool:
    """Whether a run goes on after an action that led to `stage`; if not, it saves the stage and ends."""
    return outcome is not Outcome.UNKNOWN and stage is not Stage.RESTING
