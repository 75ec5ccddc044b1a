"""`scripts/rollout why` over the emulators: jobs of GitHub's, and what is said of them."""

from __future__ import annotations

import json

import pytest

from demo.rollout_fleet import EmulatedFleet
from emulators.site import Site
from rollout.commands.why import _wrapped
from rollout.exits import Exit
from rollout.plans.stack_settings import stack_settings

CPU = "presubmit-cpu"


@pytest.fixture
def fleet(project, monkeypatch):
    settings = stack_settings(project, "prod")
    with Site(organization=settings.github.organization, project=settings.google.project) as site:
        for name, value in site.operator_environment().items():
            monkeypatch.setenv(name, value)
        yield EmulatedFleet(site, settings)


def queued(fleet, pool=CPU, *, labels=(), **how):
    return fleet.site.github.queue_job(
        labels or fleet.settings.addressable_labels(pool), repository="iree", **{"event": "pull_request", **how}
    )


def address(job):
    return f"https://github.com/iree-org/iree/actions/runs/{job.number}/job/{job.rest_id}"


def test_one_job_is_answered_for_by_its_address(fleet, rollout):
    fleet.says(CPU, waiting=1, assigned=1, reasons=["no capacity in us-west1-a/b since 11:40"])
    result = rollout("why", address(queued(fleet)), "--stack", "prod")
    assert result.exit_code == Exit.DONE, result.output
    assert "- no capacity in us-west1-a/b since 11:40" in result.stdout
    assert "→ wait: it is asked for again by itself" in result.stdout


def test_all_that_wait_are_answered_for_those_that_wait_longest_first(fleet, rollout):
    queued(fleet, name="first", labels=["self-hosted", "nonsense"])
    queued(fleet, name="second")
    said = json.loads(rollout("why", "--queued", "--stack", "prod", "--json").stdout)
    assert [each["job"]["name"] for each in said["jobs"]] == ["first", "second"]
    assert said["jobs"][0]["causes"][0]["code"] == "labels"
    assert [each["pool"] for each in said["jobs"][1]["pools"]] == [CPU]


@pytest.mark.usefixtures("fleet")
def test_nothing_waits(rollout):
    result = rollout("why", "--queued", "--stack", "prod")
    assert (result.exit_code, result.stdout) == (Exit.DONE, "No job waits.\n")


def test_a_workflow_is_told_by_the_jobs_run(fleet, rollout):
    job = queued(fleet, "postsubmit-cpu", event="push", branch="topic")
    said = json.loads(rollout("why", address(job), "--stack", "prod", "--json").stdout)
    (pool,) = said["jobs"][0]["pools"]
    assert pool["causes"][0]["code"] == "workflow"
    # It may be a tag's run, and tags are allowed there.
    assert pool["later"] == []


def test_what_the_vm_will_refuse_is_told_beforehand(fleet, rollout):
    job = queued(fleet, "postsubmit-cpu", event="pull_request", branch="topic")
    result = rollout("why", address(job), "--stack", "prod")
    assert "then: its VM will refuse it: event pull_request is not allowed there" in result.stdout


def test_a_run_that_cannot_be_read_is_not_held_against_the_job(fleet, rollout):
    job = queued(fleet, "postsubmit-cpu", event="push", branch="topic")
    fleet.site.faults.script("github.run", status=404, times=10)
    said = json.loads(rollout("why", address(job), "--stack", "prod", "--json").stdout)
    (pool,) = said["jobs"][0]["pools"]
    assert "workflow" not in {cause["code"] for cause in pool["causes"]}


@pytest.mark.parametrize("route", ["github.runners", "storage.list", "compute.managed_instances"])
def test_a_source_that_refuses_is_named_and_the_exit_code_says_so(fleet, rollout, route):
    job = queued(fleet)
    fleet.site.faults.script(route, status=403, times=100)
    result = rollout("why", address(job), "--stack", "prod")
    assert result.exit_code == Exit.UNREACHABLE
    assert "- not known: " in result.stdout
    assert "HTTP 403" in result.stdout


def test_a_github_that_cannot_be_asked_for_the_job_is_unreachable(fleet, rollout):
    job = queued(fleet)
    fleet.site.faults.script("github.job", status=403, times=10)
    result = rollout("why", address(job), "--stack", "prod")
    assert result.exit_code == Exit.UNREACHABLE
    assert "GitHub could not be asked for the job" in result.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "name one job by the address of its page, or all that wait by --queued"),
        (["--queued", "https://github.com/iree-org/iree/actions/runs/1/job/2"], "name one job"),
        (["https://example.com/"], "is no address of a job"),
        (["https://github.com/other/iree/actions/runs/1/job/2"], "is a job of other"),
        (["https://github.com/iree-org/iree/actions/runs/1/job/2"], "GitHub has no job at"),
    ],
)
@pytest.mark.usefixtures("fleet")
def test_what_names_no_job_is_a_fault_that_says_what_is_allowed(rollout, words, text):
    result = rollout("why", *words, "--stack", "prod")
    assert result.exit_code == Exit.FAULT
    assert text in result.stderr


def test_a_long_line_is_wrapped_below_its_words():
    assert _wrapped("    - one two three", 12) == "    - one\n      two\n      three"
    assert _wrapped("short", 80) == "short"
