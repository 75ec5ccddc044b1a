"""The listener of the demo's runner archive: gets its job from the emulated GitHub over HTTP; runs on a VM alone.

It connects with what the just-in-time configuration holds, waits for a job, lets the archive's worker run it, reports
and ends. What passes is tried again for as long as it lives, as GitHub's own listener does.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

ROOT: Final = Path(__file__).parents[1]
VERSION: Final = "2.335.0"
PAUSE_SECONDS: Final = 0.2
POLL_SECONDS: Final = 70
SUCCESS, TERMINATED, SESSION_CONFLICT, VERSION_REFUSED = 0, 1, 5, 7
"""Constants.Runner.ReturnCode in actions/runner, read at 258d6c857."""


def load_environment() -> None:
    """NAME=value by line, over what is there."""
    path = ROOT / ".env"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        name, equals, value = line.partition("=")
        if equals and name:
            os.environ[name] = value


class Listener:
    """Runs one job."""

    def __init__(self, server: str, agent: int, client: str) -> None:
        self._host = urlsplit(server).netloc
        self._agent, self._client = agent, client
        self._session = ""
        self._worker = 0

    def listen(self) -> int:
        """Until a job is done; the exit status."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._give_up)
        body = {"agentId": self._agent, "clientId": self._client, "version": VERSION}
        status, answer = self._ask("POST", "/_runner/session", json.dumps(body))
        if status != 200:
            return {403: VERSION_REFUSED, 409: SESSION_CONFLICT}.get(status, TERMINATED)
        self._session = answer["sessionId"]
        while True:
            status, answer = self._ask("GET", f"/_runner/message?sessionId={self._session}")
            if status == 200:
                return self._run(answer["job"])
            if status != 202:
                return TERMINATED

    def _run(self, job: str) -> int:
        path = ROOT / "_diag/job.json"
        path.write_text(job, encoding="utf-8")
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        worker = str(ROOT / "bin/Runner.Worker")
        self._worker = os.posix_spawn(worker, [worker, "spawnclient", str(path)], os.environ, setsigmask=[])
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
        elif self._session:
            self._ask("DELETE", f"/_runner/session?sessionId={self._session}")
        sys.exit(SUCCESS)

    def _report(self, result: str) -> None:
        self._ask("POST", f"/_runner/finish?sessionId={self._session}&result={result}")

    def _ask(self, method: str, path: str, body: str = "") -> tuple[int, dict[str, Any]]:
        """A status that will not pass, and the answer."""
        while True:
            connection = http.client.HTTPConnection(self._host, timeout=POLL_SECONDS)
            try:
                connection.request(method, path, body=body.encode(), headers={"Content-Type": "application/json"})
                response = connection.getresponse()
                data = response.read()
                value: dict[str, Any] = json.loads(data if response.status == 200 else "{}")
            except (OSError, http.client.HTTPException, ValueError):
                pass
            else:
                if response.status < 500 and response.status != 429:
                    return response.status, value
            finally:
                connection.close()
            time.sleep(PAUSE_SECONDS)


def main() -> int:
    """As Runner.Listener run."""
    files = (ROOT / ".runner", ROOT / ".credentials")
    if sys.argv[1:] != ["run"] or not all(path.exists() for path in files):
        sys.stderr.write("An error occurred: Not configured. Run config.(sh/cmd) to configure the runner.\n")
        return TERMINATED
    load_environment()
    (ROOT / "_diag").mkdir(exist_ok=True)
    (ROOT / f"_diag/Runner_{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-utc.log").touch()
    settings, credentials = (json.loads(path.read_text(encoding="utf-8")) for path in files)
    sys.stdout.write("Listening for Jobs\n")
    sys.stdout.flush()
    return Listener(settings["serverUrl"], settings["agentId"], credentials["data"]["clientId"]).listen()


if __name__ == "__main__":
    sys.exit(main())
