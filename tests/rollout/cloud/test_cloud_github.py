"""Runners, jobs, runs and releases, as the stand-in for GitHub shows them."""

from __future__ import annotations

import pytest

from rollout.cloud import github as module
from rollout.cloud.errors import CloudError
from rollout.cloud.github import GitHub


def test_all_runners_are_listed_page_by_page(site, github):
    for number in range(205):
        site.github.add_runner(f"vm-{number}", labels=["Self-Hosted", "pool-a"])
    site.github.connect("vm-7", version="2.337.0")
    found = {each.name: each for each in github(lambda github: github.runners())}
    assert len(found) == 205
    assert [request.path.rpartition("page=")[2] for request in site.asked("github.runners")] == ["1", "2", "3"] * 2
    assert (found["vm-7"].online, found["vm-7"].version, found["vm-8"].online) == (True, "2.337.0", False)
    assert found["vm-7"].labels == {"self-hosted", "pool-a"}


def test_a_runner_that_another_ones_leaving_moved_to_a_page_already_read_is_found(site, github, monkeypatch):
    for number in range(150):
        site.github.add_runner(f"vm-{number}")
    strike, asked = site.faults.strike, 0

    def removing(route):
        nonlocal asked
        asked += 1
        if asked == 2:  # the first of page 1 goes, and the first of page 2 moves there
            site.github.remove(site.github.runners["vm-0"])
            site.github.add_runner("vm-new")
        return strike(route)

    monkeypatch.setattr(site.faults, "strike", removing)
    found = {each.name for each in github(lambda github: github.runners())}
    assert found >= {*(f"vm-{number}" for number in range(1, 150)), "vm-new"}


def test_a_listing_that_is_never_whole_is_an_error_and_no_list(site, github, monkeypatch):
    from emulators.github import rest

    site.github.add_runner("vm-1")
    page = rest.page
    monkeypatch.setattr(rest, "page", lambda hub, call, name, items: page(hub, call, name, [*items, *items]))
    with pytest.raises(CloudError) as caught:
        github(lambda github: github.runners())
    assert caught.value.error_class == "unavailable"
    assert len(site.asked("github.runners")) == module.LISTINGS


def test_a_runner_is_removed_unless_it_is_busy(site, github):
    idle, busy = site.github.add_runner("idle"), site.github.add_runner("busy")
    site.github.start_job("busy")

    async def use(github):
        return [await github.remove_runner(each) for each in (idle.id, idle.id, busy.id)]

    assert github(use) == [True, True, False]
    assert github(lambda github: github.runner(idle.id)) is None
    assert github(lambda github: github.runner(busy.id)).busy


def test_groups_and_their_repositories_are_listed(site, github):
    number = site.github.add_runner_group("presubmit")
    site.github.groups["presubmit"].repositories = {"widgets", "gadgets"}
    groups = github(lambda github: github.runner_groups())
    assert [(each.id, each.name, each.default) for each in groups] == [
        (1, "Default", True),
        (number, "presubmit", False),
    ]
    assert github(lambda github: github.group_repositories(number)) == ("gadgets", "widgets")


def test_a_job_is_found_by_the_address_of_its_page(site, github):
    job = site.github.queue_job(["self-hosted", "pool-a"], event="pull_request", branch="topic")
    found = github(lambda github: github.job_at(f"{job.page}?pr=7"))
    assert (found.id, found.run_id, found.status, found.labels) == (
        job.rest_id,
        job.number,
        "queued",
        ("self-hosted", "pool-a"),
    )
    assert (found.runner_id, found.runner_name, found.head_branch, found.url) == (None, "", "topic", job.page)
    run = github(lambda github: github.run("widgets", found.run_id))
    assert (run.event, run.status, run.conclusion) == ("pull_request", "queued", "")
    assert github(lambda github: github.job("widgets", 7)) is None
    assert github(lambda github: github.job("gadgets", found.id)) is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "https://github.com/iree-org/widgets/actions/runs/1",
            "is no address of a job; allowed is https://github.com/",
        ),
        ("https://github.com/other/widgets/actions/runs/1/job/2", "is a job of other; this fleet is iree-org's"),
        ("https://github.com/iree-org/../actions/runs/1/job/x", "is no address of a job"),
    ],
)
def test_an_address_that_leads_to_no_job_of_ours_is_refused_before_anything_is_asked(site, github, url, said):
    with pytest.raises(ValueError, match="job") as caught:
        github(lambda github: github.job_at(url))
    assert said in str(caught.value)
    assert not site.requests


def test_jobs_that_wait_are_found_in_queued_runs_and_in_those_under_way(site, github):
    site.github.add_scale_set("pool-a")
    waiting = [site.github.queue_job(["pool-b"], name=f"wait-{number}") for number in range(3)]
    done = site.github.queue_job(["pool-b"])
    site.github.cancel_job(done.id)
    site.github.queue_job(["pool-b"], repository="gadgets")
    found = github(lambda github: github.queued_jobs("widgets"))
    assert sorted(each.name for each in found) == [job.name for job in waiting]


@pytest.mark.parametrize("version", ["2022-11-28", "2026-03-10"])
def test_a_dispatch_tells_its_run_under_both_versions_of_the_api(site, github, version):
    site.github.add_workflow("widgets", "smoke.yml", inputs=("target",), run_seconds=60)
    run_id = github(
        lambda github: github.dispatch("widgets", "smoke.yml", "main", {"target": "a"}), api_version=version
    )
    assert site.github.workflow_runs[run_id].inputs == {"target": "a"}
    asked = site.asked("github.dispatch")
    assert [request.headers["X-GitHub-Api-Version"] for request in asked] == [version]
    assert (b"return_run_details" in asked[0].body) == (version == "2022-11-28")


def test_a_server_too_old_to_tell_the_run_starts_nothing(site, github):
    site.github.knows_run_details = False
    site.github.add_workflow("widgets", "smoke.yml")
    with pytest.raises(CloudError) as caught:
        github(lambda github: github.dispatch("widgets", "smoke.yml", "main", {}))
    assert (caught.value.status, caught.value.error_class) == (400, "permanent")
    assert not site.github.workflow_runs


def test_a_dispatch_whose_answer_is_lost_is_not_sent_again(site, github):
    site.github.add_workflow("widgets", "smoke.yml")
    site.faults.script("github.dispatch", "reset", after=True)
    with pytest.raises(CloudError):
        github(lambda github: github.dispatch("widgets", "smoke.yml", "main", {}))
    assert len(site.github.workflow_runs) == 1


def test_a_dispatch_that_was_taken_without_a_word_on_its_run_says_so_and_is_not_sent_again(site, github):
    site.github.add_workflow("widgets", "smoke.yml")
    site.faults.script("github.dispatch", "empty", status=204, after=True)
    with pytest.raises(CloudError, match="has started a run and does not tell which") as caught:
        github(lambda github: github.dispatch("widgets", "smoke.yml", "main", {}))
    assert caught.value.error_class == "permanent"
    assert len(site.asked("github.dispatch")) == 1


def test_a_run_is_cancelled_unless_it_is_over(site, github):
    site.github.add_workflow("widgets", "smoke.yml", run_seconds=600)

    async def use(github):
        run_id = await github.dispatch("widgets", "smoke.yml", "main", {})
        before = await github.run("widgets", run_id)
        cancelled = await github.cancel_run("widgets", run_id), await github.cancel_run("widgets", run_id)
        return before, cancelled, await github.run("widgets", run_id), await github.jobs("widgets", run_id)

    before, cancelled, after, jobs = github(use)
    assert before.status == "in_progress"
    assert cancelled == (True, False)
    assert (after.status, after.conclusion, [each.status for each in jobs]) == ("completed", "cancelled", ["completed"])


def test_releases_come_newest_first_with_what_they_hold(site, github):
    digest = "sha256:" + "0" * 64
    for number in range(120):
        assets = {"linux-x64.tar.gz": digest, "old.tar.gz": ""} if number == 119 else {}
        site.github.add_release(
            "actions/runner", f"v2.{number}", assets=assets, prerelease=number == 118, draft=number == 117
        )
    found = github(lambda github: github.releases("actions/runner", most=110))
    assert [each.tag for each in found[:3]] == ["v2.119", "v2.118", "v2.117"]
    assert len(found) == 110
    assert [(each.name, each.digest) for each in found[0].assets] == [("linux-x64.tar.gz", digest), ("old.tar.gz", "")]
    assert (found[1].prerelease, found[2].draft, found[2].published) == (True, True, None)


def test_releases_that_are_no_list_are_no_answer(site, github):
    site.github.add_release("actions/runner", "v1")
    site.faults.script("github.releases", "garbage", times=9)
    with pytest.raises(CloudError, match="in a form that is not documented: not JSON"):
        github(lambda github: github.releases("actions/runner"))


def test_an_organization_that_is_none_is_refused_before_anything_is_asked():
    with pytest.raises(ValueError, match="'a/b' is no name of an organization"):
        GitHub("a/b")
