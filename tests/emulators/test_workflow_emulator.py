"""The stand-in's workflow runs, jobs, releases and groups' repositories, over HTTP."""

from __future__ import annotations

from dataclasses import replace

import pytest

REPOSITORY = "/repos/iree-org/widgets"
DISPATCH = f"{REPOSITORY}/actions/workflows/smoke.yml/dispatches"
NEW = {"X-GitHub-Api-Version": "2026-03-10"}


@pytest.fixture
def person(site, anybody):
    """Somebody who may do everything."""
    return replace(anybody, url=site.github_url, token=site.operator_environment()["GH_TOKEN"])


@pytest.fixture
def workflow(site):
    return site.github.add_workflow(
        "widgets", "smoke.yml", inputs=("a",), queue_seconds=10, run_seconds=60, cancel_seconds=5
    )


@pytest.mark.usefixtures("workflow")
def test_a_dispatch_tells_its_run_from_the_new_version_on_and_before_when_it_is_asked_to(site, person):
    silent = person.ask("POST", DISPATCH, json={"ref": "main"})
    asked = person.ask("POST", DISPATCH, json={"ref": "main", "return_run_details": True})
    new = person.ask("POST", DISPATCH, json={"ref": "main"}, headers=NEW)
    assert [answer.status_code for answer in (silent, asked, new)] == [204, 200, 200]
    assert {asked.json()["workflow_run_id"], new.json()["workflow_run_id"]} < set(site.github.workflow_runs)
    assert new.headers["X-GitHub-Api-Version-Selected"] == "2026-03-10"
    assert len(site.github.workflow_runs) == 3


@pytest.mark.usefixtures("workflow")
@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        (DISPATCH, {"ref": "main", "inputs": {"b": "1"}}, {}, 422),
        (DISPATCH, {}, {}, 422),
        (DISPATCH, [], {}, 400),
        (DISPATCH, {"ref": "main"}, {"X-GitHub-Api-Version": "2020-01-01"}, 400),
        (DISPATCH.replace("smoke", "other"), {"ref": "main"}, {}, 404),
        (DISPATCH.replace("iree-org", "others"), {"ref": "main"}, {}, 404),
    ],
)
def test_a_dispatch_that_makes_no_sense_starts_nothing(site, person, path, body, headers, status):
    assert person.ask("POST", path, json=body, headers=headers).status_code == status
    assert not site.github.workflow_runs


@pytest.mark.usefixtures("workflow")
def test_an_old_server_refuses_to_tell_and_starts_nothing(site, person):
    site.github.knows_run_details = False
    assert person.ask("POST", DISPATCH, json={"ref": "main", "return_run_details": True}).status_code == 400
    assert not site.github.workflow_runs


def test_a_run_goes_on_as_time_passes(site, person, workflow):
    run_id = person.ask("POST", DISPATCH, json={"ref": "topic"}, headers=NEW).json()["workflow_run_id"]
    seen = []
    for seconds in (0, 10, 60):
        site.clock.advance(seconds)
        run = person.ask("GET", f"{REPOSITORY}/actions/runs/{run_id}").json()
        job = person.ask("GET", f"{REPOSITORY}/actions/runs/{run_id}/jobs").json()["jobs"][0]
        assert (job["status"], job["conclusion"]) == (run["status"], run["conclusion"])
        seen.append((run["status"], run["conclusion"]))
    assert seen == [("queued", None), ("in_progress", None), ("completed", "success")]
    assert (run["head_branch"], run["event"], run["workflow_id"]) == ("topic", "workflow_dispatch", workflow.id)
    late = person.ask("POST", f"{REPOSITORY}/actions/runs/{run_id}/cancel")
    assert late.status_code == 409


@pytest.mark.usefixtures("workflow")
@pytest.mark.parametrize(("before_seconds", "conclusion"), [(20, "cancelled"), (68, "cancelled")])
def test_a_run_that_is_cancelled_goes_on_for_a_while(site, person, before_seconds, conclusion):
    run_id = person.ask("POST", DISPATCH, json={"ref": "main"}, headers=NEW).json()["workflow_run_id"]
    path = f"{REPOSITORY}/actions/runs/{run_id}"
    site.clock.advance(before_seconds)
    assert person.ask("POST", f"{path}/cancel").status_code == 202
    assert person.ask("GET", path).json()["status"] == "in_progress"
    site.clock.advance(5)
    assert person.ask("GET", path).json()["conclusion"] == conclusion


def test_a_scale_sets_job_is_a_run_with_a_job_of_another_id(site, person):
    job = site.github.queue_job(["pool-a"], event="pull_request", branch="topic")
    run = person.ask("GET", f"{REPOSITORY}/actions/runs/{job.number}").json()
    shown = person.ask("GET", f"{REPOSITORY}/actions/jobs/{job.rest_id}").json()
    assert (run["status"], run["event"], run["head_branch"]) == ("queued", "pull_request", "topic")
    assert (shown["labels"], shown["run_id"], shown["html_url"]) == (["pool-a"], job.number, job.page)
    assert (shown["runner_id"], shown["runner_name"]) == (None, None)
    assert str(job.rest_id) != job.id


def test_a_running_job_shows_its_runner_and_group(site, person):
    site.github.add_scale_set("pool-a")
    job = site.github.queue_job(["pool-a"])
    runner = site.github.add_runner("vm-1")
    job.state, job.runner_id, job.runner_name, job.started_at = "running", runner.id, "vm-1", site.clock.now()
    shown = person.ask("GET", f"{REPOSITORY}/actions/jobs/{job.rest_id}").json()
    assert (shown["status"], shown["runner_name"], shown["runner_group_name"]) == ("in_progress", "vm-1", "Default")


@pytest.mark.usefixtures("workflow")
def test_runs_are_listed_newest_first_by_status_event_and_time(site, person):
    waiting = site.github.queue_job(["pool-a"])
    site.clock.advance(100)
    run_id = person.ask("POST", DISPATCH, json={"ref": "main"}, headers=NEW).json()["workflow_run_id"]
    path = f"{REPOSITORY}/actions/runs"

    def found(**query):
        return [run["id"] for run in person.ask("GET", path, params=query).json()["workflow_runs"]]

    since = person.ask("GET", f"{path}/{run_id}").json()["created_at"]
    assert found() == [run_id, waiting.number]
    assert found(event="push") == [waiting.number]
    assert found(status="queued") == [run_id, waiting.number]
    site.clock.advance(70)
    assert (found(status="queued"), found(status="completed")) == ([waiting.number], [run_id])
    assert found(status="success") == found(created=f">={since}") == [run_id]
    assert found(per_page=1, page=2) == [waiting.number]


def test_releases_are_anybodys_and_come_newest_first(site, anybody):
    site.github.add_release("actions/runner", "v1", assets={"a": "sha256:1", "b": ""})
    site.github.add_release("actions/runner", "v2", prerelease=True)
    nobody = replace(anybody, url=site.github_url)
    found = nobody.ask("GET", "/repos/actions/runner/releases", params={"per_page": 1}).json()
    assert [(each["tag_name"], each["prerelease"]) for each in found] == [("v2", True)]
    older = nobody.ask("GET", "/repos/actions/runner/releases", params={"per_page": 1, "page": 2}).json()
    assert [each["digest"] for each in older[0]["assets"]] == ["sha256:1", None]
    assert nobody.ask("GET", "/repos/actions/other/releases").status_code == 404


def test_an_app_without_the_right_to_actions_sees_no_runs(site, github):
    site.github.queue_job(["pool-a"])
    assert github.ask("GET", f"{REPOSITORY}/actions/runs").status_code == 403
    site.github.app.permissions["actions"] = "read"
    assert github.ask("GET", f"{REPOSITORY}/actions/runs").status_code == 200
    assert github.ask("POST", DISPATCH, json={"ref": "main"}).status_code == 403


def test_a_groups_repositories_are_listed(site, github):
    number = site.github.add_runner_group("presubmit")
    site.github.groups["presubmit"].repositories = {"widgets"}
    path = "/orgs/iree-org/actions/runner-groups"
    found = github.ask("GET", f"{path}/{number}/repositories").json()
    assert [(each["name"], each["full_name"]) for each in found["repositories"]] == [("widgets", "iree-org/widgets")]
    assert github.ask("GET", f"{path}/99/repositories").status_code == 404
