"""Local processes, Google's operations, GitHub's workflows and a script in one graph, by the real engine."""

from __future__ import annotations

import asyncio
import sys

import pytest

from emulators.site import Site
from rollout.backends.github import EndedRun
from rollout.backends.registry import Registry
from rollout.backends.waits import Vm
from rollout.engine.report import Report
from rollout.engine.run import Run
from rollout.engine.spec import Compensation, Plan, Ref, Retry, Step
from rollout.engine.states import State

PROJECT = {"project": "iree-oss"}
ZONE = {"zone": "us-west1-a"}


@pytest.fixture
def site():
    with Site(seed=7) as site:
        yield site


@pytest.fixture
def carry_out(site, monkeypatch):
    """Carries steps out on all backends, each made as a plan names it."""
    monkeypatch.setattr("rollout.cloud.service.FIRST_PAUSE_SECONDS", 0.0)
    for name, value in site.operator_environment().items():
        monkeypatch.setenv(name, value)

    def run(*steps: Step, stop=None, **options) -> Report:
        async def main():
            registry = Registry()
            pace = {"first_seconds": 0.01, "most_seconds": 0.02}
            backends = {
                "local": registry.create("local"),
                "fake": registry.create("fake"),
                "google": registry.create("google", **pace),
                "github": registry.create("github", **pace),
            }
            run = Run(Plan(name="together", steps=steps), backends, **options)
            if stop is None:
                return await run.execute()
            executing = asyncio.ensure_future(run.execute())
            await stop(run)
            return await executing

        return asyncio.run(main())

    return run


def states(report: Report) -> dict[str, str]:
    return {result.id: result.state for result in report.results}


def inserting(name: str, **more) -> Step:
    arguments = {**ZONE, "body": {"name": name, "disks": [{"autoDelete": True}]}}
    return Step(
        id=f"make-{name}",
        backend="google",
        params={**PROJECT, "call": "insert_instance", "arguments": arguments},
        **more,
    )


def test_one_run_has_steps_on_all_backends_and_hands_what_they_found_from_one_to_the_next(site, carry_out):
    site.github.add_workflow("widgets", "smoke.yml", inputs=("vm",))
    command = [sys.executable, "-c", 'print(\'{"name": "builder"}\')']
    report = carry_out(
        Step(id="name", backend="local", params={"argv": command, "output": "last-line"}),
        inserting("builder", needs=("name",)),
        Step(
            id="running",
            backend="google",
            params={**PROJECT, "wait": {"for": "instance-running", **ZONE, "instance": "builder"}},
            needs=("make-builder",),
            output=Vm,
        ),
        Step(
            id="smoke",
            backend="github",
            params={
                "organization": "iree-org",
                "repository": "widgets",
                "workflow": "smoke.yml",
                "ref": "main",
                "inputs": {"vm": Ref("running", "id")},
            },
            needs=("running",),
            output=EndedRun,
        ),
        Step(id="note", backend="fake", params={"run": Ref("smoke", "run_id")}, needs=("smoke",)),
    )
    assert states(report) == dict.fromkeys(("name", "make-builder", "running", "smoke", "note"), State.PASSED)
    (run,) = site.github.workflow_runs.values()
    assert run.inputs == {"vm": site.google.compute.loose[0].id}


def test_an_operation_that_never_ends_is_bounded_by_the_engine(site, carry_out):
    site.google.compute.operation_seconds = 1e9
    report = carry_out(inserting("builder", try_timeout_seconds=0.3), kill_seconds=5.0, grace_seconds=5.0)
    assert states(report) == {"make-builder": State.TIMED_OUT}


def test_a_google_that_asks_for_a_long_pause_is_asked_once_and_not_in_a_loop(site, carry_out):
    site.faults.script("compute.insert_instance", retry_after=600)
    retry = Retry(tries={"rate-limited": 5}, first_seconds=0.001, most_seconds=0.001)
    report = carry_out(inserting("builder", retry=retry, timeout_seconds=0.5))
    assert states(report) == {"make-builder": State.TIMED_OUT}
    assert len(site.asked("compute.insert_instance")) == 1


@pytest.mark.parametrize(("code", "tries"), [("ZONE_RESOURCE_POOL_EXHAUSTED", 2), ("INVALID_USAGE", 1)])
def test_an_operation_is_tried_again_by_the_class_of_its_end(site, carry_out, code, tries):
    site.google.fail_operation("compute.insert_instance", code=code, http_status=400)
    retry = Retry(tries={"stockout": 3}, first_seconds=0.001, most_seconds=0.001)
    report = carry_out(inserting("builder", retry=retry))
    assert report.results[0].state == (State.PASSED if tries == 2 else State.FAILED)
    assert len(site.asked("compute.insert_instance")) == tries


def test_what_a_run_that_fails_has_made_is_removed(site, carry_out):
    site.google.compute.stop_seconds = 0
    removal = {**PROJECT, "call": "delete_instance", "arguments": {**ZONE, "instance": "builder"}, "missing_ok": True}
    report = carry_out(
        inserting("builder", compensation=Compensation(backend="google", params=removal)),
        Step(id="check", backend="local", params={"argv": [sys.executable, "-c", "raise SystemExit(3)"]},
             needs=("make-builder",)),
    )  # fmt: skip
    assert states(report) == {"make-builder": State.PASSED, "check": State.FAILED}
    assert not site.google.compute.loose
    assert len(site.asked("compute.delete_instance")) == 1


def test_a_run_that_is_stopped_cancels_its_workflow_at_github(site, carry_out):
    async def stop(run):
        while not site.asked("github.run"):  # noqa: ASYNC110 - another thread sets no event of this loop
            await asyncio.sleep(0.001)
        run.stop("the test has seen enough")

    site.github.add_workflow("widgets", "smoke.yml", run_seconds=600)
    params = {"organization": "iree-org", "repository": "widgets", "workflow": "smoke.yml", "ref": "main"}
    report = carry_out(Step(id="smoke", backend="github", params=params), stop=stop)
    assert (report.verdict, states(report)) == ("stopped", {"smoke": State.KILLED})
    (run,) = site.github.workflow_runs.values()
    assert run.conclusion(site.clock.now()) == "cancelled"
