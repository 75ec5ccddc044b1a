"""One command that runs, from its start until nothing of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from pathlib import Path
from typing import Final

from rollout.backends import process
from rollout.backends.command import Command
from rollout.backends.process import Identity
from rollout.backends.process_tree import Census, Seen, Tree
from rollout.engine.backend import Attempt, Failed, Outcome, Passed

KILL_SECONDS: Final = 5.0
"""How long SIGKILL is repeated before what is left is reported: only the kernel can hold a process that long.

Less than a run waits for a backend whose task it has cancelled.
"""


class Trial:
    """A command's processes, what they print, and how they end."""

    def __init__(
        self,
        attempt: Attempt,
        command: Command,
        root: Identity,
        tree: Tree,
        *,
        child: subprocess.Popen[bytes] | None,
        kill_seconds: float,
    ) -> None:
        """`child` is the root where this process has started it; then nobody else may reap it."""
        self.attempt = attempt
        self._command = command
        self._root = root
        self._tree = tree
        self._child = child
        self._kill_seconds = kill_seconds
        self._output = command.watched()
        self._over = asyncio.Event()
        """Set once the root has ended, or cannot be made to."""
        self._asked = False
        """Whether it was asked to end before that."""
        self._returncode: int | None = None
        """Not known before its end is through, and never if it is not ours, or somebody else has reaped it."""
        self._ending: asyncio.Task[tuple[Seen, ...]] | None = None

    @property
    def gone(self) -> bool:
        """Whether nothing of it is left."""
        return self._ending is not None and self._ending.done() and not self._ending.result()

    def take(self, data: bytes) -> None:
        """What it printed."""
        self._output.feed(data)
        self.attempt.write(data)

    def ask(self) -> None:
        """Ask all of it to end, within the command's own grace. What the root leaves at its end is asked anyway."""
        if not self._over.is_set():
            self._asked = True
            self._end(self._command.grace_seconds)

    def kill(self) -> asyncio.Task[tuple[Seen, ...]]:
        """Kill all of it; the root's process group is dead on return. The task's result is whom that did not help."""
        self._tree.strike()
        return self._end(0)

    def kill_in(self, census: Census) -> bool:
        """The same without waiting; whether nobody of it is left."""
        return self._tree.kill_in(census)

    async def see_through(self, external_id: str | None) -> tuple[Seen, ...]:
        """Attach, wait for the root's end, and end what that leaves. Returns who is there in spite of it.

        On any exception, the task's cancellation among them, all of it is killed before that passes on.
        """
        try:
            with contextlib.ExitStack() as stack:
                try:
                    ended = stack.enter_context(process.end_of(self._root))
                    ended.add_done_callback(lambda _: self._over.set())
                except ProcessLookupError:
                    self._over.set()
                if external_id is not None:
                    await self.attempt.attach(external_id)
                if self.attempt.cancelled.is_set():
                    self.ask()
                await self._over.wait()
                return await asyncio.shield(self._end(self._command.grace_seconds))
        except BaseException:
            if left := await asyncio.shield(self.kill()):
                self.attempt.write(f"# {self._stuck(left)}\n".encode())
            raise

    def judge(self, left: tuple[Seen, ...], file: Path) -> Outcome:
        """How it went. `file` is where it may have left its typed output."""
        command, output = self._command, self._output
        output.end()
        if left:
            return command.failed("stuck", self._stuck(left), output)
        if self._returncode is None:
            outcome = command.judge_unwatched(file)
        else:
            outcome = command.judge(self._returncode, output, file)
        if isinstance(outcome, Failed):
            return command.failed("cancelled", f"asked to end, {outcome.message}", output) if self._asked else outcome
        behind = len(self._tree.others)
        if isinstance(outcome, Passed) and behind and not self._asked:
            message = f"ended {behind} process{'es' if behind > 1 else ''} that it had left behind"
            self.attempt.write(f"# {message}\n".encode())
            return Passed(output=outcome.output, message=message)
        return outcome

    def _end(self, grace_seconds: float) -> asyncio.Task[tuple[Seen, ...]]:
        """Begin its end, or go on with it; or begin again where somebody was left."""
        if self._ending is None or (self._ending.done() and self._ending.result()):
            self._ending = asyncio.create_task(self._run_end(grace_seconds))
        return self._ending

    async def _run_end(self, grace_seconds: float) -> tuple[Seen, ...]:
        try:
            left = await self._tree.end(grace_seconds, self._kill_seconds)
            if self._child is not None:
                known = _is_ours(self._child.pid)
                code = self._child.poll()
                self._returncode = code if known else None
            return left
        finally:
            self._over.set()

    def _stuck(self, left: tuple[Seen, ...]) -> str:
        return f"still there {self._kill_seconds:g} s after SIGKILL: {', '.join(map(str, left))}"


def _is_ours(pid: int) -> bool:
    """Whether it is there to be reaped; subprocess would take one that is not for one that ended well."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:
        return False
    return True
