"""The plan that waits for a canary, over the emulators: the whole way to a verdict, and what it does in between."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.rollout_fleet import EmulatedFleet
from emulators.site import Site
from fleet.settings import Settings
from rollout.engine.report import Report
from rollout.engine.spec import AtLeast
from rollout.plans import canary
from rollout.plans.canary import plan, wait
from rollout.plans.drive import Prepared, RecipeError, resume
from rollout.view.evidence import Thresholds
from tests.conftest import ROOT
from tests.rollout.view.seen_fleet import CANARY, STABLE, settings_with

POOLS = ("presubmit-cpu", "presubmit-a100")
EASY = Thresholds(jobs=3, jobs_each=0, bake_hours=0.1)
INTERVAL = 0.05
CPU = "presubmit-cpu"


@pytest.fixture
def settings() -> Settings:
    """Two pools, so that a run is small: one with a VM of each group, one with a whole region."""
    return two_pools()


def two_pools(version: str | None = CANARY) -> Settings:
    return settings_with(canary=version, only_pools=POOLS)


@pytest.fixture
def fleet(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedFleet]:
    with Site(organization=settings.github.organization, project=settings.google.project) as site:
        for name, value in site.operator_environment().items():
            monkeypatch.setenv(name, value)
        yield EmulatedFleet(site, settings)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for runs, whose stack files are the fixture's settings."""
    monkeypatch.setattr(canary, "stack_settings", lambda _root, _stack: two_pools())
    return tmp_path


async def begun(
    project: Path,
    settings: Settings,
    thresholds: Thresholds = EASY,
    run_id: str = "trial",
    shown: io.StringIO | None = None,
) -> Report:
    return await wait(
        settings,
        CANARY,
        root=project,
        thresholds=thresholds,
        stream=shown or io.StringIO(),
        run_id=run_id,
        interval_seconds=INTERVAL,
    )


async def until(true: Callable[[], bool]) -> None:
    """Wait for what must come."""
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - what is waited for is in a file
            await asyncio.sleep(0.01)


def events(project: Path, run_id: str = "trial") -> list[dict[str, Any]]:
    path = project / "runs" / run_id / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def progress(project: Path, step: str) -> list[str]:
    return [event["data"]["text"] for event in events(project) if event["kind"] == "progress" and event["step"] == step]


def ended(project: Path, step: str) -> bool:
    return any(
        event["kind"] == "state" and event["step"] == step and event["new"] == "passed" for event in events(project)
    )


def results(report: Report) -> dict[str, str]:
    return {result.id: result.state.value for result in report.results}


def with_run(work: Awaitable[Any]) -> Any:
    async def main() -> Any:
        async with asyncio.timeout(60):
            return await work

    return asyncio.run(main())


# The plan.


def test_every_group_with_a_canary_is_waited_for_and_no_other(settings: Settings):
    steps = {step.id for step in plan(settings, CANARY, EASY).steps}
    assert steps == {
        "deployed/presubmit-cpu/us-central1",
        "deployed/presubmit-cpu/us-west1",
        "deployed/presubmit-a100/us-central1",
        "online/presubmit-cpu/us-central1",
        "online/presubmit-cpu/us-west1",
        "online/presubmit-a100/us-central1",
        "jobs",
        "baked",
        "rate",
        "verdict",
    }


def test_one_canary_vm_anywhere_is_enough_to_begin_with(settings: Settings):
    jobs = next(step for step in plan(settings, CANARY, EASY).steps if step.id == "jobs")
    assert jobs.rule == AtLeast(steps=1)
    assert len(jobs.needs) == 3


def test_a_version_that_no_group_tries_has_no_plan_and_a_command_that_mends_it(settings: Settings):
    with pytest.raises(ValueError, match=rf"no group of prod tries {STABLE}; scripts/rollout canary {STABLE}"):
        plan(settings, STABLE, EASY)


def test_a_version_that_no_group_tries_leaves_no_run_behind(project: Path):
    with pytest.raises(ValueError, match="no group of prod tries"):
        with_run(wait(two_pools(None), CANARY, root=project))
    assert not (project / "runs").exists()


# Runs.


def test_a_good_canary_passes_with_its_evidence(fleet: EmulatedFleet, project: Path, settings: Settings):
    fleet.vm(CPU, "us-west1", version=CANARY, runner="idle")
    fleet.ends(3, version=CANARY, pool=CPU, age_seconds=60)
    fleet.ends(9, version=STABLE, pool=CPU, age_seconds=30)
    shown = io.StringIO()
    report = with_run(begun(project, settings, shown=shown))
    assert report.verdict == "passed"
    assert set(results(report).values()) == {"passed"}
    verdict = report.results[-1].output["evidence"]
    assert (verdict["verdict"], verdict["canary"]["jobs"], verdict["compared"]["jobs"]) == ("enough", 3, 9)
    assert "verdict" in shown.getvalue()
    assert json.loads((project / "runs/trial/report.json").read_text())["verdict"] == "passed"
    assert (project / "runs/trial/report.html").is_file()


def test_a_group_that_no_job_asks_for_does_not_keep_the_verdict_waiting(
    fleet: EmulatedFleet, project: Path, settings: Settings
):
    fleet.vm(CPU, "us-west1", version=CANARY, runner="idle")

    async def course() -> Report:
        run = asyncio.create_task(begun(project, settings))
        await until(lambda: progress(project, "online/presubmit-a100/us-central1") != [])
        fleet.ends(3, version=CANARY, pool=CPU)
        return await run

    report = with_run(course())
    assert report.verdict == "passed"
    assert progress(project, "online/presubmit-a100/us-central1")[0] == "no job has asked for a VM of it yet"
    unused = next(result for result in report.results if result.id == "online/presubmit-a100/us-central1")
    assert unused.output == {"seen": False}


def test_bad_evidence_fails_the_run_though_groups_are_still_waited_for(
    fleet: EmulatedFleet, project: Path, settings: Settings
):
    fleet.deploy(two_pools(None))  # of the a100 pool nothing is deployed yet
    names = settings.names
    fleet.site.google.set_versions(
        fleet.group(CPU, "us-west1"),
        [(f"v{STABLE}", names.template(CPU, STABLE), None), (f"v{CANARY}", names.template(CPU, CANARY), 1)],
    )
    fleet.vm(CPU, "us-west1", version=CANARY, runner="idle")
    fleet.ends(4, version=CANARY, pool=CPU, reason="boot-failed:install")
    report = with_run(begun(project, settings))
    assert report.verdict == "failed"
    bad = next(result for result in report.results if result.id == "jobs")
    assert bad.reason is not None
    assert bad.reason.code == "bad-evidence"
    assert "4 canary VMs failed to boot, at most 3 may" in bad.reason.message
    assert results(report)["verdict"] == "skipped"


def test_deployment_is_waited_for(fleet: EmulatedFleet, project: Path, settings: Settings):
    fleet.deploy(two_pools(None))
    fleet.ends(3, version=CANARY, pool=CPU)

    async def course() -> Report:
        run = asyncio.create_task(begun(project, settings))
        await until(lambda: progress(project, f"deployed/{CPU}/us-west1") != [])
        assert not ended(project, f"deployed/{CPU}/us-west1")
        fleet.deploy(settings)
        return await run

    assert with_run(course()).verdict == "passed"
    assert progress(project, f"deployed/{CPU}/us-west1")[0] == "set to other versions yet: deploy"


def test_a_canary_that_is_taken_back_meanwhile_gets_no_verdict(fleet: EmulatedFleet, project: Path, settings: Settings):
    fleet.vm(CPU, "us-west1", version=CANARY, runner="idle")

    async def course() -> Report:
        run = asyncio.create_task(begun(project, settings))
        await until(lambda: ended(project, "deployed/presubmit-a100/us-central1"))
        await until(lambda: progress(project, "jobs") != [])
        fleet.deploy(two_pools(None))
        fleet.ends(3, version=CANARY, pool=CPU)
        return await run

    report = with_run(course())
    assert report.verdict == "failed"
    reason = report.results[-1].reason
    assert reason is not None
    assert reason.code == "not-deployed"


def test_a_cloud_that_fails_for_a_while_is_asked_again_and_is_no_evidence(
    fleet: EmulatedFleet, project: Path, settings: Settings
):
    fleet.vm(CPU, "us-west1", version=CANARY, runner="idle")
    fleet.ends(3, version=CANARY, pool=CPU)
    fleet.site.faults.script("logging.list", status=503, times=4)
    report = with_run(begun(project, settings))
    assert report.verdict == "passed"
    assert any(text.startswith("cannot be told now") for text in progress(project, "jobs"))


def test_a_cloud_that_refuses_ends_the_run_and_says_who(fleet: EmulatedFleet, project: Path, settings: Settings):
    operator = f"operator@{settings.google.project}.iam"
    for route in ("compute.aggregated_groups", "compute.group"):
        fleet.site.google.deny(route, operator)
    report = with_run(begun(project, settings))
    assert report.verdict == "failed"
    assert {result.reason.code for result in report.results if result.reason and result.state == "failed"} == {
        "unreachable"
    }


def test_many_groups_share_one_look(fleet: EmulatedFleet, project: Path, settings: Settings):
    fleet.vm(CPU, "us-west1", version=CANARY, runner="idle")
    fleet.ends(3, version=CANARY, pool=CPU)
    report = with_run(
        wait(
            settings, CANARY, root=project, thresholds=EASY, stream=io.StringIO(), run_id="trial", interval_seconds=600
        )
    )
    assert report.verdict == "passed"
    assert len(fleet.site.asked("compute.aggregated_groups")) == 1
    assert len(fleet.site.asked("github.runners")) == 1


# Stopping, and going on.


def test_a_stopped_run_is_begun_anew_as_another(fleet: EmulatedFleet, project: Path, settings: Settings):
    fleet.vm(CPU, "us-west1", version=CANARY, runner="idle")

    async def stopped() -> Report:
        run = asyncio.create_task(begun(project, settings))
        await until(lambda: progress(project, "jobs") != [])
        os.kill(os.getpid(), 2)
        return await run

    assert with_run(stopped()).verdict == "stopped"
    fleet.ends(3, version=CANARY, pool=CPU)
    report = with_run(resume(project, "trial", stream=io.StringIO()))
    assert report.verdict == "passed"
    assert report.run_id != "trial"


@pytest.mark.parametrize("lines", [1, 4, 9, 14])
def test_a_run_whose_process_ended_goes_on_under_its_own_name(
    fleet: EmulatedFleet, project: Path, settings: Settings, lines: int
):
    fleet.vm(CPU, "us-west1", version=CANARY, runner="idle")
    fleet.ends(3, version=CANARY, pool=CPU)
    with_run(begun(project, settings))
    folder = project / "runs/trial"
    whole = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    assert len(whole) > lines
    (folder / "journal.jsonl").write_text("".join(whole[:lines]))
    (folder / "report.json").unlink()
    report = with_run(resume(project, "trial", stream=io.StringIO()))
    assert (report.run_id, report.verdict) == ("trial", "passed")


def test_a_run_whose_recipe_is_gone_is_not_resumed(fleet: EmulatedFleet, project: Path, settings: Settings):
    fleet.vm(CPU, "us-west1", version=CANARY, runner="idle")
    fleet.ends(3, version=CANARY, pool=CPU)
    with_run(begun(project, settings))
    (project / "runs/trial/recipe.json").write_text('{"maker": "os:system", "arguments": {}}')
    with pytest.raises(RecipeError, match="allowed are functions of rollout"):
        with_run(resume(project, "trial"))
    (project / "runs/trial/recipe.json").unlink()
    with pytest.raises(RecipeError, match="begin a new run"):
        with_run(resume(project, "trial"))


def test_the_recipe_makes_the_same_plan_from_the_projects_own_files():
    arguments = {"stack": "prod", "version": STABLE, "thresholds": {"jobs": 1}, "interval_seconds": 30}
    with pytest.raises(ValueError, match=f"no group of prod tries {STABLE}"):
        canary.made(ROOT, arguments)
    assert Prepared.__dataclass_fields__.keys() == {"plan", "backends", "limits"}
