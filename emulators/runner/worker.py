"""The worker in the stand-in for GitHub's runner archive (`archive.py`); runs on the emulated VM alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

ROOT = Path(__file__).parents[1]
TEMPORARY = ROOT / "_work/_temp"


class Worker:
    """Runs one job: hook, steps, hook."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._step: subprocess.Popen[bytes] | None = None
        name = job["github"]["REPOSITORY"].partition("/")[2]
        self._workspace = ROOT / "_work" / name / name

    def run(self) -> int:
        """0 when all succeeded."""
        signal.signal(signal.SIGTERM, self._cancel)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        (ROOT / f"_diag/Worker_{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-utc.log").touch()
        defaults = self._defaults()
        succeeded = self._hook("ACTIONS_RUNNER_HOOK_JOB_STARTED", defaults)
        for step in self._job["steps"]:
            if succeeded or step["always"]:
                succeeded &= self._execute(["bash", "-e", "-c", step["run"]], {**defaults, **self._job["env"]})
        succeeded &= self._hook("ACTIONS_RUNNER_HOOK_JOB_COMPLETED", defaults)
        return 0 if succeeded else 1

    def _defaults(self) -> dict[str, str]:
        """GitHub's default variables over the listener's environment."""
        event = TEMPORARY / "_github_workflow/event.json"
        for folder in (event.parent, self._workspace):
            folder.mkdir(parents=True, exist_ok=True)
        event.write_text(json.dumps(self._job["event"]), encoding="utf-8")
        own = {"GITHUB_EVENT_PATH": str(event), "GITHUB_WORKSPACE": str(self._workspace)}
        own |= {"CI": "true", "RUNNER_NAME": "a-runner", "RUNNER_TEMP": str(TEMPORARY)}
        return {**os.environ, **{f"GITHUB_{name}": value for name, value in self._job["github"].items()}, **own}

    def _hook(self, variable: str, defaults: Mapping[str, str]) -> bool:
        path = os.environ.get(variable, "")
        return not path or self._execute(["bash", "-e", path], defaults)

    def _execute(self, command: list[str], environment: Mapping[str, str]) -> bool:
        self._step = subprocess.Popen(command, env=environment, cwd=self._workspace, stdin=subprocess.DEVNULL)
        return self._step.wait() == 0

    def _cancel(self, _number: int, _frame: FrameType | None) -> NoReturn:
        if self._step is not None:
            self._step.kill()
        os._exit(1)


def main() -> int:
    """As Runner.Worker spawnclient."""
    return Worker(json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))).run()


if __name__ == "__main__":
    sys.exit(main())
