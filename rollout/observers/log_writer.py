"""A thread that writes files, so that a slow or a full disk is no matter of the run's."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from rollout.engine.events import Event, Kind
from rollout.engine.states import BAD_ENDS, ENDS, State
from rollout.observers.board import UNDER_WAY
from rollout.observers.masking import Secrets, Stream
from rollout.observers.run_folder import RunFolder
from rollout.observers.words import duration, one_line, timestamp

EVENT_BYTES: Final = 1024
"""What an event counts in the buffer; most are smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits:
    """How much is kept. What is over them is dropped, counted and said."""

    log_bytes: int = 64 * 1024 * 1024
    """The beginning of a try's log, and beyond it:"""
    tail_bytes: int = 64 * 1024
    """its end."""
    buffer_bytes: int = 32 * 1024 * 1024
    """How far the disk may be behind with logs; with events, twice that."""


class LogFile:
    """One try's log, as the thread sees it. It is open only while it is written to: there may be thousands."""

    def __init__(self, folder: Path, name: str, stream: Stream, limits: LogLimits) -> None:
        self.folder = folder
        self.path = folder / name
        self.dropped = 0
        """Bytes for which the buffer had no room. Counted on the event loop."""
        self._stream = stream
        self._limits = limits
        self._room: int | None = None
        """Until the cap; what a former process has written counts, too."""
        self._lost = 0
        """Bytes that the disk refused."""
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._cut = 0

    def write(self, data: bytes, *, last: bool) -> None:
        """Append, masked and capped; at the last piece with the log's end. Raises OSError; that piece is then lost."""
        given = self._stream.feed(data, last=last)
        if self._room is None:
            there = self.path.stat().st_size if self.path.exists() else 0
            self._room = max(self._limits.log_bytes - there, 0)
        head, rest = given[: self._room], given[self._room :]
        self._room -= len(head)
        self._keep_end(rest)
        ending = b"".join(self._end()) if last else b""
        if not head and not ending:
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _append(self.path, head + ending)
        except OSError:
            self._lost += len(head)
            raise

    def _keep_end(self, data: bytes) -> None:
        if not data:
            return
        self._tail.append(data)
        self._tail_bytes += len(data)
        while self._tail_bytes > self._limits.tail_bytes:
            over = self._tail_bytes - self._limits.tail_bytes
            first = self._tail.popleft()
            if len(first) > over:
                self._tail.appendleft(first[over:])
            cut = min(over, len(first))
            self._tail_bytes -= cut
            self._cut += cut

    def _end(self) -> list[bytes]:
        parts: list[bytes] = []
        if self._cut:
            limit = self._limits.log_bytes
            parts.append(f"\n[{self._cut:,} bytes are left out here: a log may have {limit:,}]\n".encode())
        parts += self._tail
        if missing := self.dropped + self._lost:
            parts.append(f"\n[{missing:,} bytes are missing: the disk did not take them]\n".encode())
        return parts


class LogWriter:
    """The thread. `put` and `put_event` never block; `finish` waits for what they took."""

    def __init__(self, folder: RunFolder, secrets: Secrets, limits: LogLimits) -> None:
        self._folder = folder
        self._secrets = secrets
        self._limits = limits
        self._waiting: deque[tuple[LogFile, bytes, bool] | Event] = deque()
        self._waiting_bytes = 0
        self._left_out = 0
        self._over = False
        self._wake = threading.Condition()
        self._standing: dict[str, State] = {}
        """Where steps stand that are under way."""
        # A resumed run finds links of the process before it.
        self._links = {link.name: link for link in (folder.path / "by-state").glob("*/*") if link.is_symlink()}
        self._faults: Counter[str] = Counter()
        """What went wrong, and how often."""
        self._thread = threading.Thread(target=self._work, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, file: LogFile, data: bytes, *, last: bool = False) -> None:
        """Take a piece of a log; where there is no room it is dropped, and the file's drop count grows."""
        with self._wake:
            if self._waiting_bytes + len(data) > self._limits.buffer_bytes:
                file.dropped += len(data)
                data = b""
                if not last:
                    return
            self._take((file, data, last), len(data))

    def put_event(self, event: Event) -> None:
        """Take an event."""
        with self._wake:
            if self._waiting_bytes + EVENT_BYTES > 2 * self._limits.buffer_bytes:
                self._left_out += 1
                return
            self._take(event, EVENT_BYTES)

    def finish(self, timeout_seconds: float) -> list[str]:
        """Wait until all is written; give what went wrong, one line each."""
        with self._wake:
            self._over = True
            self._wake.notify()
        self._thread.join(timeout_seconds)
        faults = [f"{fault} ({times} times)" if times > 1 else fault for fault, times in self._faults.items()]
        if self._thread.is_alive():
            faults.append(f"the disk did not take everything within {timeout_seconds:g} s")
        return faults

    def _take(self, item: tuple[LogFile, bytes, bool] | Event, size: int) -> None:
        self._waiting.append(item)
        self._waiting_bytes += size
        self._wake.notify()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._over)
                taken, self._waiting = self._waiting, deque()
                left_out, self._left_out = self._left_out, 0
                if not taken and not left_out:
                    return
            self._write(taken, left_out)
            with self._wake:
                # Only now: what is being written still takes room.
                self._waiting_bytes -= sum(EVENT_BYTES if isinstance(each, Event) else len(each[1]) for each in taken)

    def _write(self, taken: deque[tuple[LogFile, bytes, bool] | Event], left_out: int) -> None:
        """One batch: a write for each file, and one for all events."""
        logs: dict[LogFile, tuple[list[bytes], bool]] = {}
        for each in taken:
            if not isinstance(each, Event):
                parts, ended = logs.setdefault(each[0], ([], False))
                parts.append(each[1])
                logs[each[0]] = parts, ended or each[2]
        for file, (parts, ended) in logs.items():
            self._guarded("a log", partial(file.write, b"".join(parts), last=ended))
            if (state := self._standing.get(file.folder.name)) and file.folder.name not in self._links:
                self._guarded("a link", partial(self._link, file.folder, state))
        events = [self._secrets.event(each) for each in taken if isinstance(each, Event)]
        if events or left_out:
            self._guarded("events", partial(self._write_events, events, left_out))
        for event in events:
            if event.new:
                self._guarded("a link", partial(self._place, event, event.new))

    def _write_events(self, events: Iterable[Event], left_out: int) -> None:
        lines = [json.dumps(as_json(event), ensure_ascii=False, separators=(",", ":"), default=str) for event in events]
        if left_out:
            lines.append(json.dumps({"kind": Kind.MISSED, "data": {"count": left_out}}))
        _append(self._folder.events, ("\n".join(lines) + "\n").encode("utf-8", "replace"))

    def _guarded(self, what: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the thread must outlive whatever one piece does to it
            said = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            self._faults[f"{what} could not be written: {said}"] += 1

    def _place(self, event: Event, new: State) -> None:
        """Move a step's link to where it stands. A step that wrote nothing and did not fail has no folder, no link."""
        folder = self._folder.step(event.step)
        if new in UNDER_WAY:
            self._standing[folder.name] = new
        else:
            self._standing.pop(folder.name, None)
        if new in BAD_ENDS:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / "why.txt").unlink(missing_ok=True)
            _append(folder / "why.txt", why(event).encode("utf-8", "replace"))
        if new in ENDS | UNDER_WAY:
            self._link(folder, new)

    def _link(self, folder: Path, state: State) -> None:
        if not folder.is_dir():
            return
        if old := self._links.pop(folder.name, None):
            old.unlink(missing_ok=True)
        place = self._folder.by_state(state)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        link = place / folder.name
        link.symlink_to(Path("../../logs") / folder.name)
        self._links[folder.name] = link


def as_json(event: Event) -> dict[str, Any]:
    """An event as a line of events.jsonl holds it; what is empty is left out, `time` repeats `at` for people."""
    found: dict[str, Any] = {
        "number": event.number,
        "time": timestamp(event.at),
        "at": event.at,
        "elapsed_seconds": event.elapsed_seconds,
        "kind": event.kind,
        "step": event.step,
        "old": event.old,
        "new": event.new,
        "data": dict(event.data),
    }
    if reason := event.reason:
        told = {"code": reason.code, "message": reason.message, "cause": reason.cause, "link": reason.link}
        found["reason"] = {key: value for key, value in told.items() if value}
    return {key: value for key, value in found.items() if value not in ("", None, {})}


def why(event: Event) -> str:
    """What a person wants to know first of a step that ended badly."""
    reason = event.reason
    lines = [
        f"{event.step}: {event.new} at {timestamp(event.at)}, {duration(event.elapsed_seconds)} after the beginning"
    ]
    if reason:
        cause = f" (because of {reason.cause})" if reason.cause else ""
        lines.append(one_line(f"{reason.code}: {reason.message}{cause}"))
    data: Mapping[str, Any] = event.data
    lines += [link for link in (data.get("link", "") or (reason.link if reason else ""),) if link]
    lines += ["", *map(one_line, data.get("tail", ()))] if data.get("tail") else []
    return "\n".join(lines) + "\n"


def _append(path: Path, data: bytes) -> None:
    """All of it or nothing: half a line would spoil the next. Raises OSError."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        before = os.fstat(file).st_size
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
        except OSError:
            os.ftruncate(file, before)
            raise
    finally:
        os.close(file)
