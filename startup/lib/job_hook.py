"""What the hooks know of a job, and the verdict on it: the adapter between GitHub's variables and `job_policy`.

`job-started` prints two lines, `allowed` or `refused: REASON`, then the record as JSON, and stays until it is killed
if it refused. `job-completed` prints the record alone. Nothing is written and no other process is touched; the shell
scripts do both. But if the shell that waits for the verdict dies, this process becomes the same script again, which
then ends the job; the kernel tells it (`PR_SET_PDEATHSIG`), and the hook's output stays open as long as it lives.

GitHub's runner (actions/runner at 258d6c85) runs a hook with the listener's own environment and the default variables
alone: src/Runner.Worker/JobHookProvider.cs gives the handler an empty dictionary where a step has the job's `env:`,
and Handlers/ScriptHandler.cs adds GITHUB_* and RUNNER_*. No variable tells a completed hook how the job went
(GitHubContext.cs lists all), so its record does not say.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

sys.path.insert(0, str(Path(__file__).parent))  # python3 -I leaves the script's own folder out

from job_policy import Job, refusal, shown

LARGEST_PAYLOAD_BYTES: Final = 25 * 1024 * 1024
"""GitHub delivers no larger payload ("Webhook events and payloads", Payload cap, read 2026-11-22)."""

LARGEST_POLICY_BYTES: Final = 256 * 1024
"""The longest value of one metadata entry (Compute Engine, "About VM metadata"), where a policy comes from."""

RECORDED: Final = {
    "event": "GITHUB_EVENT_NAME",
    "repository": "GITHUB_REPOSITORY",
    "ref": "GITHUB_REF",
    "run_id": "GITHUB_RUN_ID",
    "attempt": "GITHUB_RUN_ATTEMPT",
    "job": "GITHUB_JOB",
    "workflow": "GITHUB_WORKFLOW_REF",
    "actor": "GITHUB_ACTOR",
}
"""What a record holds of a job. No variable here is a secret."""

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_SHELL: Final = "/bin/bash"


class _UnreadableError(Exception):
    """A file that should hold JSON does not."""


def record(environment: Mapping[str, str], *, names: tuple[str, ...] = tuple(RECORDED), reason: str = "") -> str:
    """A job's facts as one line of JSON, each cut and made harmless, with the time and perhaps a reason."""
    facts = {name: shown(environment.get(RECORDED[name], "")) for name in names}
    now = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
    return json.dumps(({"reason": reason} if reason else {}) | facts | {"time": now})


def verdict(policy: Path, environment: Mapping[str, str]) -> str | None:
    """Why the job of this environment is refused by the policy in a file; None if it may run."""
    try:
        rules = _json(policy, "the job policy", LARGEST_POLICY_BYTES)
        event = environment.get("GITHUB_EVENT_PATH", "")
        payload = _json(Path(event), "the event's payload", LARGEST_PAYLOAD_BYTES) if event else None
    except _UnreadableError as error:
        return str(error)
    job = Job(
        event=environment.get("GITHUB_EVENT_NAME", ""),
        ref=environment.get("GITHUB_REF", ""),
        repository=environment.get("GITHUB_REPOSITORY", ""),
        workflow=environment.get("GITHUB_WORKFLOW_REF", ""),
        payload=payload,
    )
    return refusal(rules, job)


def _json(path: Path, name: str, largest_bytes: int) -> object:
    """The JSON in a regular file; a FIFO or a device is refused before it can block."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _UnreadableError(f"{name} is no regular file")
            content = file.read(largest_bytes + 1)
    except (OSError, ValueError) as error:
        raise _UnreadableError(f"{name} cannot be read: {type(error).__name__}") from None
    if len(content) > largest_bytes:
        raise _UnreadableError(f"{name} is larger than {largest_bytes} bytes")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _UnreadableError(f"{name} is not JSON: {type(error).__name__}") from None


class _Watch:
    """Takes the hook over when the shell that waits for the verdict is gone."""

    def __init__(self, hook: str, worker: str, shell_pid: int) -> None:
        self._hook = hook
        self._worker = worker
        self._shell_pid = shell_pid
        self.reason = "the hook was killed before it had decided"

    def begin(self) -> None:
        """From here on the shell's death is not missed: a signal tells of a later one, the parent of an earlier one."""
        signal.signal(signal.SIGTERM, self._take_over)
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
        self._look()

    def wait_for_the_end(self) -> NoReturn:
        """A refusal goes on until this process is killed with the rest."""
        while True:
            time.sleep(1)
            self._look()

    def _look(self) -> None:
        if os.getppid() != self._shell_pid:
            self._take_over(signal.SIGTERM, None)

    def _take_over(self, _number: int, _frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # stays so in the script, which must not end by a second one
        line = record(os.environ, reason=self.reason)
        os.dup2(2, 1)
        os.execv(_SHELL, [_SHELL, self._hook, "refuse", self._worker, self.reason, line])  # noqa: S606


def _started(arguments: argparse.Namespace) -> None:
    watch = _Watch(arguments.hook, arguments.worker, arguments.shell_pid)
    watch.begin()
    reason = verdict(arguments.policy, os.environ)
    if reason is None:
        print("allowed", record(os.environ), sep="\n", flush=True)  # noqa: T201
        return
    watch.reason = reason
    print(f"refused: {reason}", record(os.environ, reason=reason), sep="\n", flush=True)  # noqa: T201
    watch.wait_for_the_end()


def _completed() -> None:
    print(record(os.environ, names=("repository", "run_id", "attempt", "job")))  # noqa: T201


def main() -> None:
    """Run by the hooks alone."""
    parser = argparse.ArgumentParser(description="the verdict on a job, or the record of its end, for the job hooks")
    stages = parser.add_subparsers(dest="stage", required=True)
    started = stages.add_parser("started")
    started.add_argument("--policy", type=Path, required=True)
    started.add_argument("--hook", required=True, help="the script to become when the shell dies")
    started.add_argument("--worker", required=True, help="process id of Runner.Worker; 0 if there is none")
    started.add_argument("--shell-pid", type=int, required=True)
    stages.add_parser("completed")
    arguments = parser.parse_args()
    if arguments.stage == "started":
        _started(arguments)
    else:
        _completed()


if __name__ == "__main__":
    main()
