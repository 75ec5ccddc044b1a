"""All that a command has started, and its end: SIGTERM, time, SIGKILL, until nothing is left.

A tree is found by four things, for none is enough alone: descent, as it is now and as it was seen before; the sessions
that its members lead; a mark in the environment, which children inherit; and, for what has shed all of these, that the
kernel gives this process every orphan below it (PR_SET_CHILD_SUBREAPER of prctl(2)), see `Orphans`.

Linux only.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import psutil

from rollout.backends.process import Identity, runs

MARK: Final = "ROLLOUT_TRY"
"""The environment's variable that says which try of which step a process belongs to."""
_PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h
_FIRST_SECONDS: Final = 0.01
_MOST_SECONDS: Final = 0.2
"""Between two looks, doubling: what ends at once is seen at once, what takes its time is not asked too often."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A process as it was at one moment."""

    process: psutil.Process
    """Two are equal if they have the same id and began at the same time."""
    parent: int
    session: int
    name: str
    state: str

    @property
    def dead(self) -> bool:
        """It has ended, and only its parent has not noticed."""
        return self.state in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)

    def __str__(self) -> str:
        return f"{self.process.pid} ({self.name}, {self.state})"


class Census:
    """All processes of the machine, each looked at once.

    One that may not be looked at, or goes meanwhile, is not in it; one that comes may not be.
    """

    def __init__(self) -> None:
        self.seen: dict[int, Seen] = {}
        self.below: defaultdict[int, list[int]] = defaultdict(list)
        """By the parent's id."""
        self.in_session: defaultdict[int, list[int]] = defaultdict(list)
        self.marked: defaultdict[str, list[int]] = defaultdict(list)
        for pid in psutil.pids():
            try:
                process = psutil.Process(pid)
                with process.oneshot():
                    parent, name, state = process.ppid(), process.name(), process.status()
                session = os.getsid(pid)
            except (psutil.Error, OSError):
                continue
            self.seen[pid] = Seen(process, parent, session, name, state)
            self.below[parent].append(pid)
            self.in_session[session].append(pid)
            if mark := _mark(process):
                self.marked[mark].append(pid)


def _mark(process: psutil.Process) -> str:
    """Nothing where it may not be read, or is no longer there to be read."""
    try:
        return process.environ().get(MARK, "")
    except (psutil.Error, OSError):
        return ""


class Lookout:
    """Takes the census for all trees at once, off the loop's thread: who asks while one goes on shares the next."""

    def __init__(self) -> None:
        self._current: asyncio.Task[Census] | None = None
        self._next: asyncio.Task[Census] | None = None

    async def look(self) -> Census:
        """One that began after the call."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._current))
        return await asyncio.shield(self._next)

    async def _after(self, before: asyncio.Task[Census] | None) -> Census:
        if before is not None:
            await asyncio.wait({before})
        self._current, self._next = self._next, None
        try:
            return await asyncio.to_thread(Census)
        except RuntimeError:  # not even a thread is to be had, which is no reason to leave processes behind
            return Census()


class Tree:
    """A command's process and all that it, and they, started."""

    def __init__(self, root: Identity, mark: str, lookout: Lookout, *, ours: bool) -> None:
        """With `ours` the root is a child of this process, and not reaped before `end` is through.

        So the number of its process group can be nobody else's until then.
        """
        if not mark:
            raise ValueError("without a mark every process that has none would seem to belong to the tree")
        self._root = root
        self._mark = mark
        self._lookout = lookout
        self._ours = ours
        self._known: dict[int, psutil.Process] = {}
        """By id, whom any look has found besides the root."""
        self._sessions = {root.pid} if ours else set[int]()
        self._hurry = asyncio.Event()
        self.others: set[psutil.Process] = set()
        """Whom `end` found alive besides the root."""

    def strike(self) -> None:
        """Kill the root's process group now, in one step that no fork can slip through. `end` has to follow."""
        self._hurry.set()
        if self._ours:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._root.pid, signal.SIGKILL)

    async def end(self, grace_seconds: float, kill_seconds: float) -> tuple[Seen, ...]:
        """Ask everybody to end, once each, and when the grace is over, or `strike` was called, kill until none is left.

        Returns who was still there, or still coming, after `kill_seconds` of that: the kernel holds it, it is another
        user's, or it forks too fast. What has ended and is ours to reap is reaped, but for the root.
        """
        clock = asyncio.get_running_loop().time
        asked: set[psutil.Process] = set()
        until = clock() + grace_seconds
        wait_seconds = _FIRST_SECONDS
        while not self._hurry.is_set() and clock() < until:
            alive, news = self._look(await self._lookout.look())
            if not alive and not news:
                return ()
            new = [seen.process for seen in alive if seen.process not in asked]
            asked.update(new)
            send(new, signal.SIGTERM)
            send(new, signal.SIGCONT)  # one that is stopped hears of it only now
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), min(wait_seconds, max(until - clock(), 0)))
            wait_seconds = min(2 * wait_seconds, _MOST_SECONDS)
        until = clock() + kill_seconds
        wait_seconds = _FIRST_SECONDS
        struck = False
        while True:
            self.strike()
            alive, news = self._look(await self._lookout.look())
            if (not alive and not news) or (struck and clock() >= until):
                self._ours = False
                return alive or news
            struck = True
            send((seen.process for seen in alive), signal.SIGKILL)
            await asyncio.sleep(wait_seconds)
            wait_seconds = min(2 * wait_seconds, _MOST_SECONDS)

    def kill_in(self, census: Census) -> bool:
        """Kill whoever is found in it, for a caller who cannot wait. Whether nobody was, and this was the last look."""
        self.strike()
        alive, news = self._look(census)
        send((seen.process for seen in alive), signal.SIGKILL)
        return not alive and not news

    def _look(self, census: Census) -> tuple[tuple[Seen, ...], tuple[Seen, ...]]:
        """Who is alive, and who besides the root was seen for the first time. Only a look without either is the last.

        For what forks and ends all the time outruns every look, but not without leaving its dead. After the last look
        the root may be reaped.
        """
        others = [census.seen[pid] for pid in self._members(census) if pid != self._root.pid]
        news = tuple(other for other in others if self._known.get(other.process.pid) != other.process)
        self._known.update((other.process.pid, other.process) for other in others)
        reap(others)
        alive = [other for other in others if not other.dead]
        self.others.update(other.process for other in alive)
        if self._root_lives(census):
            alive.append(census.seen[self._root.pid])
        self._ours &= bool(alive or news)
        return tuple(alive), news

    def _root_lives(self, census: Census) -> bool:
        root = census.seen.get(self._root.pid)
        return root is not None and not root.dead and (self._ours or runs(self._root))

    def _members(self, census: Census) -> set[int]:
        """Who belongs to it. What is learned is kept: a parent that has gone by the next look was one all the same."""
        work = [*census.marked[self._mark], *(pid for pid in self._known if self._is_known(pid, census))]
        if self._ours or self._root_lives(census):
            work += {self._root.pid} & census.seen.keys()
        for session in self._sessions:
            # A session's number is not given away while anybody is in it, whether its leader is still there or not.
            held = self._ours and session == self._root.pid
            if held or session not in census.seen or self._is_known(session, census):
                work += census.in_session[session]
        found: set[int] = set()
        while work:
            pid = work.pop()
            if pid in found or pid == os.getpid():
                continue
            found.add(pid)
            work += census.below[pid]
            if census.seen[pid].session == pid:
                self._sessions.add(pid)
                work += census.in_session[pid]
        return found

    def _is_known(self, pid: int, census: Census) -> bool:
        return pid in census.seen and self._known.get(pid) == census.seen[pid].process


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Signal each. One that has gone is fine, even if another now has its id; so is one that may not be signalled."""
    for process in processes:
        with contextlib.suppress(psutil.Error, OSError):
            process.send_signal(number)


def reap(dead: Iterable[Seen]) -> None:
    """Reap those that are dead and were given to us; others' children are theirs."""
    for one in dead:
        if one.dead and one.parent == os.getpid():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(one.process.pid, os.WNOHANG)


class Orphans:
    """What the kernel gives this process because its parent has gone, as long as any backend wants that.

    It is for what no tree claims: processes that left the session, dropped the environment, and whose parents ended
    before anybody looked. They have no other trace than being our children in a foreign session. So a child to which
    this process gives a session of its own by other means would be taken for one, if it began later than a command and
    lives when the last backend closes.
    """

    def __init__(self) -> None:
        self._wanted = 0
        self._since: float | None = None

    def adopt(self) -> None:
        """Have them come here. Where the kernel refuses, init gets them, and descent, sessions and marks have to do."""
        self._wanted += 1
        if self._wanted == 1:
            _become_subreaper(on=True)

    def command_began(self, pid: int) -> None:
        """Orphans of commands are younger than the first of these."""
        if self._since is None:
            with contextlib.suppress(psutil.Error):
                self._since = psutil.Process(pid).create_time()

    async def release(self, lookout: Lookout, kill_seconds: float) -> tuple[Seen, ...]:
        """Want no more. The last one kills and reaps all there are; returns whom that did not help."""
        left: tuple[Seen, ...] = ()
        clock = asyncio.get_running_loop().time
        until = clock() + kill_seconds
        while self._wanted == 1 and self._since is not None:
            found = self._among(await lookout.look())
            reap(found)
            left = tuple(one for one in found if not one.dead)
            if not found or clock() >= until:
                break
            send((one.process for one in left), signal.SIGKILL)
            await asyncio.sleep(_FIRST_SECONDS)
        self._wanted -= 1
        if not self._wanted:
            self._since = None
            _become_subreaper(on=False)
        return left

    def _among(self, census: Census) -> tuple[Seen, ...]:
        here, us = os.getsid(0), os.getpid()
        return tuple(
            one
            for one in census.seen.values()
            if one.parent == us and one.session != here and self._is_younger(one.process)
        )

    def _is_younger(self, process: psutil.Process) -> bool:
        try:
            return self._since is not None and process.create_time() >= self._since
        except psutil.Error:
            return False


ORPHANS: Final = Orphans()
"""One for the process, as the kernel's setting is."""


def _become_subreaper(*, on: bool) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)
