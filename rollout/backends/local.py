"""The backend `local`: a step is a command on this machine, and everything that it starts is part of it.

A command has a session of its own, so that a terminal's Ctrl-C reaches the engine alone; no input; one pipe for both
outputs, so that their order is kept; and no more of the environment than it is given. It is judged once its own process
has ended. What that has left behind is ended then: a step leaves nothing running, however it ends.

Linux only: elsewhere every step fails with the code `unsupported`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rollout.backends import command as commands
from rollout.backends import process
from rollout.backends.command import OUTPUT, Command
from rollout.backends.output import Pipe
from rollout.backends.process_tree import MARK, ORPHANS, Census, Lookout, Tree
from rollout.backends.trial import KILL_SECONDS, Trial
from rollout.engine.backend import Attempt, Busy, Failed, Outcome
from rollout.engine.stop import AT_LEAVING

DRAIN_SECONDS: Final = 1.0
"""How long output is waited for once nobody of the tree is left; it takes longer only if others hold the pipe."""
LEAVE_SECONDS: Final = 1.0
"""How long an exit at once, which somebody has asked for three times, is held up to kill what is left."""
_NO_ROOM: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
_MARK: Final = re.compile("[0-9a-f]{32}")


class LocalProcesses:
    """Runs commands. A step's `params` are those of `Command`."""

    def __init__(self, *, kill_seconds: float = KILL_SECONDS) -> None:
        self._kill_seconds = kill_seconds
        self._lookout = Lookout()
        self._trials: dict[int, Trial] = {}
        """By the id of their attempt, which they hold."""
        self._adopts = False

    async def run(self, attempt: Attempt) -> Outcome:
        """Run the command; Busy while the machine has no room for one more process."""
        command = commands.parse(attempt.params)
        if isinstance(command, Failed):
            return command
        if sys.platform != "linux":
            return command.failed("unsupported", f"local steps run on Linux only, and this is {sys.platform}")
        mark = secrets.token_hex(16)
        file = _output_file(mark)
        try:
            started = self._start(command, mark, file)
            if isinstance(started, Busy | Failed):
                return started
            return await self._watch(attempt, command, mark, file, *started)
        finally:
            shutil.rmtree(file.parent, ignore_errors=True)

    async def reattach(self, attempt: Attempt, external_id: str) -> Outcome:
        """Wait for a command that a former process started. It has no reader any more: if it prints, it gets SIGPIPE.

        Nobody can ask for its exit code. So it has passed only if its typed output is a file, and that is whole; in
        all other cases it is `lost`, once nothing of it is left.
        """
        command = commands.parse(attempt.params)
        if isinstance(command, Failed):
            return command
        name, _, mark = external_id.rpartition(".")
        try:
            root = process.parse(name)
        except ValueError:
            root = None
        if root is None or not _MARK.fullmatch(mark):
            return command.failed("lost", f"{external_id!r} is not how a local step is called")
        tree = Tree(root, mark, self._lookout, ours=False)
        trial = Trial(attempt, command, root, tree, child=None, kill_seconds=self._kill_seconds)
        file = _output_file(mark)
        try:
            return await self._see_through(trial, file, external_id=None, pipe=None)
        finally:
            shutil.rmtree(file.parent, ignore_errors=True)

    async def cancel(self, attempt: Attempt) -> None:
        """SIGTERM to all of it, and SIGKILL once the command's own grace is over; `run` tells how it ended."""
        if trial := self._trials.get(id(attempt)):
            trial.ask()

    async def close(self) -> None:
        """Kill whatever is left, also orphans that have shed everything by which they are known."""
        await asyncio.gather(*(trial.kill() for trial in self._trials.values() if not trial.gone))
        if self._adopts:
            self._adopts = False
            await ORPHANS.release(self._lookout, self._kill_seconds)
            AT_LEAVING.remove(self._leave)

    def _leave(self) -> None:
        """The process exits within this call: kill without waiting for anything but who is left to be seen."""
        left = [trial for trial in self._trials.values() if not trial.gone]
        until = time.monotonic() + LEAVE_SECONDS
        while left and time.monotonic() < until:
            census = Census()
            left = [trial for trial in left if not trial.kill_in(census)]

    def _start(self, command: Command, mark: str, file: Path) -> tuple[subprocess.Popen[bytes], int] | Busy | Failed:
        """The process, and where its output comes from; or why there is none."""
        if not self._adopts:
            self._adopts = True
            ORPHANS.adopt()
            AT_LEAVING.append(self._leave)
        own = {MARK: mark}
        try:
            if command.output == "file":
                file.parent.mkdir(mode=0o700)
                own[OUTPUT] = str(file)
            child, descriptor = _spawn(command, own)
        except OSError as error:
            if error.errno in _NO_ROOM:
                return Busy(message=f"no room for one more process: {error.strerror}")
            return commands.not_started(command, error)
        except ValueError as error:
            return command.failed("params", f"params of a local step: {error}")
        ORPHANS.command_began(child.pid)
        return child, descriptor

    async def _watch(
        self,
        attempt: Attempt,
        command: Command,
        mark: str,
        file: Path,
        child: subprocess.Popen[bytes],
        descriptor: int,
    ) -> Outcome:
        try:
            root = process.identity(child.pid)
        except ProcessLookupError:
            os.close(descriptor)
            child.poll()
            return command.failed("lost", "this process ignores SIGCHLD, so nobody learns of exit codes")
        tree = Tree(root, mark, self._lookout, ours=True)
        trial = Trial(attempt, command, root, tree, child=child, kill_seconds=self._kill_seconds)
        attempt.write(f"$ {shlex.join(command.argv)}\n".encode(errors="backslashreplace"))
        pipe = Pipe(descriptor, trial.take)
        try:
            return await self._see_through(trial, file, external_id=f"{root}.{mark}", pipe=pipe)
        finally:
            pipe.close()

    async def _see_through(self, trial: Trial, file: Path, *, external_id: str | None, pipe: Pipe | None) -> Outcome:
        self._trials[id(trial.attempt)] = trial
        try:
            left = await trial.see_through(external_id)
            if pipe is not None:
                await pipe.drained(DRAIN_SECONDS)
            return trial.judge(left, file)
        finally:
            if trial.gone:
                del self._trials[id(trial.attempt)]


def _spawn(command: Command, own: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], int]:
    """Not asyncio's own, which waits for the pipe's end, too; and that, a process of somebody else's may hold."""
    descriptor, theirs = os.pipe()
    try:
        child = subprocess.Popen(
            command.argv,
            cwd=command.cwd,
            env=command.environment(os.environ, own),
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except BaseException:
        os.close(descriptor)
        raise
    finally:
        os.close(theirs)
    return child, descriptor


def _output_file(mark: str) -> Path:
    """In a folder of its own, which a resumed run finds again by the mark."""
    return Path(tempfile.gettempdir()) / f"rollout-{mark}" / "output.json"
