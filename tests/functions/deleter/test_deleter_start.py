"""How the deleter starts: quickly, small, as the cloud's own command, and not at all with settings that cannot work."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import requests
from deleter import settings
from deleter.variables import SettingsError

from tests.functions.deleter.deleter_process import MAIN, DeleterProcess
from tests.functions.deleter.deleter_world import CPU, environment, fleet_table

IMPORT_SECONDS = 1.0
MOST_BYTES = 128 << 20
"""Half of the 256 MiB that the smallest useful Cloud Run instance has."""


@pytest.fixture
def given(world, tmp_path):
    table = tmp_path / "fleet.json"
    table.write_text(fleet_table())
    return environment(world.site, table)


def test_it_serves_by_the_command_of_the_cloud_within_its_memory(world, given, tmp_path):
    vm, other = world.vms(CPU, 2)
    world.recommend(1)
    with DeleterProcess(given, tmp_path / "log") as deleter:
        for method, path, said in [
            ("POST", "/retire", {"permit": True, "reason": "granted"}),
            ("DELETE", "/retire", {"returned": True}),
            ("DELETE", "/", {"deleting": True}),
        ]:
            reply = requests.request(method, deleter.url + path, headers=world.bearer(vm), timeout=30)
            assert (reply.status_code, reply.json()) == (200, said)
        refused = requests.request("GET", f"{deleter.url}/retire", timeout=30)
        assert (refused.status_code, refused.json()["error"]) == (405, "method_wrong")
        memory = deleter.most_memory_bytes()
    sys.stdout.write(f"most memory: {memory / (1 << 20):.0f} MiB\n")
    assert 0 < memory < MOST_BYTES
    assert other.action == "NONE"
    assert '"outcome": "granted"' in (tmp_path / "log").read_text()


def test_the_import_takes_less_than_a_cold_start_may(given):
    timed = "import time; t = time.process_time(); import main; print(time.process_time() - t)"
    taken = [
        float(
            subprocess.run(
                [sys.executable, "-c", timed], cwd=MAIN.parent, env=given, check=True, capture_output=True, text=True
            ).stdout
        )
        for _ in range(3)
    ]
    sys.stdout.write(f"import: {min(taken):.2f} s of processor time\n")
    assert min(taken) < IMPORT_SECONDS


def test_no_google_sdk_is_imported(given):
    heavy = ("google.cloud.compute", "google.cloud.storage", "google.api_core", "grpc", "pydantic")
    listed = f"import sys, main; print([name for name in sys.modules if name.startswith({heavy})])"
    ran = subprocess.run(
        [sys.executable, "-c", listed], cwd=MAIN.parent, env=given, check=True, capture_output=True, text=True
    )
    assert ran.stdout == "[]\n"


@pytest.mark.parametrize("name", ["DELETER_AUDIENCE", "DELETER_PERMITS_BUCKET", "DELETER_DEMAND_BUCKET"])
def test_a_missing_setting_is_named(given, tmp_path, name):
    del given[name]
    with pytest.raises(SettingsError, match=f"{name} is not set; allowed: "):
        settings.load(given, tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DELETER_AUDIENCE", "not a url"),
        ("DELETER_PERMITS_BUCKET", "UPPER"),
        ("DELETER_PERMITS_BUCKET", "a/b"),
        ("DELETER_DEMAND_BUCKET", "a/b"),
        ("DELETER_COMPUTE_URL", "ftp://compute"),
        ("DELETER_STORAGE_URL", ""),
        ("DELETER_CERTS_URL", "http://x?y"),
    ],
)
def test_a_garbled_setting_is_named_with_what_was_seen(given, tmp_path, name, value):
    with pytest.raises(SettingsError, match=re.escape(f"{name} is {value!r}; allowed: ")):
        settings.load({**given, name: value}, tmp_path)


@pytest.mark.parametrize(
    "table",
    ["", "{", "[]", '{"groups": {}}', '{"environment": "e", "project": "p", "organization": "o", "groups": []}'],
)
def test_a_garbled_table_is_named(given, tmp_path, table):
    (tmp_path / "fleet.json").write_text(table)
    with pytest.raises(SettingsError, match="DELETER_FLEET_FILE: "):
        settings.load(given, tmp_path)


def test_a_missing_table_is_named_and_the_default_lies_beside_the_function(given, tmp_path):
    del given["DELETER_FLEET_FILE"]
    assert settings.load(given, tmp_path).fleet.groups.keys() >= {CPU}
    (tmp_path / "fleet.json").unlink()
    with pytest.raises(SettingsError, match=r"DELETER_FLEET_FILE: .* cannot be read"):
        settings.load(given, tmp_path)


def test_the_googles_are_the_defaults(given, tmp_path):
    for name in ("COMPUTE", "STORAGE", "CERTS"):
        del given[f"DELETER_{name}_URL"]
    known = settings.load(given, tmp_path)
    assert known.compute_url == "https://compute.googleapis.com"
    assert known.storage_url == "https://storage.googleapis.com"
    assert known.certs_url == "https://www.googleapis.com/oauth2/v3/certs"


def test_a_start_that_cannot_work_ends_with_the_reason(given):
    given["DELETER_AUDIENCE"] = "nowhere"
    ran = subprocess.run(
        [sys.executable, "-c", "import main"], cwd=MAIN.parent, env=given, check=False, capture_output=True, text=True
    )
    assert ran.returncode != 0
    assert "DELETER_AUDIENCE is 'nowhere'; allowed: a URL" in ran.stderr
