"""scripts/demo as a person runs it, piped: whole lives end with 0, what is missing is named, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOKENS = ("eyJ", "ghs_", "ya29.", "PRIVATE KEY", "must-not-leak")


@dataclass
class Run:
    """One demo and the folder that its temporary files lie in."""

    process: subprocess.Popen[str]
    folder: Path
    text: str = ""
    error: str = ""

    def end(self) -> int:
        self.text, self.error = self.process.communicate(timeout=100)
        return self.process.returncode

    def relatives(self) -> list[str]:
        """Processes with this run's folder in their environment or arguments: all that it started, directly or not."""
        mark = os.fsencode(self.folder)
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                seen = (path / "environ").read_bytes() + (path / "cmdline").read_bytes()
            except OSError:
                continue
            if mark in seen:
                found.append(f"{path.name} {(path / 'cmdline').read_bytes()!r}")
        return found

    def assert_nothing_is_left(self) -> None:
        assert self.relatives() == []
        assert list(self.folder.iterdir()) == []


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts a demo; it has a session of its own, as on a terminal."""
    runs = []

    def start(*arguments: str) -> Run:
        folder = tmp_path_factory.mktemp("demo")
        process = subprocess.Popen(
            [ROOT / "scripts/demo", *arguments],
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        runs.append(Run(process=process, folder=folder))
        return runs[-1]

    yield start
    for run in runs:
        if run.process.poll() is None:
            run.process.terminate()
            run.process.communicate()


@pytest.fixture(scope="module")
def side_by_side(start):
    """Two demos with a fault each, which mostly wait, and so wait together."""
    return {name: start("--vms", "1", "--faults", name) for name in ("broker-503", "deleter-down")}


def rows(text: str, state: str) -> list[str]:
    """The lines of the final table whose VM is in that state."""
    table = text[text.index("zone") : text.index("runners at GitHub")]
    return [line for line in table.splitlines() if f" {state} " in line]


def test_every_vm_lives_a_whole_life(start):
    run = start("--vms", "2")
    assert run.end() == 0, run.text + run.error
    assert len(rows(run.text, "deleted")) == 2
    for state in ("booting provision", "booting register", "listening", "running job", "finished, stopping"):
        assert run.text.count(f"  {state}\n") >= 1, state
    assert "grants: 2   instances: 0" in run.text
    assert "POST /jit 200: 2" in run.text
    assert "DELETE / 200: 2" in run.text
    assert "runners at GitHub: 0 (0 online, 0 busy), 2 removed" in run.text
    assert "scale_sets.jit: 2" in run.text
    assert run.text.endswith("2 VMs lived whole lives: registered, ran one job each, and were deleted\n")
    assert [word for word in TOKENS if word in run.text + run.error] == []
    run.assert_nothing_is_left()


def test_a_broker_that_comes_late_is_waited_for(side_by_side):
    run = side_by_side["broker-503"]
    assert run.end() == 0, run.text + run.error
    assert "POST /jit 200: 1, POST /jit 503: 2" in run.text
    assert "grants: 1   instances: 0" in run.text
    run.assert_nothing_is_left()


def test_vms_that_nobody_deletes_power_off_and_are_named(side_by_side):
    run = side_by_side["deleter-down"]
    assert run.end() == 1, run.text + run.error
    assert len(rows(run.text, "powered off")) == 1
    assert "DELETE / 503: " in run.text
    missing = [line for line in run.text.splitlines() if line.startswith("MISSING: ")]
    assert len(missing) == 1
    assert missing[0].endswith("its instance is still there, TERMINATED: nobody deleted it")
    run.assert_nothing_is_left()


def test_an_interrupted_demo_ends_all_that_it_started(start):
    run = start("--vms", "1")
    assert run.process.stdout is not None
    assert "booting" in run.process.stdout.readline()
    time.sleep(1)
    assert any("functions-framework" in relative for relative in run.relatives())
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.end() == 130
    assert run.error == "scripts/demo: interrupted; everything it started has ended\n"
    run.assert_nothing_is_left()


def test_a_machine_that_lacks_a_tool_is_told_so():
    """The PATH of VMs is fixed, so the tool is one that nobody has."""
    program = """
import sys
from demo import show
show.TOOLS = ("bash", "no-such-tool")
sys.exit(show.main(lambda: None, []))
"""
    command = [ROOT / ".venv/bin/python", "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("scripts/demo: no-such-tool not found in /")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"), [(("--vms", "0"), "allowed are 1 to 64"), (("--faults", "x"), "broker-503")]
)
def test_a_wrong_argument_says_what_is_allowed(start, arguments, words):
    run = start(*arguments)
    assert run.end() == 2
    assert words in run.error
    assert "Traceback" not in run.error
