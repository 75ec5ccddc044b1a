"""Evidence and use of a version, asked of the emulators: numbers, and that what fails is unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from demo.rollout_fleet import EmulatedFleet
from emulators.site import Site
from fleet.settings import Settings
from rollout.plans.promotion import evidence, in_use
from rollout.view.evidence import Thresholds
from rollout.view.seen import Known, Unknown
from tests.rollout.view.seen_fleet import CANARY, STABLE, settings_with

CPU = "presubmit-cpu"
EASY = Thresholds(jobs=3, jobs_each=0, bake_hours=1)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return settings_with()


@pytest.fixture
def fleet(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedFleet]:
    with Site(organization=settings.github.organization, project=settings.google.project) as site:
        for name, value in site.operator_environment().items():
            monkeypatch.setenv(name, value)
        yield EmulatedFleet(site, settings)


def found(settings: Settings, version: str = CANARY, thresholds: Thresholds = EASY):
    return asyncio.run(evidence(settings, version, thresholds=thresholds))


def test_records_of_canary_and_stable_are_counted_over_all_pages(fleet: EmulatedFleet, settings: Settings):
    fleet.ends(60, version=CANARY, pool=CPU, age_seconds=7200)
    fleet.ends(130, version=STABLE, pool=CPU, age_seconds=3600)
    judged = found(settings)
    assert (judged.verdict, judged.canary.jobs, judged.compared.jobs) == ("enough", 60, 130)
    assert judged.hours == pytest.approx(2 + 600 / 3600, abs=0.05)


def test_records_of_another_environment_of_the_same_project_count_for_nothing(fleet: EmulatedFleet, settings: Settings):
    fleet.ends(5, version=CANARY, pool=CPU, environment="testing")
    assert found(settings).canary.jobs == 0


def test_what_a_job_wrote_into_a_record_counts_for_nothing(fleet: EmulatedFleet, settings: Settings):
    forged = {"message": "runner end", "template_version": CANARY, "environment": "prod", "reason": "finished"}
    fleet.ends(5, version=STABLE, pool=CPU, job_completed=forged)
    assert found(settings).canary.jobs == 0


def test_a_vm_counts_once_however_often_it_writes(fleet: EmulatedFleet, settings: Settings):
    for _ in range(5):
        fleet.count = 0
        fleet.ends(1, version=CANARY, pool=CPU)
    assert found(settings).canary.jobs == 1


def test_a_canary_vm_that_lives_counts_for_the_time(fleet: EmulatedFleet, settings: Settings):
    fleet.vm(CPU, "us-west1", version=CANARY, age_seconds=5400)
    assert found(settings).hours == pytest.approx(1.5, abs=0.05)


def test_pools_that_try_nothing_are_named(fleet: EmulatedFleet):
    settings = settings_with(rollout={"canary_pools": [CPU]})
    fleet.ends(3, version=CANARY, pool=CPU, age_seconds=7200)
    judged = found(settings)
    assert set(judged.by_pool) == {CPU}
    assert any("postsubmit-cpu" in note and "first try" in note for note in judged.notes)


@pytest.mark.parametrize("status", [403, 404])
def test_logs_that_cannot_be_read_are_unknown_and_never_no_failure(
    fleet: EmulatedFleet, settings: Settings, status: int
):
    fleet.vm(CPU, "us-west1", version=CANARY, age_seconds=99_999)
    fleet.site.faults.script("logging.list", status=status, times=20)
    judged = found(settings, thresholds=Thresholds(jobs=1, jobs_each=0, bake_hours=0))
    assert judged.verdict == "unknown"
    assert f"HTTP {status}" in judged.lines[0]


def test_versions_in_use_are_those_that_groups_are_set_to_and_vms_run(fleet: EmulatedFleet, settings: Settings):
    vm = fleet.vm(CPU, "us-west1", version=CANARY)
    fleet.deploy(settings_with(canary=None))
    assert asyncio.run(in_use(settings, CANARY)) == Known((vm.name,))
    assert asyncio.run(in_use(settings, "2026-10-01")) == Known(())
    stable = asyncio.run(in_use(settings, STABLE))
    assert isinstance(stable, Known)
    assert len(stable.value) == len(fleet.groups)


@pytest.mark.parametrize("route", ["compute.managed_instances", "compute.aggregated_groups"])
def test_a_group_that_cannot_be_read_makes_use_unknown_and_never_unused(
    fleet: EmulatedFleet, settings: Settings, route: str
):
    fleet.site.google.deny(route, f"operator@{settings.google.project}.iam")
    fleet.site.google.deny("compute.group", f"operator@{settings.google.project}.iam")
    assert isinstance(asyncio.run(in_use(settings, "2026-10-01")), Unknown)
