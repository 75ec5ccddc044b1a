"""The function as the cloud runs it: functions-framework in a process of its own; all over HTTP, on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from emulators.site import Site
from tests.functions.listener.listener_world import BUCKET, ORGANIZATION, PROJECT, row

ROOT = Path(__file__).parents[3]
MAIN = ROOT / "functions/demand_listener/main.py"
WEST = "gh-cpu-us-west1-ab12"


def eventually(true: Callable[[], Any], *, seconds: float = 60.0) -> Any:
    """Waits for another process. The only thing here that takes real time."""
    until = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.02)
    return found


@pytest.fixture
def site():
    with Site(organization=ORGANIZATION, project=PROJECT) as site:
        site.github.add_runner_group("presubmit")
        site.google.autofill = True
        site.google.add_group(WEST, region="us-west1", zones=["us-west1-a"], target_size=0)
        site.google.put_secret("app-key", site.github.app_key_pem)
        released = {"holder": "nobody", "fence": 41, "state": "released", "renewed": "2026-11-23T08:00:00Z"}
        site.google.put_object(BUCKET, "lease.json", json.dumps(released).encode())
        yield site


class Process:
    """Use it as a context manager."""

    def __init__(self, site: Site, folder: Path, *, serve_seconds: int = 60) -> None:
        table = {
            "environment": "prod",
            "project": PROJECT,
            "organization": ORGANIZATION,
            "groups": {WEST: row("cpu", "us-west1", zones="a")},
        }
        (folder / "fleet.json").write_text(json.dumps(table))
        self.log = folder / "log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "GCE_METADATA_HOST": site.metadata_host,
            "LISTENER_APP_ID": str(site.github.app_id),
            "LISTENER_INSTALLATION_ID": str(site.github.installation_id),
            "LISTENER_APP_KEY_SECRET": f"projects/{PROJECT}/secrets/app-key/versions/latest",
            "LISTENER_BUCKET": BUCKET,
            "LISTENER_SERVE_SECONDS": str(serve_seconds),
            "LISTENER_FLEET_FILE": str(folder / "fleet.json"),
            "LISTENER_GITHUB_URL": site.github_url,
            "LISTENER_COMPUTE_URL": site.compute_url,
            "LISTENER_STORAGE_URL": site.storage_url,
            "LISTENER_SECRETS_URL": site.secrets_url,
            "LISTENER_MONITORING_URL": site.monitoring_url,
        }
        self.answers: list[Any] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self):
        command = [sys.executable, "-m", "functions_framework", "--source", str(MAIN), "--target", "handle"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--host", "127.0.0.1", "--port", str(self.port)],
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        eventually(self._listens)
        return self

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        return False

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for thread in self._threads:
            thread.join()

    def call(self) -> None:
        """As Cloud Scheduler does, without waiting for the answer."""

        def post() -> None:
            with contextlib.suppress(requests.RequestException):
                answer = requests.post(f"http://127.0.0.1:{self.port}/", timeout=90)
                self.answers.append((answer.status_code, answer.json()))

        thread = threading.Thread(target=post)
        thread.start()
        self._threads.append(thread)

    def ask(self, method: str, path: str) -> requests.Response:
        return requests.request(method, f"http://127.0.0.1:{self.port}{path}", timeout=10)


def stored(site: Site, name: str) -> Any:
    found = site.google.objects.get((BUCKET, name))
    return None if found is None else json.loads(found.data)


def test_a_request_leads_grows_a_group_and_says_how_long_it_led(site, tmp_path):
    site.github.queue_job(["gh-cpu"])
    with Process(site, tmp_path, serve_seconds=6) as process:
        process.call()
        eventually(lambda: site.google.groups[WEST].target_size == 1)
        ((status, said),) = eventually(lambda: process.answers)
        assert status == 200
        assert (said["fence"], said["terms"]) == (42, 1)
        assert stored(site, "lease.json")["state"] == "released"
        assert stored(site, "pools/cpu.json")["assigned"] == 1
        lines = [json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{")]
        assert {"leads", "grown", "hands over", "POST /"} <= {line["message"] for line in lines}
        assert site.github.app_key_pem.splitlines()[1] not in process.log.read_text()


def test_sigterm_closes_the_session_and_passes_the_lease_on(site, tmp_path):
    with Process(site, tmp_path) as process:
        process.call()
        eventually(lambda: stored(site, f"demand/{WEST}.json"))
        began = time.monotonic()
        process.process.send_signal(signal.SIGTERM)
        eventually(lambda: stored(site, "lease.json")["state"] == "released")
        assert time.monotonic() - began < 30
        assert site.github.scale_sets.by_name("gh-cpu").session is None
        eventually(lambda: process.process.poll() is not None)
        assert process.answers[0][0] == 200


def test_after_a_kill_nothing_is_passed_on(site, tmp_path):
    with Process(site, tmp_path) as process:
        process.call()
        eventually(lambda: stored(site, f"demand/{WEST}.json"))
    assert stored(site, "lease.json")["state"] == "held"
    assert site.github.scale_sets.by_name("gh-cpu").session is not None


def test_other_paths_and_methods_are_refused(site, tmp_path):
    with Process(site, tmp_path) as process:
        assert process.ask("POST", "/other").status_code == 404
        wrong = process.ask("GET", "/")
        assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST")
        assert wrong.json()["error"] == "method_wrong"


def test_a_start_without_its_settings_fails_and_names_the_variable(site, tmp_path):
    process = Process(site, tmp_path)
    process.environment.pop("LISTENER_BUCKET")
    command = [sys.executable, "-m", "functions_framework", "--source", str(MAIN), "--target", "handle"]
    done = subprocess.run(
        [*command, "--port", str(process.port)],
        env=process.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "LISTENER_BUCKET is not set; allowed: a bucket's name" in done.stderr
