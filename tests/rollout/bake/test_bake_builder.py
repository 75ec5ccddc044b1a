"""A builder VM, and its script under bash: a metadata server on loopback, a console that is a file."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from emulators.site import Site
from fleet.settings import load
from rehearsal import stack_files
from rollout.bake import builder
from startup import bundle

ROOT = Path(__file__).parent.parent.parent.parent
AT = datetime.datetime(2026, 11, 25, 14, 3, 9, tzinfo=datetime.UTC)
BASE = "projects/ubuntu-os-cloud/global/images/ubuntu-2404-noble-amd64-v20260918"
TOOLS = ("base64", "curl", "gzip", "mkdir", "mktemp", "sha256sum", "tail", "tar", "bash", "cat", "dirname")
SYSTEMD_RUN = """#!/bin/bash
set -eu
while [[ $1 == --* ]]; do printf '%s ' "$1"; shift; done >>"$BAKE_ROOT/options"
printf '%s\\n' "$@" >"$BAKE_ROOT/told"
if [[ -e $BAKE_ROOT/refuse ]]; then
  printf '50-docker: apt-get failed (status 100)\\n'
  exit 1
fi
mkdir -p "$BAKE_ROOT/var/lib/runner-fleet"
printf '{"sealed": true}' >"$BAKE_ROOT/var/lib/runner-fleet/image.json"
"""


@pytest.fixture(scope="module")
def made() -> bundle.Bundle:
    return bundle.build(ROOT / "startup")


@pytest.fixture(scope="module")
def settings():
    sections = stack_files.read(ROOT, "prod").sections
    pinned = sections["versions"][max(sections["versions"])]["boot_bundle"]
    return load(sections, environment="prod", tree_bundle=pinned)


def built(settings, made, key="cpu", zone="us-west1-a") -> builder.Builder:
    return builder.builder(settings, key, made=made, base_image=BASE, zone=zone, at=AT)


def test_a_builder_has_no_account_and_cannot_outlive_its_time(settings, made):
    body = built(settings, made).body
    assert "serviceAccounts" not in body
    assert body["scheduling"]["maxRunDuration"] == {"seconds": "7200"}
    assert body["scheduling"]["instanceTerminationAction"] == "DELETE"
    assert body["disks"][0]["autoDelete"] is True


def test_a_builder_is_named_and_labelled_as_what_it_is(settings, made):
    one = built(settings, made)
    assert one.name == "gh-runner-bake-cpu-1125140309"
    assert one.body["labels"]["purpose"] == "bake"
    assert one.body["labels"]["stack"] == "prod"


def test_an_image_is_built_on_a_small_machine_of_its_architecture(settings, made):
    assert built(settings, made).body["machineType"] == "zones/us-west1-a/machineTypes/e2-standard-4"
    assert built(settings, made, "arm64").body["machineType"].endswith("/t2a-standard-4")


def test_a_gpu_image_is_built_beside_its_gpu(settings, made):
    body = built(settings, made, "gpu").body
    assert body["machineType"].endswith("/n1-standard-8")
    assert body["guestAccelerators"][0]["acceleratorType"].endswith("/nvidia-tesla-t4")
    assert body["scheduling"]["onHostMaintenance"] == "TERMINATE"
    assert "--seal --gpu" in builder.script(settings, builder.class_of(settings, "gpu"), made)


def test_an_image_that_nobody_uses_is_refused_with_those_that_are(settings, made):
    with pytest.raises(ValueError, match="image tpu: no machine class uses it; allowed: arm64, cpu, gpu"):
        built(settings, made, "tpu")


def test_a_release_without_a_digest_for_the_architecture_is_refused(settings, made):
    newest = settings.versions[settings.newest_version]
    older = dataclasses.replace(
        settings, versions={settings.newest_version: newest.model_copy(update={"runner": "2.336.0"})}
    )
    with pytest.raises(
        ValueError, match=r"runner_releases\.2\.336\.0\.sha256: no digest for x64; fix: scripts/rollout"
    ):
        built(older, made)


def test_the_bundle_travels_in_one_attribute(settings, made):
    items = {item["key"]: item["value"] for item in built(settings, made).body["metadata"]["items"]}
    assert len(items["bake-bundle"]) <= builder.MAX_METADATA_VALUE_BYTES
    assert items["block-project-ssh-keys"] == "TRUE"
    with pytest.raises(ValueError, match="allowed: 262144"):
        builder.packed(dataclasses.replace(made, data=hashlib.shake_256(b"dense").digest(300_000)))


@pytest.fixture
def machine(tmp_path, settings, made):
    """Runs the script of the cpu image's builder with these attributes; the console's lines."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(shutil.which(name) or name)
    (tools / "systemd-run").write_text(SYSTEMD_RUN)
    (tools / "systemd-run").chmod(0o755)

    def run(attribute: str | None = None) -> list[str]:
        with Site() as site:
            vm = site.google.create_instance(site.google.add_group("builders"))
            vm.metadata["bake-bundle"] = builder.packed(made) if attribute is None else attribute
            console = tmp_path / "console"
            script = builder.script(settings, builder.class_of(settings, "cpu"), made)
            environment = {
                "PATH": str(tools),
                "BAKE_CONSOLE": str(console),
                "BAKE_ROOT": str(tmp_path),
                "GCE_METADATA_HOST": site.metadata_host_of(vm),
                "TMPDIR": str(tmp_path),
            }
            subprocess.run(["bash", "-c", script], env=environment, check=False, timeout=60)
            return console.read_text().split("\n")

    return run


def test_a_builder_runs_the_bundles_own_scripts_and_says_that_it_passed(machine, tmp_path, settings, made):
    lines = machine()
    assert any(re.search(builder.PASSED, line) for line in lines), lines
    assert hashlib.sha256(b'{"sealed": true}').hexdigest() in lines[-2]
    program, *told = (tmp_path / "told").read_text().split("\n")[:-1]
    assert program == f"{tmp_path}/opt/runner-fleet/{made.sha256}/image/provision"
    assert Path(program).read_bytes() == (ROOT / "startup/image/provision").read_bytes()
    release = settings.versions[settings.newest_version].runner
    assert told[:2] == ["--seal", "--runner-archive"]
    assert release in told[2]
    assert told[3] == settings.runner_releases[release].sha256["x64"]


def test_a_bundle_of_another_digest_is_not_run(machine, tmp_path, made):
    other = dataclasses.replace(made, data=made.data + b"\0" * 512)
    lines = machine(builder.packed(other))
    assert any(re.search(builder.FAILED, line) for line in lines), lines
    assert not (tmp_path / "told").exists()
    assert not any(re.search(builder.PASSED, line) for line in lines)


def test_a_step_that_fails_is_named_on_the_console(machine, tmp_path):
    (tmp_path / "refuse").touch()
    lines = machine()
    assert any("50-docker: apt-get failed (status 100)" in line and re.search(builder.FAILED, line) for line in lines)


def test_the_script_is_clean(settings, made, tmp_path):
    path = tmp_path / "builder.sh"
    path.write_text(builder.script(settings, builder.class_of(settings, "gpu"), made))
    bin_folder = ROOT / ".venv" / "bin"
    checked = subprocess.run([bin_folder / "shellcheck", path], capture_output=True, text=True, check=False)
    assert checked.stdout == ""
    formatted = subprocess.run(
        [bin_folder / "shfmt", "--diff", "--indent", "2", "--case-indent", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert formatted.stdout == ""


def test_a_snapshot_is_kept_where_the_fleet_is(settings):
    body = builder.snapshot_body(settings, "cpu", name="s", builder_name="b", zone="us-west1-a")
    assert body["storageLocations"] == []
    assert json.loads(json.dumps(body))["labels"]["image"] == "cpu"
