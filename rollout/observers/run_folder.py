"""`runs/<id>/`: where a run keeps its journal, events, logs and reports.

    lock            held by the process that runs it
    journal.jsonl   what a resumed run goes by
    events.jsonl    everything that happened, one JSON object a line; a resumed run begins again with number 1
    logs/STEP/      1.log, 2.log (its tries), undo.log, why.txt where it ended badly
    by-state/STATE/ links to the folders of steps that stand there
    report.json     how it ended; timing.json and report.html: where its time went

Folders are the owner's alone (0700), and so are files (0600): output of steps is not for everybody on the machine.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self

KEPT_RUNS: Final = 50
LATEST: Final = "latest"
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_OPEN: Final = re.compile(r"[^A-Za-z0-9_@.-]|^\.")
_LONGEST_NAME: Final = 200
"""Bytes; file systems take 255 (NAME_MAX in Linux's limits.h), and some of ours get a suffix."""


class RunFolderError(Exception):
    """A run's folder cannot be used; the text says why, and what helps."""


class RunFolder:
    """One run's folder, locked by this process until `close`. A context manager."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock: int | None = lock

    @classmethod
    def create(cls, runs: Path, run_id: str) -> Self:
        """Make it, and let `latest` name it. Raises RunFolderError for an id that is taken or no name, and OSError."""
        if not _ID.fullmatch(run_id) or run_id == LATEST:
            raise RunFolderError(f"run {run_id!r}: letters, digits, '.', '_' and '-', at most 100, are allowed")
        runs.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = runs / run_id
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            raise RunFolderError(f"run {run_id} is there already; resume it, or give another id") from None
        folder = cls(path, _locked(path))
        for name in ("logs", "by-state"):
            (path / name).mkdir(mode=0o700)  # here: folders that are made on the way to another have no mode of ours
        spare = runs / f".{LATEST}.{secrets.token_hex(4)}"
        spare.symlink_to(run_id)
        spare.replace(runs / LATEST)
        return folder

    @classmethod
    def open(cls, runs: Path, run_id: str) -> Self:
        """The folder of a run that is to go on. Raises RunFolderError where there is none, and where it is in use."""
        path = runs / run_id
        if not _ID.fullmatch(run_id) or not (path / "lock").is_file():
            there = ", ".join(sorted(each.name for each in _folders(runs))[-5:]) or "none"
            raise RunFolderError(f"run {run_id!r} is not in {runs}; there are: {there}")
        return cls(path.resolve(), _locked(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def run_id(self) -> str:
        """Its name."""
        return self.path.name

    @property
    def journal(self) -> Path:
        """For the engine's journal, which makes it."""
        return self.path / "journal.jsonl"

    @property
    def events(self) -> Path:
        """One JSON object a line."""
        return self.path / "events.jsonl"

    @property
    def report(self) -> Path:
        """How it ended."""
        return self.path / "report.json"

    @property
    def timing(self) -> Path:
        """Where its time went, as data."""
        return self.path / "timing.json"

    @property
    def page(self) -> Path:
        """The same to look at."""
        return self.path / "report.html"

    def step(self, step_id: str) -> Path:
        """The folder of a step's logs; it need not be there."""
        return self.path / "logs" / file_name(step_id)

    def by_state(self, state: str) -> Path:
        """Where links to steps of this state are; it need not be there."""
        return self.path / "by-state" / state

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Write report.json whole, or not at all. Raises OSError."""
        write_whole(self.report, json.dumps(report, indent=2, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def fresh_id(name: str, at: float) -> str:
    """An id that sorts by time and says what runs, such as 20261125-120003-canary-9f2c."""
    word = re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.")[:40] or "run"
    return f"{datetime.fromtimestamp(at, UTC):%Y%m%d-%H%M%S}-{word}-{secrets.token_hex(2)}"


def file_name(step_id: str) -> str:
    """A step's id as the name of one file: what is not safe in one is percent-encoded, what is too long is hashed.

    Different ids have different names. Colons are encoded as well: GitHub's artifacts refuse them.
    """
    name = _OPEN.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), step_id)
    if len(name) <= _LONGEST_NAME:
        return name
    # A tilde is encoded elsewhere, so this is the name of no other id.
    return f"{name[:120]}~{sha256(step_id.encode()).hexdigest()[:24]}"


def write_whole(path: Path, text: str) -> None:
    """Replace a file by one that is complete. Raises OSError; the old one is then still there."""
    spare = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        spare.replace(path)
    except OSError:
        with suppress(OSError):
            spare.unlink()
        raise


def sweep(runs: Path, *, keep: int = KEPT_RUNS) -> list[str]:
    """Delete all runs but the newest; give the ids of those that went.

    Never one that a process has locked, and nothing that is no run's folder. One that cannot be deleted stays.
    """
    ordered = sorted(_folders(runs), key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    gone: list[str] = []
    for path in ordered[keep:]:
        try:
            lock = _locked(path)
        except (RunFolderError, OSError):
            continue
        try:
            shutil.rmtree(path)
            gone.append(path.name)
        except OSError:
            pass
        finally:
            os.close(lock)
    return gone


def _folders(runs: Path) -> list[Path]:
    if not runs.is_dir():
        return []
    return [path for path in runs.iterdir() if not path.is_symlink() and (path / "lock").is_file()]


def _locked(path: Path) -> int:
    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise RunFolderError(f"run {path.name} is running in another process; wait for it, or stop it") from None
    return lock
