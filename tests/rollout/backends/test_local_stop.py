"""Ends of commands that do not want to end: real signals to real trees of processes, and each proves that it ran."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest

from rollout.backends.local import LocalProcesses
from rollout.backends.process_tree import ORPHANS
from rollout.engine.backend import Failed, Outcome, Passed
from tests.rollout.backends.attempts import OneTry, living, zombies

IGNORES = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
READY = "import os, sys; open('ran', 'a').write('x'); print('ready', flush=True); "
WAITS = "import time; time.sleep(1000)"


@contextlib.asynccontextmanager
async def local(**keywords: Any) -> AsyncIterator[LocalProcesses]:
    backend = LocalProcesses(**keywords)
    try:
        yield backend
    finally:
        await backend.close()


def python(cwd: Path, *lines: str, **params: Any) -> OneTry:
    return OneTry(argv=[sys.executable, "-ISc", "\n".join(lines)], cwd=str(cwd), **params)


def shell(cwd: Path, script: str, **params: Any) -> OneTry:
    return OneTry(argv=["sh", "-c", script], cwd=str(cwd), **params)


async def asked(backend: LocalProcesses, attempt: OneTry) -> Outcome:
    """How it ends when it is asked to, once it is ready."""
    running = asyncio.create_task(backend.run(attempt))
    await attempt.said(b"ready")
    attempt.cancelled.set()
    await backend.cancel(attempt)
    return await running


async def killed(backend: LocalProcesses, attempt: OneTry) -> None:
    """Its task is cancelled, once it is ready."""
    running = asyncio.create_task(backend.run(attempt))
    await attempt.said(b"ready")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def over(cwd: Path, main: Callable[[], Coroutine[Any, Any, object]], *, ran: int = 1) -> None:
    """Run it, and see that the bodies ran and that nothing of them is left."""
    before = zombies()
    asyncio.run(main())
    assert (cwd / "ran").read_text() == "x" * ran
    assert living(cwd) == []
    assert zombies() == before


ENDS = pytest.mark.parametrize("end", [asked, killed])
"""Each of these trees ends by both ways."""

SHED = "a child that has shed its session and its environment"
# One line each: what the command does once it is started. All say `ready` when they are.
TREES = {
    "a process that obeys": (READY + WAITS,),
    "a process that ignores TERM": (IGNORES + READY + WAITS,),
    "a child that ignores TERM, of a parent that does not": (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-ISc', {IGNORES + READY + WAITS!r}])",
        WAITS,
    ),
    "an orphan in a session of its own": (
        "import os, sys",
        "if os.fork() == 0:",
        "    os.setsid()",
        "    if os.fork(): os._exit(0)",
        f"    {READY}{WAITS}",
        WAITS,
    ),
    "an orphan in a session of its own that ignores TERM": (
        IGNORES + "import os, sys",
        "if os.fork() == 0:",
        "    os.setsid()",
        "    if os.fork(): os._exit(0)",
        f"    {READY}{WAITS}",
        WAITS,
    ),
    SHED: (
        "import os, sys",
        "if os.fork() == 0:",
        "    os.setsid()",
        f"    os.execve(sys.executable, [sys.executable, '-ISc', {READY + WAITS!r}], {{}})",
        WAITS,
    ),
    "a process that has stopped itself": (
        READY + "sys.stdout.flush(); import signal; os.kill(os.getpid(), signal.SIGSTOP)",
        WAITS,
    ),
    "a process that prints without end": (READY, "while True: os.write(1, b'x' * 65536)"),
    "a process that has closed its outputs": (READY + "os.close(1); os.close(2)", WAITS),
}


@ENDS
@pytest.mark.parametrize("tree", TREES)
def test_nothing_is_left_of(tree, end, tmp_path):
    async def main() -> None:
        async with local() as backend:
            outcome = await end(backend, python(tmp_path, *TREES[tree], grace_seconds=0.3))
            # A parent that is killed before anybody has looked no longer says whose child it was.
            assert living(tmp_path) == [] or (tree, end) == (SHED, killed)
            if end is asked:
                assert isinstance(outcome, Failed)
                assert outcome.code == "cancelled"

    over(tmp_path, main)


# Asked to end


def test_a_command_has_its_grace_to_end_well_and_then_has_passed(tmp_path):
    script = "trap 'echo cleaned up; exit 0' TERM; printf x >ran; echo ready; while :; do sleep 0.01; done"

    async def main() -> None:
        async with local() as backend:
            attempt = shell(tmp_path, script, grace_seconds=60)
            assert await asked(backend, attempt) == Passed()
            assert attempt.log.endswith(b"cleaned up\n")

    over(tmp_path, main)


def test_one_that_does_not_end_well_says_that_it_was_asked_and_how_it_ended(tmp_path):
    script = "trap 'echo gave up; exit 9' TERM; printf x >ran; echo ready; while :; do sleep 0.01; done"

    async def main() -> None:
        async with local() as backend:
            outcome = await asked(backend, shell(tmp_path, script, grace_seconds=60))
            message = "asked to end, sh ended with exit code 9"
            assert isinstance(outcome, Failed)
            assert (outcome.code, outcome.message, outcome.tail[-1]) == ("cancelled", message, "gave up")

    over(tmp_path, main)


def test_everybody_is_asked_once(tmp_path):
    handler = "lambda *_: (os.write(1, b'told\\n'), None)"
    lines = (
        f"import os, signal, time; signal.signal(signal.SIGTERM, {handler})",
        "child = os.fork()",
        "if child == 0: open('ran', 'a').write('x'); print('ready', flush=True)",
        "time.sleep(1000)",
        "time.sleep(1000)",
    )

    async def main() -> None:
        async with local() as backend:
            attempt = python(tmp_path, *lines, grace_seconds=0.5)
            await asked(backend, attempt)
            assert attempt.printed.count(b"told") == 2

    over(tmp_path, main)


def test_one_that_is_stopped_hears_that_it_was_asked(tmp_path):
    """A signal waits while its process is stopped: without SIGCONT the grace would pass for nothing."""
    script = "trap 'echo heard; exit 0' TERM; printf x >ran; echo ready; kill -STOP $$; while :; do sleep 0.01; done"

    async def main() -> None:
        async with local() as backend:
            attempt = shell(tmp_path, script, grace_seconds=60)
            assert await asked(backend, attempt) == Passed()
            assert attempt.log.endswith(b"heard\n")

    over(tmp_path, main)


def test_one_that_was_asked_before_it_began_is_asked_all_the_same(tmp_path):
    async def main() -> None:
        async with local() as backend:
            attempt = python(tmp_path, READY + WAITS)
            attempt.cancelled.set()
            outcome = await backend.run(attempt)
            assert isinstance(outcome, Failed)
            assert outcome.code == "cancelled"

    asyncio.run(main())
    assert living(tmp_path) == []


def test_a_cancel_for_one_that_is_over_is_nothing(tmp_path):
    async def main() -> None:
        async with local() as backend:
            attempt = shell(tmp_path, "printf x >ran")
            assert await backend.run(attempt) == Passed()
            await backend.cancel(attempt)
            await backend.cancel(OneTry())

    over(tmp_path, main)


def test_a_command_that_starts_another_whenever_one_is_asked_to_end_does_not_outlive_its_grace(tmp_path):
    """Each answers SIGTERM with a child in a session of its own, up to forty of them."""
    lines = (
        "import os, signal, time",
        "def again(*_):",
        "    if len(os.listdir('.')) < 40 and os.fork() == 0:",
        "        os.setsid()",
        "        open(f'{os.getpid()}', 'w').close()",
        "signal.signal(signal.SIGTERM, again)",
        "open('ran', 'w').write('x')",
        "print('ready', flush=True)",
        "while True: time.sleep(1000)",
    )

    async def main() -> None:
        async with local() as backend:
            outcome = await asked(backend, python(tmp_path, *lines, grace_seconds=0.5))
            assert isinstance(outcome, Failed)
            assert outcome.message == f"asked to end, {sys.executable} was ended by SIGKILL"
            assert len(list(tmp_path.iterdir())) > 2

    over(tmp_path, main)


def test_a_chain_that_forks_and_ends_all_the_time_is_caught(tmp_path):
    """No process of it lives long: whoever is found is gone before the signal, and SIGKILL for the group is not.

    All of them hold one lock: it can be had only once the last is dead.
    """
    lines = (
        IGNORES + READY,
        "import fcntl, time",
        "lock = open('lock', 'w')",
        "fcntl.flock(lock, fcntl.LOCK_EX)",
        "until = time.monotonic() + 60",
        "while time.monotonic() < until:",
        "    if os.fork(): os._exit(0)",
    )

    async def main() -> None:
        async with local() as backend:
            outcome = await backend.run(python(tmp_path, *lines, grace_seconds=0.1))
            with (tmp_path / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            assert isinstance(outcome, Passed)

    over(tmp_path, main)


# Made to end


def test_a_second_cancellation_passes_on_at_once_and_the_end_goes_on(tmp_path):
    async def main() -> None:
        async with local() as backend:
            attempt = python(tmp_path, IGNORES + READY + WAITS)
            running = asyncio.create_task(backend.run(attempt))
            await attempt.said(b"ready")
            running.cancel()
            await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            await backend.close()
            assert living(tmp_path) == []

    over(tmp_path, main)


def test_cancelling_cuts_a_grace_short_also_for_who_has_left_the_group(tmp_path):
    tree = TREES["an orphan in a session of its own that ignores TERM"]

    async def main() -> None:
        async with local() as backend:
            attempt = python(tmp_path, *tree, grace_seconds=3000)
            running = asyncio.create_task(backend.run(attempt))
            await attempt.said(b"ready")
            await backend.cancel(attempt)
            running.cancel()
            done, _ = await asyncio.wait({running}, timeout=30)
            assert done == {running}
            assert running.cancelled()
            assert living(tmp_path) == []

    over(tmp_path, main)


def test_close_leaves_nothing_running(tmp_path):
    async def main() -> None:
        backend = LocalProcesses()
        tries = [python(tmp_path, IGNORES + READY + WAITS) for _ in range(3)]
        running = [asyncio.create_task(backend.run(attempt)) for attempt in tries]
        for attempt in tries:
            await attempt.said(b"ready")
        await backend.close()
        assert living(tmp_path) == []
        outcomes = await asyncio.gather(*running)
        assert [outcome.code for outcome in outcomes if isinstance(outcome, Failed)] == ["signal-kill"] * 3

    over(tmp_path, main, ran=3)


def test_an_attach_that_raises_leaves_nothing_running(tmp_path):
    class Faulty(OneTry):
        async def attach(self, external_id: str, link: str = "") -> None:  # noqa: ARG002 - the protocol's names
            await self.said(b"ready")
            raise OSError("the journal's disk is full")

    async def main() -> None:
        async with local() as backend:
            attempt = Faulty(argv=[sys.executable, "-ISc", READY + WAITS], cwd=str(tmp_path))
            with pytest.raises(OSError, match="disk is full"):
                await backend.run(attempt)
            assert living(tmp_path) == []

    over(tmp_path, main)


@ENDS
def test_two_hundred_at_once_are_ended_together(end, tmp_path):
    async def main() -> None:
        async with local() as backend:
            tries = [shell(tmp_path, "printf x >>ran; echo ready; exec sleep 1000") for _ in range(200)]
            await asyncio.gather(*(end(backend, attempt) for attempt in tries))
            assert living(tmp_path) == []

    over(tmp_path, main, ran=200)


# What a command leaves behind


def test_what_a_command_leaves_behind_is_ended_though_it_has_passed(tmp_path):
    orphan = f"import os\nos.setsid()\nif os.fork(): os._exit(0)\n{IGNORES + READY + WAITS}"
    lines = (
        "import subprocess, sys",
        f"left = subprocess.Popen([sys.executable, '-ISc', {orphan!r}], stdout=subprocess.PIPE)",
        "print(left.stdout.readline().decode(), flush=True)",
    )

    async def main() -> None:
        async with local() as backend:
            attempt = python(tmp_path, *lines, grace_seconds=0.2)
            assert await backend.run(attempt) == Passed(message="ended 1 process that it had left behind")
            assert living(tmp_path) == []

    over(tmp_path, main)


def shed(tmp_path: Path) -> OneTry:
    """It ends well once its grandchild, of which no trace leads to it any more, is there."""
    clean = f"import os\nif os.fork(): os._exit(0)\nos.setsid()\n{READY + WAITS}"
    lines = (
        "import subprocess, sys",
        f"left = subprocess.Popen([sys.executable, '-ISc', {clean!r}], env={{}}, start_new_session=True, stdout=-1)",
        "print(left.stdout.readline().decode(), flush=True)",
        "left.wait()",
    )
    return python(tmp_path, *lines)


def test_an_orphan_without_any_trace_lasts_no_longer_than_the_backend(tmp_path):
    async def main() -> None:
        async with local() as backend:
            assert await backend.run(shed(tmp_path)) == Passed()
            assert len(living(tmp_path)) == 1
        assert living(tmp_path) == []

    over(tmp_path, main)


def test_the_last_backend_to_close_takes_the_orphans_with_it(tmp_path):
    async def main() -> None:
        async with local() as other:
            assert await other.run(shell(tmp_path, "true")) == Passed()
            async with local() as backend:
                assert await backend.run(shed(tmp_path)) == Passed()
            assert len(living(tmp_path)) == 1

    over(tmp_path, main)


def test_other_children_of_this_process_are_left_alone(tmp_path):
    """In a session of its own, but older than all commands; or younger, but in ours."""

    async def main() -> None:
        older = psutil.Popen(["sleep", "1000"], start_new_session=True)
        try:
            async with local() as backend:
                await asyncio.to_thread(_until_younger, older)
                assert await backend.run(shed(tmp_path)) == Passed()
                younger = psutil.Popen(["sleep", "1000"])
            assert (older.poll(), younger.poll()) == (None, None)
            younger.kill()
            younger.wait(10)
        finally:
            older.kill()
            older.wait(10)

    over(tmp_path, main)


def _until_younger(older: psutil.Popen) -> None:
    """A clock tick later: processes that begin within one are as old as each other."""
    while True:
        probe = psutil.Popen(["true"])
        born = probe.create_time()
        probe.wait(10)
        if born > older.create_time():
            return


def test_orphans_go_to_init_again_once_the_last_backend_is_closed(tmp_path):
    async def main() -> None:
        async with local() as backend:
            assert await backend.run(shell(tmp_path, "printf x >ran")) == Passed()

    over(tmp_path, main)
    assert ORPHANS._wanted == 0
    orphan = (
        "import os; child = os.fork()\nif child: print(child, flush=True); os._exit(0)\nimport time; time.sleep(1000)"
    )
    parent = psutil.Popen([sys.executable, "-ISc", orphan], stdout=-1)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.wait(10)
    parent.stdout.close()
    assert child.ppid() != os.getpid()
    child.kill()


# Races and what cannot be ended


def test_one_that_is_gone_between_look_and_signal_does_not_hold_up_the_end(tmp_path, monkeypatch):
    """psutil.NoSuchProcess is no ProcessLookupError."""
    real = psutil.Process.send_signal
    raised: list[Exception] = []

    def gone_first(self: psutil.Process, number: int) -> None:
        if self.name() == "sleep":
            os.kill(self.pid, signal.SIGKILL)
            self.wait(10)  # its parent reaps it
        try:
            real(self, number)
        except psutil.NoSuchProcess as error:
            raised.append(error)
            raise

    async def main() -> None:
        async with local() as backend:
            monkeypatch.setattr(psutil.Process, "send_signal", gone_first)
            script = "trap '' TERM; sleep 1000 & printf x >ran; echo ready; wait; exit 6"
            outcome = await asked(backend, shell(tmp_path, script))
            assert isinstance(outcome, Failed)
            assert outcome.message == "asked to end, sh ended with exit code 6"
            assert [type(error) for error in raised[:1]] == [psutil.NoSuchProcess]

    over(tmp_path, main)


def test_one_that_cannot_be_killed_is_reported_and_not_waited_for(tmp_path, monkeypatch):
    async def main() -> None:
        async with local(kill_seconds=0.1) as backend:
            attempt = shell(tmp_path, "printf x >ran; echo ready; exec sleep 1000", grace_seconds=0.1)
            with monkeypatch.context() as deaf:
                deaf.setattr(psutil.Process, "send_signal", lambda *_: None)
                deaf.setattr(os, "killpg", lambda *_: None)
                outcome = await asked(backend, attempt)
            (pid,) = living(tmp_path)
            message = f"still there 0.1 s after SIGKILL: {pid} (sleep, sleeping)"
            assert outcome == Failed(code="stuck", message=message, tail=("ready",))
        assert living(tmp_path) == []  # closing tries again

    over(tmp_path, main)


def test_one_that_cannot_be_killed_is_in_the_log_when_its_task_is_cancelled(tmp_path, monkeypatch):
    async def main() -> None:
        async with local(kill_seconds=0.1) as backend:
            attempt = shell(tmp_path, "printf x >ran; echo ready; exec sleep 1000")
            with monkeypatch.context() as deaf:
                deaf.setattr(psutil.Process, "send_signal", lambda *_: None)
                deaf.setattr(os, "killpg", lambda *_: None)
                await killed(backend, attempt)
            assert b"# still there 0.1 s after SIGKILL: " in attempt.log

    over(tmp_path, main)


def test_no_thread_to_look_with_is_no_reason_to_leave_anybody(tmp_path, monkeypatch):
    async def main() -> None:
        async with local() as backend:
            attempt = python(tmp_path, IGNORES + READY + WAITS, grace_seconds=0.1)

            async def to_thread(_function: Callable[[], object]) -> object:
                raise RuntimeError("can't start new thread")

            with monkeypatch.context() as full:
                full.setattr(asyncio, "to_thread", to_thread)
                await asked(backend, attempt)
            assert living(tmp_path) == []

    over(tmp_path, main)
