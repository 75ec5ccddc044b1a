"""Faults: what a client sees, what was executed nevertheless, and that a seed repeats them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import requests

from emulators import faults
from emulators.__main__ import fill
from emulators.clock import Clock
from emulators.site import Site

RUNNERS = "/orgs/iree-org/actions/runners"
JIT = f"{RUNNERS}/generate-jitconfig"
BODY = {"name": "a-runner", "runner_group_id": 1, "labels": ["self-hosted"]}


def test_a_status_strikes_as_often_as_scripted_and_nothing_is_executed(site, github):
    site.faults.script("github.jit", status=502, times=2)
    assert [github.ask("POST", JIT, json=BODY).status_code for _ in range(3)] == [502, 502, 201]
    assert [request.executed for request in site.asked("github.jit")] == [False, False, True]


def test_after_means_that_only_the_answer_is_lost(site, github):
    site.faults.script("github.jit", status=500, after=True)
    assert github.ask("POST", JIT, json=BODY).status_code == 500
    assert "a-runner" in site.github.runners
    assert github.ask("POST", JIT, json=BODY).status_code == 409


@pytest.mark.parametrize("after", [False, True])
def test_a_reset_drops_the_connection(site, github, after):
    site.faults.script("github.jit", "reset", after=after)
    with pytest.raises(requests.ConnectionError):
        github.ask("POST", JIT, json=BODY)
    assert ("a-runner" in site.github.runners) is after
    assert site.asked("github.jit")[0].status is None


def leave_early(site, github):
    """Ask for a runner and give up; returns once the site has noticed."""
    with pytest.raises(requests.ReadTimeout):
        github.ask("POST", JIT, json=BODY, timeout=0.1)
    until = time.monotonic() + 5
    while not any(request.gone for request in site.asked("github.jit")):
        assert time.monotonic() < until
        time.sleep(0.001)


@pytest.mark.parametrize("kind", ["timeout", "slow"])
@pytest.mark.parametrize("after", [False, True])
def test_who_is_kept_waiting_may_leave(site, github, kind, after):
    site.faults.script("github.jit", kind, seconds=600, after=after)
    leave_early(site, github)
    assert ("a-runner" in site.github.runners) is after


def test_garbage_is_no_json_and_says_that_all_is_well(site, github):
    site.faults.script("github.runner_groups", "garbage")
    answer = github.ask("GET", "/orgs/iree-org/actions/runner-groups")
    assert answer.status_code == 200
    with pytest.raises(requests.JSONDecodeError):
        answer.json()


@pytest.mark.parametrize("after", [False, True])
def test_slow_is_as_long_as_the_site_s_clock_says(site, github, when_asked, after):
    site.faults.script("github.jit", "slow", seconds=600, after=after)
    when_asked("github.jit", lambda: site.clock.advance(600))
    assert github.ask("POST", JIT, json=BODY).status_code == 201


def test_a_site_that_closes_lets_go_of_who_still_waits():
    with Site() as site:
        site.faults.script("github.runners", "hang")
        waiting = threading.Thread(target=ask_in_vain, args=[site])
        waiting.start()
        until = time.monotonic() + 5
        while not site.asked("github.runners"):
            assert time.monotonic() < until
            time.sleep(0.001)
    waiting.join(timeout=5)
    assert not waiting.is_alive()
    assert site.asked("github.runners")[0].status is None


def ask_in_vain(site):
    with pytest.raises(requests.ConnectionError):
        requests.get(site.github_url + RUNNERS, timeout=60)


def test_a_clock_can_stand_still_and_never_goes_back():
    clock = Clock(scale=0)
    before = clock.now()
    assert clock.now() == before
    clock.advance(5)
    assert clock.now() == before + 5
    with pytest.raises(ValueError, match="a clock goes forward: -1"):
        clock.advance(-1)


def test_retry_after_is_a_secondary_rate_limit_at_github(site, github):
    site.faults.script("github.jit", status=403, retry_after=7)
    answer = github.ask("POST", JIT, json=BODY)
    assert (answer.status_code, answer.headers["retry-after"]) == (403, "7")
    assert "secondary rate limit" in answer.json()["message"]
    site.faults.script("github.jit", retry_after=7)
    assert github.ask("POST", JIT, json=BODY).status_code == 429


@pytest.mark.parametrize("status", [403, 429, 500, 502, 503])
def test_every_made_up_body_is_marked(site, github, google, status):
    site.faults.script("github.jit", status=status, retry_after=1)
    site.faults.script("compute.group", status=status)
    site.faults.script("secrets.access", status=status)
    group = google.ask("GET", "/compute/v1/projects/iree-oss/regions/us-west1/instanceGroupManagers/g")
    secret = google.ask("GET", "/v1/projects/iree-oss/secrets/s/versions/latest:access")
    for answer in (github.ask("POST", JIT, json=BODY), group, secret):
        assert answer.status_code == status
        assert faults.LEAK_MARK in answer.text
    assert group.json()["error"]["code"] == secret.json()["error"]["code"] == status


def test_an_outage_is_everything_at_once_until_it_is_over(site, github):
    site.github.outage = "status"
    assert github.ask("GET", RUNNERS).status_code == 503
    site.github.outage = "reset"
    with pytest.raises(requests.ConnectionError):
        github.ask("GET", RUNNERS)
    site.github.outage = ""
    assert github.ask("GET", RUNNERS).status_code == 200


def test_a_refused_port_refuses_new_and_old_connections_and_comes_back(site, github):
    with requests.Session() as session:
        headers = {"Authorization": f"Bearer {github.token}"}
        assert session.get(site.github_url + RUNNERS, headers=headers, timeout=5).status_code == 200
        before = len(site.requests)
        site.refuse("github")
        with pytest.raises(requests.ConnectionError):
            session.get(site.github_url + RUNNERS, headers=headers, timeout=5)
        with pytest.raises(requests.ConnectionError, match="Connection refused"):
            github.ask("GET", RUNNERS)
        assert len(site.requests) == before
        site.accept("github")
        assert session.get(site.github_url + RUNNERS, headers=headers, timeout=5).status_code == 200


def test_scripts_queue_up_and_can_be_forgotten(site, github):
    site.faults.script("github.runners", status=500)
    site.faults.script("github.runners", status=503, times=5)
    assert [github.ask("GET", RUNNERS).status_code for _ in range(2)] == [500, 503]
    assert site.faults.pending("github.runners") == 4
    site.faults.clear("github.runners")
    assert github.ask("GET", RUNNERS).status_code == 200


def test_names_that_do_not_exist_are_told_with_those_that_do(site):
    with pytest.raises(ValueError, match=r"no route is called 'github.jti'; there are .*github\.jit,"):
        site.faults.script("github.jti")
    with pytest.raises(ValueError, match="no fault is called 'explode'; there are status, hang"):
        site.faults.script("github.jit", "explode")
    with pytest.raises(ValueError, match="no faults are called 'bad-luck'; there are github-errors,"):
        site.faults.draw("bad-luck")


def drawn(seed, names, asks):
    drawer = faults.Faults(seed=seed, profiles=names)
    return [drawer.strike(route) for route in asks]


def test_a_seed_repeats_its_faults_and_another_has_others():
    asks = ["github.jit", "github.runners", "storage.insert"] * 100
    first = drawn(7, faults.PROFILES, asks)
    assert first == drawn(7, faults.PROFILES, asks)
    assert first != drawn(8, faults.PROFILES, asks)
    assert 0 < sum(fault is not None for fault in first) < len(first)


def test_requests_of_other_routes_and_scripts_change_no_route_s_luck():
    alone = drawn(7, ["github-errors"], ["github.jit"] * 50)
    both = drawn(7, ["github-errors"], ["github.jit", "github.runners"] * 50)
    assert both[::2] == alone
    scripted = faults.Faults(seed=7, profiles=["github-errors"])
    scripted.script("github.jit", status=418)
    assert [scripted.strike("github.jit") for _ in range(50)][1:] == alone[1:]


def test_a_share_is_kept_roughly():
    struck = sum(fault is not None for fault in drawn(1, ["github-errors"], ["github.jit"] * 1000))
    assert 70 <= struck <= 130


def test_a_whole_run_repeats_over_http():
    def statuses(seed):
        with Site(seed=seed, faults=["github-errors"]) as site:
            with contextlib.suppress(requests.ConnectionError):
                for _ in range(40):
                    requests.get(site.github_url + RUNNERS, timeout=5)
            return [request.status for request in site.requests]

    first = statuses(3)
    assert first == statuses(3)
    assert set(first) == {401, 502}


def row(**changes):
    """A group as the functions' table has it."""
    return {
        "region": "us-west1",
        "zones": ["us-west1-a"],
        "service_account": "r@p.iam.gserviceaccount.com",
        "runner_group": "presubmit",
        "signal": "cpu",
        "min": 2,
        "max": 4,
        "scale_set": "",
        **changes,
    }


def test_a_table_s_groups_have_their_vms_and_only_those_an_autoscaler_that_need_one(site):
    jobs = row(runner_group="postsubmit", signal="jobs", min=0, scale_set="fleet-jobs")
    table = {"cpu-w": row(), "jobs-w": jobs, "fixed-w": row(signal="fixed")}
    hosts = fill(site, table)
    assert len(hosts) == 4
    assert {name: group.autoscaler and group.autoscaler.max for name, group in site.google.groups.items()} == {
        "cpu-w": 4,
        "jobs-w": None,
        "fixed-w": None,
    }
    assert list(site.github.groups) == ["Default", "presubmit", "postsubmit"]


def test_the_command_prints_its_urls_first_and_ends_on_a_signal(tmp_path, root):
    table = tmp_path / "fleet.json"
    jobs = row(runner_group="postsubmit", signal="jobs", min=0, scale_set="fleet-jobs")
    table.write_text(
        json.dumps({"project": "iree-oss", "organization": "iree-org", "groups": {"cpu-w": row(), "jobs-w": jobs}})
    )
    command = [sys.executable, "-m", "emulators", "--seed", "7", "--fleet", table, "--faults", "github-errors"]
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout
            urls = json.loads(process.stdout.readline())
            assert set(urls) >= {
                "github_url",
                "compute_url",
                "storage_url",
                "secrets_url",
                "certs_url",
                "metadata_host",
                "monitoring_url",
                "config_url",
            }
            assert urls["config_url"] == f"{urls['github_url']}/iree-org"
            assert requests.get(urls["certs_url"], timeout=5).json()["keys"]
            assert len(urls["metadata_hosts"]) == 2
            for name, host in urls["metadata_hosts"].items():
                url = f"http://{host}/computeMetadata/v1/instance/name"
                assert requests.get(url, headers={"Metadata-Flavor": "Google"}, timeout=5).text == name
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
