"""The journal of a run: JSON lines, appended, from which a run goes on after its process has died.

A line is durable once `commit` has returned. All that is appended while one sync to disk is under way shares the next,
so that a turn of the engine costs one sync, in a thread of the journal's own. Whatever stands after the last whole line
was never durable, and is cut off when the journal is opened.

One process at a time: the file is locked (`flock`) as long as the journal is open. It is for its owner's eyes only
(0600), as outputs stand in it.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self, cast

from rollout.engine.digest import digest
from rollout.engine.spec import Plan

FORMAT: Final = 1
"""Of the lines. A journal of another format is refused."""

Line = dict[str, Any]


class JournalError(Exception):
    """The journal cannot be used, or not any more. Its text is for people, and says what to do."""


class Journal:
    """An open journal. `create` and `open` give one; `close` lets go of the file."""

    def __init__(self, path: Path, descriptor: int, header: Line, lines: list[Line]) -> None:
        self.path = path
        self.run_id: str = header["run"]
        self.lines = lines
        """What former processes wrote, without the header. Empty for a new run."""
        self._descriptor = descriptor
        self._buffer: list[str] = []
        self._appended = self._durable = 0
        self._sync: asyncio.Future[None] | None = None
        self._fault = ""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")

    @classmethod
    def create(cls, path: Path, plan: Plan, *, run_id: str = "") -> Self:
        """Begin the journal of a new run. Its id is, without one given, the name of the folder.

        Raises JournalError where there is a journal already, or where none can be written.
        """
        header: Line = {
            "kind": "plan",
            "format": FORMAT,
            "run": run_id or path.absolute().parent.name,
            "name": plan.name,
            "digest": digest(plan),
            "at": time.time(),
        }
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except FileExistsError:
            raise JournalError(
                f"{path}: there is a journal already; resume that run, or begin in a new folder"
            ) from None
        except OSError as error:
            raise JournalError(f"{path}: no journal can be made: {error.strerror}") from None
        try:
            _lock(path, descriptor)
            _write(descriptor, _text(header).encode())
            _sync_folder(path.parent)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor, header, [])

    @classmethod
    def open(cls, path: Path, plan: Plan) -> Self:
        """Open the journal of a former process, to go on with its run.

        Raises JournalError where it is not there, in use, damaged, of another format, or of another plan.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        except OSError as error:
            raise JournalError(f"{path}: the journal cannot be opened: {error.strerror}") from None
        try:
            _lock(path, descriptor)
            lines, end = parse(path.read_bytes(), path)
            _check(path, lines, plan)
            os.ftruncate(descriptor, end)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor, lines[0], lines[1:])

    def append(self, kind: str, /, **fields: Any) -> None:
        """Add a line. It is not durable before the next `commit` has returned.

        What JSON does not have is written as text. Raises ValueError for a number that is not finite.
        """
        self._buffer.append(_text({"kind": kind} | fields))
        self._appended += 1

    async def commit(self) -> None:
        """Return once all that was appended so far is on disk. Raises JournalError once the disk has refused.

        To cancel it does not undo the sync.
        """
        wanted = self._appended
        while self._durable < wanted:
            if self._fault:
                raise JournalError(self._fault)
            if self._sync is None:
                data, self._buffer = "".join(self._buffer).encode(), []
                self._sync = asyncio.get_running_loop().run_in_executor(self._thread, _write, self._descriptor, data)
                self._sync.add_done_callback(lambda done, until=self._appended: self._synced(done, until))
            await asyncio.wait({self._sync})

    def close(self) -> None:
        """Write what is left, as far as the disk takes it, and let go of the file. Twice is once."""
        if self._descriptor < 0:
            return
        self._thread.shutdown()
        try:
            if self._buffer and not self._fault:
                _write(self._descriptor, "".join(self._buffer).encode())
        except OSError as error:
            raise JournalError(self._refused(error)) from None
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def _synced(self, done: asyncio.Future[None], until: int) -> None:
        self._sync = None
        if done.cancelled():
            self._fault = f"{self.path}: a sync to disk was cancelled"
        elif error := done.exception():
            self._fault = self._refused(error)
        else:
            self._durable = until

    def _refused(self, error: BaseException) -> str:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f"{self.path}: the journal cannot be written any more ({said}); make room and resume the run"


def parse(data: bytes, path: Path) -> tuple[list[Line], int]:
    """The whole lines of a journal, and how many bytes they take; a torn end is left out.

    Raises JournalError where something unreadable is followed by something that is not.
    """
    lines: list[Line] = []
    end, torn = 0, 0
    for number, raw in enumerate(data.split(b"\n")[:-1], start=1):
        line = _line(raw)
        if line is None:
            torn = torn or number
        elif torn:
            raise JournalError(f"{path}: line {torn} is damaged, and others follow it; restore the file, or begin anew")
        else:
            lines.append(line)
            end += len(raw) + 1
    return lines, end


def _line(raw: bytes) -> Line | None:
    try:
        value = json.loads(raw)
    except ValueError:
        return None
    return cast("Line", value) if isinstance(value, dict) and "kind" in value else None


def _text(line: Line) -> str:
    # A backend's texts are texts here whatever they are; its outputs were checked before.
    return json.dumps(line, separators=(",", ":"), allow_nan=False, default=str) + "\n"


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    """So that the file's name, too, survives a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(path: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise JournalError(f"{path}: the journal cannot be locked: {error.strerror}") from None
        raise JournalError(f"{path}: another process runs this run; wait for it, or stop it, and resume then") from None


def _check(path: Path, lines: list[Line], plan: Plan) -> None:
    if not lines:
        raise JournalError(f"{path}: its run died before it began; begin it anew in a new folder")
    header = lines[0]
    if header.get("kind") != "plan" or header.get("format") != FORMAT:
        raise JournalError(
            f"{path}: format {header.get('format')!r} is not {FORMAT}; resume with the release that began it"
        )
    if header["digest"] != digest(plan):
        raise JournalError(
            f"{path}: this is the journal of another plan (it has {header['name']!r}, {str(header['digest'])[:12]}; "
            f"asked was {plan.name!r}, {digest(plan)[:12]}); give the arguments that the run began with, or begin anew"
        )
