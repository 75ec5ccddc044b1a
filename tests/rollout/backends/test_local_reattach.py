"""Commands that outlive the process that started them, which is killed for real, and who then takes them up."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from rollout.backends import process, process_tree
from rollout.backends.local import LocalProcesses
from rollout.engine.backend import Failed, Outcome, Passed
from tests.rollout.backends.attempts import OneTry, living

FORMER = """
import asyncio, json, sys
from rollout.backends.local import LocalProcesses
from tests.rollout.backends.attempts import OneTry

class Told(OneTry):
    async def attach(self, external_id, link=""):
        await self.said(b"ready")
        print(external_id, flush=True)

asyncio.run(LocalProcesses().run(Told(**json.loads(sys.argv[1]))))
"""


@pytest.fixture
def begun(root):
    """Starts a command in a process that is killed without notice, and gives the name by which it attached."""

    def begin(params: dict[str, Any]) -> str:
        argv = [sys.executable, "-c", FORMER, json.dumps(params)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=root) as former:
            assert former.stdout is not None
            external_id = former.stdout.readline().strip()
            former.kill()
        assert former.returncode == -signal.SIGKILL
        return external_id

    return begin


def waits(cwd: Path, then: str, **params: Any) -> dict[str, Any]:
    """A command that is ready, and goes on once the fifo `go` is written to."""
    os.mkfifo(cwd / "go")
    script = f"printf x >ran; echo ready; trap 'exit 3' TERM; until read word <go; do :; done; {then}"
    return {"argv": ["sh", "-c", script], "cwd": str(cwd), **params}


def go(cwd: Path) -> None:
    (cwd / "go").write_text("go\n")


def taken_up(main: Coroutine[Any, Any, Outcome], cwd: Path) -> Outcome:
    outcome = asyncio.run(main)
    assert (cwd / "ran").read_text() == "x"
    assert living(cwd) == []
    return outcome


async def reattached(params: dict[str, Any], external_id: str, cwd: Path) -> Outcome:
    """It goes on only once somebody waits for it again."""
    backend = LocalProcesses()
    running = asyncio.create_task(backend.reattach(OneTry(**params), external_id))
    await asyncio.sleep(0)
    assert not running.done()
    await asyncio.to_thread(go, cwd)
    try:
        return await running
    finally:
        await backend.close()


def test_a_command_that_leaves_its_output_in_a_file_has_passed(begun, tmp_path):
    then = """echo '{"image": "cpu-2"}' >part; mv part "$ROLLOUT_OUTPUT" """
    params = waits(tmp_path, then, output="file")
    outcome = taken_up(reattached(params, begun(params), tmp_path), tmp_path)
    assert outcome == Passed(output={"image": "cpu-2"}, message="its output is whole; no more is known")


@pytest.mark.parametrize("params", [{"output": "file"}, {"output": "last-line"}, {}])
def test_a_command_that_leaves_nothing_is_lost_for_nobody_knows_its_exit_code(begun, tmp_path, params):
    params = waits(tmp_path, "exit 0", error_classes={"lost": "unavailable"}, **params)
    outcome = taken_up(reattached(params, begun(params), tmp_path), tmp_path)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.error_class) == ("lost", "unavailable")


def test_what_it_has_left_behind_is_ended_before_it_is_lost(begun, tmp_path):
    """Else a next try would run beside it."""
    params = waits(tmp_path, "sleep 1000 >&- 2>&- & exit 0")
    outcome = taken_up(reattached(params, begun(params), tmp_path), tmp_path)
    assert isinstance(outcome, Failed)
    assert outcome.code == "lost"


def test_what_is_left_of_one_that_has_ended_meanwhile_is_ended(begun, tmp_path):
    """Only the mark in its environment still leads to it."""
    params = waits(tmp_path, "setsid sleep 1000 >&- 2>&- & exit 0")

    async def main() -> Outcome:
        external_id = await asyncio.to_thread(begun, params)
        root = process.parse(external_id.rpartition(".")[0])
        with process.end_of(root) as ended:
            await asyncio.to_thread(go, tmp_path)
            await ended
        while process.runs(root):  # whoever has adopted it reaps it
            os.sched_yield()
        assert len(living(tmp_path)) == 1
        backend = LocalProcesses()
        outcome = await backend.reattach(OneTry(**params), external_id)
        await backend.close()
        return outcome

    outcome = taken_up(main(), tmp_path)
    assert isinstance(outcome, Failed)
    assert outcome.code == "lost"


def test_it_can_be_asked_to_end(begun, tmp_path):
    params = waits(tmp_path, "exit 0")
    external_id = begun(params)

    async def main() -> Outcome:
        backend = LocalProcesses()
        attempt = OneTry(**params)
        running = asyncio.create_task(backend.reattach(attempt, external_id))
        await asyncio.sleep(0)
        await backend.cancel(attempt)
        outcome = await running
        await backend.close()
        return outcome

    outcome = taken_up(main(), tmp_path)
    assert isinstance(outcome, Failed)
    assert outcome.code == "cancelled"


def test_it_is_killed_when_its_task_is_cancelled(begun, tmp_path):
    params = waits(tmp_path, "exit 0")
    external_id = begun(params)

    async def main() -> Outcome:
        backend = LocalProcesses()
        running = asyncio.create_task(backend.reattach(OneTry(**params), external_id))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert living(tmp_path) == []
        await backend.close()
        return Passed()

    taken_up(main(), tmp_path)


@pytest.mark.parametrize("change", ["started", "boot"])
def test_another_process_with_its_id_is_not_touched(tmp_path, change):
    with subprocess.Popen(["sleep", "1000"], cwd=tmp_path, start_new_session=True) as innocent:
        pid, started, boot = str(process.identity(innocent.pid)).split(".")
        name = f"{pid}.{int(started) + 1}.{boot}" if change == "started" else f"{pid}.{started}.another-boot"

        async def main() -> Outcome:
            backend = LocalProcesses()
            attempt = OneTry(argv=["true"])
            attempt.cancelled.set()
            outcome = await backend.reattach(attempt, f"{name}.{'0' * 32}")
            await backend.close()
            return outcome

        outcome = asyncio.run(main())
        assert isinstance(outcome, Failed)
        assert outcome.code == "lost"
        assert innocent.poll() is None
        innocent.kill()


@pytest.mark.parametrize("external_id", ["", "12", "a.b.c.d", "1.2.3.4.5", "1.2.boot.x", "1.2.boot./../" + "0" * 27])
def test_a_name_that_is_none_is_lost(external_id):
    async def main() -> Outcome:
        backend = LocalProcesses()
        outcome = await backend.reattach(OneTry(argv=["true"]), external_id)
        await backend.close()
        return outcome

    outcome = asyncio.run(main())
    assert isinstance(outcome, Failed)
    assert outcome.code == "lost"


def test_an_identity_is_read_as_it_is_written():
    own = process.identity(os.getpid())
    assert process.parse(str(own)) == own
    assert process.runs(own)


def test_nobody_is_waited_for_who_is_not_there():
    with subprocess.Popen(["true"]) as ended:
        gone = process.identity(ended.pid)

    async def main() -> None:
        with pytest.raises(ProcessLookupError), process.end_of(gone):
            pass

    asyncio.run(main())
    with pytest.raises(ProcessLookupError, match=f"no process {gone.pid}"):
        process.identity(gone.pid)


def test_nobody_is_found_by_a_mark_that_is_none():
    """Almost all processes have none, and a tree is killed."""
    assert "" not in process_tree.Census().marked
    with pytest.raises(ValueError, match="every process"):
        process_tree.Tree(process.identity(os.getpid()), "", process_tree.Lookout(), ours=False)
