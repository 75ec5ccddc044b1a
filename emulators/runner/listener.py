"""The listener in the stand-in for GitHub's runner archive (`archive.py`); runs on the emulated VM alone."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

ROOT = Path(__file__).parents[1]
POLL_SECONDS = 0.01
SUCCESS, TERMINATED = 0, 1


def load_environment() -> None:
    """NAME=value by line, over what is there."""
    path = ROOT / ".env"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        name, equals, value = line.partition("=")
        if equals and name:
            os.environ[name] = value


class Listener:
    """Waits for one job, lets a worker run it, reports."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self._worker = 0

    def listen(self) -> int:
        """Until a job is done; the exit status."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._give_up)
        refusal = self._server / "exit"
        if refusal.exists():
            return int(refusal.read_text(encoding="utf-8"))
        self._write("connected", str(os.getpid()))
        job, taken = self._server / "job.json", self._server / "taken.json"
        while not job.exists():
            time.sleep(POLL_SECONDS)
        job.rename(taken)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        worker = str(ROOT / "bin/Runner.Worker")
        self._worker = os.posix_spawn(worker, [worker, "spawnclient", str(taken)], os.environ, setsigmask=[])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
        _, status = os.waitpid(self._worker, 0)
        self._report("succeeded" if status == 0 else "failed")
        return SUCCESS

    def _give_up(self, _number: int, _frame: FrameType | None) -> NoReturn:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if self._worker:
            os.kill(self._worker, signal.SIGTERM)
            os.waitpid(self._worker, 0)
            self._report("cancelled")
        sys.exit(SUCCESS)

    def _report(self, result: str) -> None:
        self._write("result", result)

    def _write(self, name: str, text: str) -> None:
        partial = self._server / f".{name}"
        partial.write_text(text, encoding="utf-8")
        partial.rename(self._server / name)


def main() -> int:
    """As Runner.Listener run."""
    files = (ROOT / ".runner", ROOT / ".credentials")
    if sys.argv[1:] != ["run"] or not all(path.exists() for path in files):
        sys.stderr.write("An error occurred: Not configured. Run config.(sh/cmd) to configure the runner.\n")
        return TERMINATED
    load_environment()
    (ROOT / "_diag").mkdir(exist_ok=True)
    (ROOT / f"_diag/Runner_{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-utc.log").touch()
    server = Path(json.loads(files[0].read_text(encoding="utf-8"))["serverUrl"])
    sys.stdout.write("Listening for Jobs\n")
    sys.stdout.flush()
    return Listener(server).listen()


if __name__ == "__main__":
    sys.exit(main())
