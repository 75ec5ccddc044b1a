"""What the clock calls: which function, when, as whom, and that nobody else may."""

from __future__ import annotations

from fleet import services

JOB = "gcp:cloudscheduler/job:Job"


def test_every_call_of_every_service_is_a_job(prod):
    declared = {call.name: call for service in services.SERVICES for call in service.calls}
    jobs = {job.inputs["name"].removeprefix("gh-runner-"): job.inputs for job in prod.of_type(JOB)}
    assert jobs.keys() == declared.keys() == {"listener-even", "listener-odd", "reconciler"}
    for name, call in declared.items():
        assert jobs[name]["schedule"] == call.cron
        assert jobs[name]["timeZone"] == "Etc/UTC"
        assert jobs[name]["attemptDeadline"] == f"{call.deadline_seconds}s"
        assert jobs[name]["region"] == "us-central1"


def test_a_job_posts_to_its_own_function_with_a_token_for_that_function_alone(prod):
    for service in services.SERVICES:
        for call in service.calls:
            url = f"${{{service.role}-function.url}}"
            assert prod.named(f"scheduler-{call.name}").inputs["httpTarget"] == {
                "uri": url,
                "httpMethod": "POST",
                "oidcToken": {"serviceAccountEmail": "${scheduler-account.email}", "audience": url},
            }


def test_a_call_that_failed_is_not_made_again(prod):
    assert all(job.inputs["retryConfig"] == {"retryCount": 0} for job in prod.of_type(JOB))


def test_a_job_is_made_when_it_may_call(prod):
    for job in prod.of_type(JOB):
        role = job.name.split("-")[1]
        assert f"scheduler-calls-{role}" in {urn.rpartition("::")[2] for urn in job.dependencies}


def test_the_clocks_account_calls_two_functions_and_does_nothing_else(prod):
    member = "${scheduler-account.member}"
    grants = [resource.inputs for resource in prod.resources if resource.inputs.get("member") == member]
    assert {(grant["name"], grant["role"]) for grant in grants} == {
        ("gh-runner-listener", "roles/run.invoker"),
        ("gh-runner-reconciler", "roles/run.invoker"),
    }
    assert len(grants) == 2
