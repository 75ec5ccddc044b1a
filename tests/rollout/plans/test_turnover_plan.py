"""The plan that waits for a fleet to be what its stack says, over the emulators."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.rollout_fleet import EmulatedFleet
from emulators.google.instance import Instance
from emulators.site import Site
from fleet.settings import Settings
from rollout.engine.report import Report
from rollout.plans import turnover
from rollout.plans.turnover import plan, wait
from tests.rollout.view.seen_fleet import CANARY, STABLE, settings_with

CPU = "presubmit-cpu"
INTERVAL = 0.05


def stack() -> Settings:
    """One pool of two regions, nothing under trial: what its files say once the canary was given up."""
    return settings_with(canary=None, only_pools=(CPU,))


@pytest.fixture
def settings() -> Settings:
    return stack()


@pytest.fixture
def fleet(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedFleet]:
    with Site(organization=settings.github.organization, project=settings.google.project) as site:
        for name, value in site.operator_environment().items():
            monkeypatch.setenv(name, value)
        yield EmulatedFleet(site, settings)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(turnover, "stack_settings", lambda _root, _stack: stack())
    return tmp_path


def progress(project: Path, step: str) -> list[str]:
    path = project / "runs/trial/events.jsonl"
    events = [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.is_file() else []
    return [event["data"]["text"] for event in events if event["kind"] == "progress" and event["step"] == step]


def waited(project: Path, settings: Settings, until: str, then: Callable[[], None]) -> Report:
    """The run, in which something happens once a step has said that it waits."""

    async def course() -> Report:
        async with asyncio.timeout(60):
            waiting = wait(settings, root=project, stream=io.StringIO(), run_id="trial", interval_seconds=INTERVAL)
            run = asyncio.create_task(waiting)
            while not progress(project, until):  # noqa: ASYNC110 - what is waited for is in a file
                await asyncio.sleep(0.01)
            then()
            return await run

    return asyncio.run(course())


def left_over(fleet: EmulatedFleet, runner: str) -> Instance:
    """A VM of the version that was under trial when it was made."""
    fleet.deploy(settings_with(canary=CANARY, only_pools=(CPU,)))
    made = fleet.vm(CPU, "us-west1", version=CANARY, runner=runner)
    fleet.deploy(stack())
    return made


def test_every_group_is_waited_for_twice(settings: Settings):
    assert {step.id: step.needs for step in plan(settings).steps} == {
        f"deployed/{CPU}/us-central1": (),
        f"deployed/{CPU}/us-west1": (),
        f"turned-over/{CPU}/us-central1": (f"deployed/{CPU}/us-central1",),
        f"turned-over/{CPU}/us-west1": (f"deployed/{CPU}/us-west1",),
    }


def test_a_group_that_can_have_no_vm_is_not_waited_for(settings: Settings):
    pool = settings.pools[CPU]
    none = {region: size.model_copy(update={"max": 0}) for region, size in pool.regions.items()}
    empty = dataclasses.replace(settings, pools={CPU: pool.model_copy(update={"regions": none})})
    assert plan(empty).steps == ()


def test_it_ends_once_somebody_has_deployed(fleet: EmulatedFleet, project: Path, settings: Settings):
    fleet.deploy(settings_with(canary=CANARY, only_pools=(CPU,)))
    report = waited(project, settings, f"deployed/{CPU}/us-west1", lambda: fleet.deploy(settings))
    assert report.verdict == "passed"
    assert progress(project, f"deployed/{CPU}/us-west1")[0] == "set to other versions yet: deploy"


def test_a_vm_of_another_version_is_waited_for_until_its_job_has_ended(
    fleet: EmulatedFleet, project: Path, settings: Settings
):
    old = left_over(fleet, "busy")
    fleet.vm(CPU, "us-west1", version=STABLE, runner="busy")
    step = f"turned-over/{CPU}/us-west1"
    report = waited(project, settings, step, lambda: fleet.site.google.delete_instance(old))
    assert report.verdict == "passed"
    assert progress(project, step)[0] == f"1 busy of {CANARY}"


def test_idle_ones_that_nobody_sends_away_are_told_with_the_command_that_does(
    fleet: EmulatedFleet, project: Path, settings: Settings
):
    old = left_over(fleet, "idle")
    step = f"turned-over/{CPU}/us-west1"
    waited(project, settings, step, lambda: fleet.site.google.delete_instance(old))
    assert progress(project, step)[0] == f"1 idle of {CANARY}; scripts/rollout drain has idle ones leave"


def test_a_cloud_that_fails_for_a_while_is_asked_again(fleet: EmulatedFleet, project: Path, settings: Settings):
    fleet.site.faults.script("compute.aggregated_groups", status=503, times=4)
    report = asyncio.run(wait(settings, root=project, stream=io.StringIO(), run_id="trial", interval_seconds=INTERVAL))
    assert report.verdict == "passed"
    assert [request.status for request in fleet.site.asked("compute.aggregated_groups")].count(503) == 4


def test_a_cloud_that_refuses_ends_the_run(fleet: EmulatedFleet, project: Path, settings: Settings):
    operator = f"operator@{settings.google.project}.iam"
    for route in ("compute.aggregated_groups", "compute.group"):
        fleet.site.google.deny(route, operator)
    report = asyncio.run(wait(settings, root=project, stream=io.StringIO(), run_id="trial", interval_seconds=INTERVAL))
    assert report.verdict == "failed"
    assert {result.reason.code for result in report.results if result.reason and result.state == "failed"} == {
        "unreachable"
    }
