"""A whole bake: the plan, the engine, the google backend over HTTP, and an emulated project; the VM is played."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import json
import re
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from emulators.site import Site
from rollout.backends.google import GoogleOperations
from rollout.commands.bake import command
from rollout.engine.run import Run
from rollout.engine.states import State
from rollout.exits import Exit
from rollout.plans import bake
from rollout.plans.stack_settings import stack_settings

ROOT = Path(__file__).parent.parent.parent.parent
PROJECT = "iree-oss"
ARGUMENTS = {
    "stack": "prod",
    "keys": ["cpu", "arm64"],
    "zone": "us-central1-a",
    "bases": {},
    "at": datetime.datetime(2026, 11, 25, 14, 3, 9, tzinfo=datetime.UTC).isoformat(),
    "keep": False,
}
PASSED = f"bake: passed {'0' * 64}\n"


def states(report) -> dict[str, State]:
    return {result.id: result.state for result in report.results}


class Builders:
    """What becomes of each builder: a line on its console, as soon as it is there."""

    def __init__(self, site: Site, lines: dict[str, str]) -> None:
        self._site = site
        self._lines = dict(lines)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._play)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _play(self) -> None:
        while self._lines and not self._over.wait(0.01):
            for vm in list(self._site.google.compute.loose):
                key = vm.name.split("-")[3]
                if key in self._lines and vm.status == "RUNNING":
                    self._site.google.write_serial(vm, "Booting\n\nbake: begins\n" + self._lines.pop(key))


def baked(lines: dict[str, str], *, keep: bool = False):
    """The report, and the project afterwards, of a bake of cpu and arm64 whose builders say these lines."""
    with Site(project=PROJECT) as site, Builders(site, lines):
        site.google.compute.stop_seconds = 0.0
        images = bake.images(ROOT, ARGUMENTS)
        google = GoogleOperations(environ=site.operator_environment(), first_seconds=0.01, most_seconds=0.02)

        async def go():
            return await Run(bake.plan(PROJECT, images, keep=keep), {"google": google}).execute()

        report = asyncio.run(go())
        return report, images, site.google


def test_each_image_is_made_captured_and_its_builder_gone():
    report, images, google = baked({"cpu": PASSED, "arm64": PASSED})
    assert report.verdict == "passed", report.to_json()
    assert sorted(google.compute.snapshots) == sorted(image.snapshot for image in images)
    assert not google.compute.loose


def test_an_image_that_fails_leaves_the_other_and_no_builder():
    report, images, google = baked({"cpu": PASSED, "arm64": "bake: failed at line 34 (status 1): 60-gpu: no\n"})
    seen = states(report)
    assert report.verdict == "failed"
    assert seen["arm64/provision"] == State.FAILED
    assert seen["arm64/snapshot"] == State.SKIPPED
    assert seen["arm64/delete"] == State.PASSED
    assert seen["cpu/ready"] == State.PASSED
    assert list(google.compute.snapshots) == [images[0].snapshot]
    assert not google.compute.loose
    failed = next(result for result in report.results if result.id == "arm64/provision")
    assert failed.reason
    assert "60-gpu: no" in failed.reason.message


def test_a_builder_that_failed_is_kept_where_that_was_asked_for():
    report, images, google = baked({"cpu": PASSED, "arm64": "bake: failed at line 34 (status 1): no\n"}, keep=True)
    assert states(report)["arm64/delete"] == State.SKIPPED
    assert [vm.name for vm in google.compute.loose] == [images[1].builder.name]
    assert images[1].builder.body["scheduling"]["instanceTerminationAction"] == "DELETE"


def test_the_plan_is_the_same_each_time_so_that_a_run_can_be_resumed():
    first, second = (bake.images(ROOT, ARGUMENTS) for _ in range(2))
    assert bake.plan(PROJECT, first, keep=False) == bake.plan(PROJECT, second, keep=False)
    later = bake.images(ROOT, {**ARGUMENTS, "at": "2026-11-25T14:03:10+00:00"})
    assert bake.plan(PROJECT, later, keep=False) != bake.plan(PROJECT, first, keep=False)


def test_a_class_whose_version_pins_a_snapshot_needs_a_base():
    settings = stack_settings(ROOT, "prod")
    newest = settings.versions[settings.newest_version]
    baked_before = newest.model_copy(update={"images": {**newest.images, "cpu": object()}})
    other = dataclasses.replace(settings, versions={settings.newest_version: baked_before})
    with pytest.raises(ValueError, match=re.escape("--base cpu=projects/ubuntu-os-cloud/global/images/IMAGE")):
        bake._base(other, "cpu")


def test_a_dry_run_says_what_would_be_made_and_makes_nothing(monkeypatch):
    monkeypatch.chdir(ROOT)
    ran = CliRunner().invoke(command, ["cpu", "a100", "--stack", "prod", "--dry-run", "--json"])
    assert ran.exit_code == Exit.DONE, ran.output
    assert sorted(json.loads(ran.stdout)["images"]) == ["cpu", "gpu"]


def test_nobody_there_to_ask_is_a_no(monkeypatch):
    monkeypatch.chdir(ROOT)
    ran = CliRunner().invoke(command, ["cpu", "--stack", "prod"])
    assert ran.exit_code == Exit.DECLINED
    assert "--yes" in ran.stderr


def test_a_class_that_is_none_is_named_with_those_that_are(monkeypatch):
    monkeypatch.chdir(ROOT)
    ran = CliRunner().invoke(command, ["cpuu", "--stack", "prod", "--dry-run"])
    assert ran.exit_code == Exit.FAULT
    assert "a100, arm64, cpu, gpu" in ran.stderr
