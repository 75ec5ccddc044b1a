"""A small stand-in for GitHub's runner: its archive, and GitHub's side of it as files in a folder.

The two programs in the archive carry the names by which a VM's scripts know them and behave as those at
actions/runner 258d6c857 do, as far as this fleet cares: the listener needs its configuration in the root folder, loads
`.env`, runs one job by one worker and ends with 0; INT and TERM make it give up the job and end. The worker leaves a
log in `_diag`, runs the hooks by `bash -e` with the listener's environment and GitHub's default variables, never with
the job's own, and runs steps with `if: always()` also after a hook has failed.

Not played: the wire to GitHub, updates, containers, the pause between INT and KILL that a step gets, and the search
for a job's leftover processes by RUNNER_TRACKING_ID, so what a job leaves behind is the VM's to kill.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

PROGRAMS: Final = {
    "bin/Runner.Listener": Path(__file__).with_name("listener.py"),
    "bin/Runner.Worker": Path(__file__).with_name("worker.py"),
}


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The archive's bytes, the same for the same interpreter, and their digest."""

    data: bytes
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """A line of shell of a job; `always` is its `if: always()`."""

    run: str
    always: bool = False


@dataclass(frozen=True, kw_only=True)
class Job:
    """What GitHub hands to a runner."""

    steps: Sequence[Step]
    env: dict[str, str] = field(default_factory=dict[str, str])
    """The job's own variables, which hooks never see."""
    github: dict[str, str] = field(default_factory=dict[str, str])
    """GITHUB_* variables without that prefix, over those of a push to main."""
    event: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class GitHub:
    """The folder through which a listener and its GitHub talk; `runner_file` leads the listener there."""

    folder: Path

    @property
    def runner_file(self) -> str:
        """The content of `.runner` in the just-in-time configuration."""
        return json.dumps({"agentName": "a-runner", "ephemeral": True, "serverUrl": str(self.folder)})

    def hand(self, job: Job) -> None:
        """Give the next listener, or the one that waits, this job."""
        variables = {
            "ACTIONS": "true",
            "ACTOR": "octocat",
            "EVENT_NAME": "push",
            "JOB": "build",
            "REF": "refs/heads/main",
            "REPOSITORY": "iree-org/iree",
            "RUN_ATTEMPT": "1",
            "RUN_ID": "815",
            "WORKFLOW_REF": "iree-org/iree/.github/workflows/ci.yml@refs/heads/main",
        }
        message = {
            "steps": [{"run": step.run, "always": step.always} for step in job.steps],
            "env": job.env,
            "github": variables | job.github,
            "event": job.event,
        }
        self._write("job.json", json.dumps(message))

    def refuse_session(self, exit_status: int) -> None:
        """Make the listener end at once, as it does when GitHub refuses it."""
        self._write("exit", str(exit_status))

    @property
    def connected(self) -> bool:
        """Whether a listener waits for a job or runs one."""
        return (self.folder / "connected").exists()

    @property
    def result(self) -> str:
        """What the listener reported of the job: succeeded, failed or cancelled; nothing before."""
        path = self.folder / "result"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def wait_connected(self, seconds: float = 20) -> None:
        """Wait for a listener."""
        until = time.monotonic() + seconds
        while not self.connected:
            assert time.monotonic() < until, "no listener connected"
            time.sleep(0.01)

    def _write(self, name: str, text: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f".{name}").write_text(text, encoding="utf-8")
        (self.folder / f".{name}").rename(self.folder / name)


def build() -> Archive:
    """Pack the programs. The kernel names a process after its script, so they start with the interpreter itself."""
    interpreter = Path(sys.executable).resolve()
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", filename="", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        run = '#!/bin/bash\nexec "${0%/*}/bin/Runner.Listener" run "$@"\n'
        texts = {name: f"#!{interpreter} -ISE\n{path.read_text(encoding='utf-8')}" for name, path in PROGRAMS.items()}
        for name, text in {**texts, "run.sh": run}.items():
            content = text.encode()
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o755, len(content)
            archive.addfile(entry, io.BytesIO(content))
    data = buffer.getvalue()
    return Archive(data=data, sha256=sha256(data).hexdigest())
