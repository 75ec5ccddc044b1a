"""How the reconciler starts: as the cloud's own command, and not at all with settings that cannot work."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from reconciler import app, limits, settings
from reconciler.variables import SettingsError

from tests.functions.reconciler.reconciler_world import TOO_OLD

MAIN = Path(__file__).parents[3] / "functions/reconciler/main.py"
MOST_BYTES = 256 << 20
"""Half of the memory that it is given (fleet/services.py)."""


@contextlib.contextmanager
def served(environment, log):
    """The function's URL and process id, while the cloud's own command serves it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "functions_framework", "--source", str(MAIN), "--target", "handle"]
    with log.open("wb") as written:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environment},
            stdout=written,
            stderr=written,
            start_new_session=True,
        )
    until = time.monotonic() + 60
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.02)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def most_memory_bytes(group: int) -> int:
    """The most that any process of the command ever held."""
    sizes = [0]
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(status.parent.name)) == group:
                sizes += [int(size) << 10 for size in re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())]
    return max(sizes)


def test_it_serves_by_the_command_of_the_cloud_with_a_token_of_the_metadata_server(world, tmp_path):
    vm = world.vm(age=TOO_OLD)
    world.listen()
    log = tmp_path / "log"
    with served(world.environment, log) as (url, group):
        first = requests.post(f"{url}/", timeout=60)
        assert (first.status_code, first.json()["disagreements"], first.json()["measured"]) == (200, 1, True)
        refused = requests.get(f"{url}/", timeout=60)
        assert (refused.status_code, refused.json()["error"], refused.headers["Allow"]) == (405, "method_wrong", "POST")
        memory = most_memory_bytes(group)
    sys.stdout.write(f"most memory: {memory >> 20} MiB\n")
    assert 0 < memory < MOST_BYTES
    assert vm.action == "NONE"
    assert '"message": "reconciled"' in log.read_text()
    assert '"kind": "unregistered_vm"' in log.read_text()


def test_no_google_sdk_is_imported(world):
    heavy = ("google.cloud.compute", "google.cloud.storage", "google.api_core", "grpc", "pydantic")
    listed = f"import sys, main; print([name for name in sys.modules if name.startswith({heavy})])"
    ran = subprocess.run(
        [sys.executable, "-c", listed],
        cwd=MAIN.parent,
        env=world.environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert ran.stdout == "[]\n"


REQUIRED = (
    "APP_ID INSTALLATION_ID APP_KEY_SECRET BUCKET GRANTS_BUCKET PERMITS_BUCKET LISTENER_BUCKET DRY_RUN MOST_PERCENT "
    "BOOT_DEADLINE_SECONDS MAX_RUN_SECONDS RUNNER_RELEASES"
).split()


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_setting_is_named(world, tmp_path, name):
    del world.environment[f"RECONCILER_{name}"]
    with pytest.raises(SettingsError, match=f"RECONCILER_{name} is not set; allowed: "):
        settings.load(world.environment, tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DRY_RUN", "yes"),
        ("DRY_RUN", ""),
        ("DRY_RUN", "False"),
        ("MOST_PERCENT", "0"),
        ("MOST_PERCENT", "101"),
        ("MOST_PERCENT", "20%"),
        ("BOOT_DEADLINE_SECONDS", "-1"),
        ("MAX_RUN_SECONDS", "1e5"),
        ("APP_ID", "0"),
        ("APP_KEY_SECRET", "github-app-key"),
        ("GRANTS_BUCKET", "a/b"),
        ("RUNNER_RELEASES", "{"),
        ("RUNNER_RELEASES", "[]"),
        ("RUNNER_RELEASES", '{"2.336.0": "soon"}'),
        ("RUNNER_RELEASES", '{"2.336.0": 5}'),
        ("RUNNER_RELEASES", '{"latest": "2026-07-20"}'),
        ("GITHUB_URL", "ftp://github"),
        ("COMPUTE_URL", ""),
        ("MONITORING_URL", "http://x?y"),
    ],
)
def test_a_garbled_setting_is_named_with_what_was_seen(world, tmp_path, name, value):
    seen = re.escape(f"RECONCILER_{name} is {value!r}; allowed: ")
    with pytest.raises(SettingsError, match=seen):
        settings.load({**world.environment, f"RECONCILER_{name}": value}, tmp_path)


def test_the_services_own_urls_are_the_defaults(world, tmp_path):
    for name in ("GITHUB", "COMPUTE", "STORAGE", "SECRETS", "MONITORING"):
        del world.environment[f"RECONCILER_{name}_URL"]
    known = settings.load(world.environment, tmp_path)
    assert [known.github_url, known.compute_url, known.storage_url, known.secrets_url, known.monitoring_url] == [
        "https://api.github.com",
        "https://compute.googleapis.com",
        "https://storage.googleapis.com",
        "https://secretmanager.googleapis.com",
        "https://monitoring.googleapis.com",
    ]


@pytest.mark.parametrize("table", ["", "{", "[]", '{"groups": {}}', None])
def test_a_table_that_cannot_be_read_is_named(world, tmp_path, table):
    file = tmp_path / "fleet.json"
    file.write_text(table) if table is not None else file.unlink()
    with pytest.raises(SettingsError, match="RECONCILER_FLEET_FILE: "):
        settings.load(world.environment, tmp_path)


def test_a_start_that_cannot_work_ends_with_the_reason(world):
    environment = {**world.environment, "RECONCILER_DRY_RUN": "perhaps"}
    ran = subprocess.run(
        [sys.executable, "-c", "import main"],
        cwd=MAIN.parent,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    assert "RECONCILER_DRY_RUN is 'perhaps'; allowed: true or false" in ran.stderr


def test_a_run_is_shorter_than_its_calls_are_apart():
    assert app.RUN_SECONDS < app.CLAIM_SECONDS < 300
    assert limits.SETTLE_SECONDS < 300 < limits.APART_SECONDS
    assert limits.REGISTRATION_MARGIN_SECONDS > 45 + 2 * 120  # a request of the broker's, and clocks two minutes off
