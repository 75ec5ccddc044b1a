"""The protocol between the engine and what does the work.

The engine owns every task, timeout and retry; a backend does one try, says how it went, and returns. One that raises
has failed with the code `backend-bug`, and nothing else happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """It is done."""

    output: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """JSON values, which later steps may refer to."""
    message: str = ""
    link: str = ""
    """Where a person looks: a console's page, a workflow run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """It is not."""

    code: str
    """Kebab-case and stable: what tests, exit codes and reports go by."""
    message: str
    """One line for people."""
    error_class: str = "permanent"
    """What retries go by: permanent, unavailable, rate-limited, quota, stockout, conflict, preempted, …"""
    retry_after_seconds: float | None = None
    tail: tuple[str, ...] = ()
    """The last lines of what it said."""
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """It was not begun, there is no room: come again. This takes no try."""

    message: str
    retry_after_seconds: float | None = None


Outcome = Passed | Failed | Busy


class Attempt(Protocol):
    """One try of one step, as the backend sees it; the engine makes it."""

    @property
    def step_id(self) -> str:
        """Whose try it is."""
        ...

    @property
    def number(self) -> int:
        """1 for the first try; 0 where it undoes the step."""
        ...

    @property
    def params(self) -> Mapping[str, Any]:
        """The step's, with every reference replaced."""
        ...

    @property
    def cancelled(self) -> asyncio.Event:
        """Set once the engine wants a graceful end; `cancel` is called as well."""
        ...

    async def attach(self, external_id: str, link: str = "") -> None:
        """Say by which name the work is known outside. On return it is in the journal, synced to disk.

        To be called before the work can no longer be taken back, or right after; a resumed run gets it in `reattach`.
        """
        ...

    def progress(self, text: str) -> None:
        """Say what is going on, in a few words. Cheap; as often as one likes."""
        ...

    def write(self, data: bytes) -> None:
        """Append to the try's log. Never blocks; what is over the log's cap is dropped and counted."""
        ...


class Backend(Protocol):
    """What runs steps. One object serves all steps of a run, many at once."""

    async def run(self, attempt: Attempt) -> Outcome:
        """Do one try. On cancellation of the task, end the work at once, as hard as needed, and let it pass on."""
        ...

    async def reattach(self, attempt: Attempt, external_id: str) -> Outcome:
        """Wait for work that a former process began. Where it is not to be found: Failed with the code `lost`."""
        ...

    async def cancel(self, attempt: Attempt) -> None:
        """Ask for a graceful end; `run` then returns how it ended, Failed with the code `cancelled` if it did not pass.

        The engine waits so long as the run's grace is, and then cancels the task.
        """
        ...

    async def close(self) -> None:
        """Free what it holds; nothing of its work may be left."""
        ...
