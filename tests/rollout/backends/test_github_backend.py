"""Workflow runs as steps, against the stand-in: started once, cancelled at GitHub, found again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from attempts import OneTry

from emulators.site import Site
from rollout.backends.github import GitHubWorkflows
from rollout.engine.backend import Failed, Passed

WORKFLOW: dict[str, Any] = {"organization": "iree-org", "repository": "widgets", "workflow": "smoke.yml", "ref": "main"}


@pytest.fixture
def site():
    with Site(seed=7) as site:
        yield site


@pytest.fixture
def using(site, monkeypatch):
    """Has a function use the backend, whose pauses between tries of one request are over at once."""
    monkeypatch.setattr("rollout.cloud.service.FIRST_PAUSE_SECONDS", 0.0)

    def run(use, **options):
        async def main():
            pace = {"first_seconds": 0.01, "most_seconds": 0.02}
            backend = GitHubWorkflows(environ=site.operator_environment(), **pace, **options)
            try:
                return await use(backend)
            finally:
                await backend.close()

        return asyncio.run(main())

    return run


async def until(condition):
    """Wait for what the stand-in, in its own thread, or a backend brings about."""
    while not condition():  # noqa: ASYNC110 - another thread sets no event of this loop
        await asyncio.sleep(0.001)


def runs(site):
    return list(site.github.workflow_runs.values())


@pytest.mark.parametrize("api_version", ["2022-11-28", "2026-03-10"])
def test_a_step_passes_once_its_run_has_succeeded(site, using, api_version):
    async def use(backend):
        attempt = OneTry(**WORKFLOW, inputs={"target": "canary"})
        task = asyncio.ensure_future(backend.run(attempt))
        await until(lambda: attempt.progressed)
        site.clock.advance(60)
        await until(lambda: len(attempt.progressed) > 1)
        site.clock.advance(600)
        return attempt, await task

    site.github.add_workflow("widgets", "smoke.yml", inputs=("target",), queue_seconds=60, run_seconds=600)
    attempt, outcome = using(use, api_version=api_version)
    (run,) = runs(site)
    url = f"https://github.com/iree-org/widgets/actions/runs/{run.id}"
    assert isinstance(outcome, Passed)
    assert (outcome.output, outcome.link) == ({"run_id": run.id, "conclusion": "success", "url": url}, url)
    assert attempt.progressed == [f"run {run.id} is queued", f"run {run.id} is in progress"]
    assert attempt.external_ids[-1] == f"iree-org/widgets/runs/{run.id}"
    assert run.inputs == {"target": "canary"}


@pytest.mark.parametrize(
    ("conclusion", "code", "error_class"),
    [
        ("failure", "conclusion-failure", "permanent"),
        ("timed_out", "conclusion-timed-out", "timeout"),
        ("startup_failure", "conclusion-startup-failure", "unavailable"),
        ("cancelled", "cancelled", "permanent"),
    ],
)
def test_a_run_that_did_not_succeed_fails_by_its_conclusion(site, using, conclusion, code, error_class):
    site.github.add_workflow("widgets", "smoke.yml", conclusion=conclusion)
    outcome = using(lambda backend: backend.run(OneTry(**WORKFLOW)))
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.error_class) == (code, error_class)
    assert outcome.link.endswith(f"/runs/{runs(site)[0].id}")


def test_params_that_make_no_sense_fail_before_anything_is_asked(site, using):
    async def use(backend):
        missing = await backend.run(OneTry(organization="iree-org", workflow="smoke.yml"))
        wrong = await backend.run(OneTry(**{**WORKFLOW, "organization": "a/b"}))
        return missing, wrong

    missing, wrong = using(use)
    assert (missing.code, wrong.code) == ("arguments", "arguments")
    assert "repository, ref missing" in missing.message
    assert not site.requests


def test_what_github_refuses_fails_by_its_class_and_starts_nothing(site, using):
    site.github.add_workflow("widgets", "old.yml", enabled=False)

    async def use(backend):
        absent = await backend.run(OneTry(**WORKFLOW))
        disabled = await backend.run(OneTry(**{**WORKFLOW, "workflow": "old.yml"}))
        return absent, disabled

    absent, disabled = using(use)
    assert (absent.error_class, disabled.error_class) == ("not-found", "permanent")
    assert not runs(site)


def test_a_graceful_end_cancels_the_run_at_github_and_tells_how_it_ended(site, using):
    async def use(backend):
        attempt = OneTry(**WORKFLOW)
        task = asyncio.ensure_future(backend.run(attempt))
        await until(lambda: attempt.progressed)
        attempt.cancelled.set()
        await backend.cancel(attempt)
        await until(lambda: site.asked("github.cancel_run"))
        site.clock.advance(30)
        return await task

    site.github.add_workflow("widgets", "smoke.yml", run_seconds=600, cancel_seconds=30)
    outcome = using(use)
    assert (outcome.code, outcome.message) == ("cancelled", f"run {runs(site)[0].id} ended: cancelled")
    assert len(site.asked("github.cancel_run")) == 1


def test_a_run_that_succeeds_although_it_was_cancelled_has_passed(site, using):
    async def use(backend):
        attempt = OneTry(**WORKFLOW)
        task = asyncio.ensure_future(backend.run(attempt))
        await until(lambda: attempt.progressed)
        attempt.cancelled.set()
        await until(lambda: site.asked("github.cancel_run"))
        workflow.run_seconds = 0  # it was over before the cancellation came through
        return await task

    workflow = site.github.add_workflow("widgets", "smoke.yml", run_seconds=600, cancel_seconds=600)
    assert isinstance(using(use), Passed)


def test_a_cancellation_that_github_did_not_hear_is_sent_again(site, using):
    async def use(backend):
        attempt = OneTry(**WORKFLOW)
        task = asyncio.ensure_future(backend.run(attempt))
        await until(lambda: attempt.progressed)
        attempt.cancelled.set()
        return await task

    site.github.add_workflow("widgets", "smoke.yml", run_seconds=600)
    site.faults.script("github.cancel_run", status=502, times=2)
    assert using(use).code == "cancelled"
    assert len(site.asked("github.cancel_run")) == 3


@pytest.mark.parametrize("moment", ["waiting", "dispatching"])
def test_a_hard_end_leaves_no_run_at_github(site, using, moment):
    """Also where the dispatch was under way and its number was not known yet."""

    async def use(backend):
        attempt = OneTry(**WORKFLOW)
        task = asyncio.ensure_future(backend.run(attempt))
        await until((lambda: attempt.progressed) if moment == "waiting" else (lambda: runs(site)))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return attempt

    site.github.add_workflow("widgets", "smoke.yml", run_seconds=600)
    if moment == "dispatching":
        site.faults.script("github.dispatch", "slow", after=True, seconds=0.2)
    attempt = using(use)
    assert len(attempt.external_ids) == (2 if moment == "waiting" else 1)
    (run,) = runs(site)
    assert run.conclusion(site.clock.now()) == "cancelled"


def test_a_resumed_run_waits_for_the_run_that_was_started_and_starts_none(site, using):
    site.github.add_workflow("widgets", "smoke.yml", run_seconds=600)

    async def first(backend):
        attempt = OneTry(**WORKFLOW)
        task = asyncio.ensure_future(backend.run(attempt))
        await until(lambda: attempt.progressed)
        site.clock.advance(600)
        await task
        return attempt.external_ids[-1]

    external_id = using(first)
    assert isinstance(using(lambda backend: backend.reattach(OneTry(**WORKFLOW), external_id)), Passed)
    assert len(site.asked("github.dispatch")) == 1


@pytest.mark.parametrize("started", [True, False])
def test_a_dispatch_whose_answer_nobody_heard_is_found_by_our_number(site, using, started):
    site.github.add_workflow("widgets", "smoke.yml", inputs=("id",), run_name="smoke {id}", run_seconds=0)
    site.github.add_workflow("widgets", "other.yml", conclusion="failure")

    async def first(backend):
        await backend.run(OneTry(**{**WORKFLOW, "workflow": "other.yml"}))  # somebody else's, at the same time
        site.faults.script("github.dispatch", "reset", after=started)
        attempt = OneTry(**WORKFLOW, correlation="id")
        assert (await backend.run(attempt)).error_class == "unavailable"
        return attempt.external_ids[-1]

    external_id = using(first)
    outcome = using(lambda backend: backend.reattach(OneTry(**WORKFLOW, correlation="id"), external_id))
    assert (isinstance(outcome, Passed), getattr(outcome, "code", "")) == (started, "" if started else "lost")
    assert len(site.asked("github.dispatch")) == 2


def test_without_our_number_a_dispatch_whose_answer_nobody_heard_is_lost_and_not_sent_again(site, using):
    site.github.add_workflow("widgets", "smoke.yml")
    outcome = using(lambda backend: backend.reattach(OneTry(**WORKFLOW), "dispatch/abc/1795600000"))
    assert (outcome.code, outcome.error_class) == ("lost", "lost")
    assert outcome.link == "https://github.com/iree-org/widgets/actions/workflows/smoke.yml"
    assert not site.requests


def test_a_run_that_github_has_forgotten_is_lost(using):
    outcome = using(lambda backend: backend.reattach(OneTry(**WORKFLOW), "iree-org/widgets/runs/7"))
    assert (outcome.code, outcome.error_class) == ("lost", "lost")


def test_a_github_that_does_not_answer_is_sat_out_while_a_run_is_waited_for(site, using):
    site.github.add_workflow("widgets", "smoke.yml")
    site.faults.script("github.run", status=502, times=9)
    attempt = OneTry(**WORKFLOW)
    assert isinstance(using(lambda backend: backend.run(attempt)), Passed)
    assert any("GitHub: answered HTTP 502" in text for text in attempt.progressed)
