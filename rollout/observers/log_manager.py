"""What is kept of a run on disk: logs of all tries, events, links by state. See `run_folder` for what lies where."""

from __future__ import annotations

import asyncio
from typing import Final

from rollout.engine.events import Event
from rollout.engine.logs import UNDO, Log
from rollout.observers.log_writer import LogFile, LogLimits, LogWriter
from rollout.observers.masking import Secrets
from rollout.observers.run_folder import RunFolder

FINISH_SECONDS: Final = 4.0
"""For what has not been written when the run is over; less than the engine's patience with an observer."""


class LogError(Exception):
    """Some of it could not be written; the text says what, and why."""


class LogManager:
    """An observer and the sink of logs, both in one run: give it to the engine as either.

    Nothing of it waits for the disk, and a disk that is full costs only what could not be written.
    """

    def __init__(self, folder: RunFolder, *, secrets: Secrets | None = None, limits: LogLimits | None = None) -> None:
        self._folder = folder
        self._secrets = secrets or Secrets()
        self._limits = limits or LogLimits()
        self._writer = LogWriter(folder, self._secrets, self._limits)

    def open(self, step_id: str, attempt: int) -> Log:
        """The log of a try; one that is there already is continued."""
        name = "undo.log" if attempt == UNDO else f"{attempt}.log"
        file = LogFile(self._folder.step(step_id), name, self._secrets.stream(), self._limits)
        return _StepLog(self._writer, file)

    async def on_event(self, event: Event) -> None:
        """Keep it."""
        self._writer.put_event(event)

    async def close(self) -> None:
        """Wait until all is on disk. Raises LogError for what is not."""
        faults = await asyncio.to_thread(self._writer.finish, FINISH_SECONDS)
        if faults:
            raise LogError(f"{self._folder.path}: {'; '.join(faults)}")


class _StepLog:
    def __init__(self, writer: LogWriter, file: LogFile) -> None:
        self._writer = writer
        self._file = file
        self._closed = False

    def write(self, data: bytes) -> None:
        if not self._closed:
            self._writer.put(self._file, data)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._writer.put(self._file, b"", last=True)
