"""Where the logs of tries go. The engine opens, writes and closes them, and goes on without when one of that raises."""

from __future__ import annotations

from typing import Final, Protocol

UNDO: Final = 0
"""The number under which the log of a step's compensation is opened."""


class Log(Protocol):
    """The log of one try. It is written to on the event loop, and so must not block."""

    def write(self, data: bytes) -> None:
        """Add to its end."""
        ...

    def close(self) -> None:
        """The try is over. Called once."""
        ...


class LogSink(Protocol):
    """Opens logs."""

    def open(self, step_id: str, attempt: int) -> Log:
        """A log for try `attempt` of a step, or for its compensation where that is `UNDO`.

        It is opened at the try's first write. The same one is opened again when a resumed run goes on with that try.
        """
        ...
