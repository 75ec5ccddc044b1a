"""The stand-in for GitHub, asked over HTTP as a client asks the real one."""

from __future__ import annotations

import base64
import json
import time

import pytest
import requests

from emulators.identity import signing_key
from emulators.route import Route, json_reply
from startup.lib import jit_config

RUNNERS = "/orgs/iree-org/actions/runners"


def register(github, name="a-runner", **changes):
    body = {"name": name, "runner_group_id": 1, "labels": ["self-hosted", "Zone=us-west1-a"], **changes}
    body = {key: value for key, value in body.items() if value is not None}
    return github.ask("POST", f"{RUNNERS}/generate-jitconfig", json=body)


def credential(answer):
    """What a listener finds in its configuration."""
    files = json.loads(base64.b64decode(answer.json()["encoded_jit_config"]))
    settings, secret = (json.loads(base64.b64decode(files[name])) for name in (".runner", ".credentials"))
    return {"agentId": settings["agentId"], "clientId": secret["data"]["clientId"], "version": "2.335.0"}


def connect(site, answer, **changes):
    return requests.post(f"{site.github_url}/_runner/session", json={**credential(answer), **changes}, timeout=5)


# The App


def test_a_good_assertion_buys_a_token_for_an_hour(site, app):
    answer = app.buy(app.assertion())
    assert answer.status_code == 201
    assert answer.json()["token"].startswith("ghs_")
    assert answer.json()["permissions"]["organization_self_hosted_runners"] == "write"
    assert answer.json()["expires_at"].endswith("Z")
    site.clock.advance(3601)
    late = requests.get(
        site.github_url + RUNNERS, headers={"Authorization": f"Bearer {answer.json()['token']}"}, timeout=5
    )
    assert (late.status_code, late.json()["message"]) == (401, "Bad credentials")


@pytest.mark.parametrize(
    ("claim", "seconds_from_now", "message"),
    [
        ("exp", -1, "must be a numeric value representing the future"),
        ("exp", 3600, "too far in the future"),
        ("exp", None, "must be a numeric value"),
        ("iat", 300, "'Issued at' claim"),
        ("iat", None, "'Issued at' claim"),
    ],
)
def test_an_assertion_outside_its_ten_minutes_is_refused(app, claim, seconds_from_now, message):
    value = None if seconds_from_now is None else int(time.time()) + seconds_from_now
    answer = app.buy(app.assertion(**{claim: value}))
    assert answer.status_code == 401
    assert message in answer.json()["message"]


def test_an_assertion_signed_by_somebody_else_cannot_be_decoded(app):
    answer = app.buy(app.assertion(key=signing_key("somebody").private_pem))
    assert (answer.status_code, answer.json()["message"]) == (401, "A JSON web token could not be decoded")
    assert app.buy("no.jwt.at-all").status_code == 401
    assert app.buy("").status_code == 401


def test_another_app_and_another_installation_are_not_found(app):
    assert app.buy(app.assertion(iss="999")).status_code == 404
    assert app.buy(app.assertion(), installation=999).status_code == 404


def test_the_client_id_and_a_number_are_issuers_too(app, site):
    assert app.buy(app.assertion(iss=site.github.app.client_id)).status_code == 201


def test_of_two_identical_assertions_in_a_second_the_other_is_not_found(app, site):
    same = app.assertion()
    assert [app.buy(same).status_code, app.buy(same).status_code] == [201, 404]
    site.clock.advance(1)
    assert app.buy(same).status_code == 201


def test_without_a_token_nothing_is_told(site, github):
    assert requests.get(site.github_url + RUNNERS, timeout=5).json()["message"] == "Requires authentication"
    github.token = "ghs_never"
    assert github.ask("GET", RUNNERS).json() == {
        "message": "Bad credentials",
        "documentation_url": "https://docs.github.com/rest",
        "status": "401",
    }


def test_revoked_tokens_and_missing_permissions_are_told_apart(site, github):
    site.github.app.permissions["organization_self_hosted_runners"] = "read"
    assert github.ask("GET", RUNNERS).status_code == 200
    assert register(github).json()["message"] == "Resource not accessible by integration"
    site.github.app.revoke()
    assert github.ask("GET", RUNNERS).status_code == 401


def test_another_organization_is_not_found_and_capitals_do_not_matter(github):
    assert github.ask("GET", "/orgs/others/actions/runners").status_code == 404
    assert github.ask("GET", "/orgs/IREE-org/actions/runners").status_code == 200


def test_a_server_of_ones_own_has_the_same_below_api_v3(github):
    assert github.ask("GET", "/api/v3" + RUNNERS).status_code == 200


# Registering


def test_a_registration_is_a_configuration_that_a_vm_can_unpack(site, github):
    group = site.github.add_runner_group("presubmit")
    answer = register(github, "vm-1", runner_group_id=group, work_folder="_work")
    assert answer.status_code == 201
    runner = answer.json()["runner"]
    assert (runner["name"], runner["status"], runner["busy"], runner["runner_group_id"]) == (
        "vm-1",
        "offline",
        False,
        group,
    )
    reply = {"runner_id": runner["id"], "jit_config": answer.json()["encoded_jit_config"]}
    _, files = jit_config.read(json.dumps(reply).encode())
    assert json.loads(files[".runner"])["agentName"] == "vm-1"
    assert site.github.runners["vm-1"].id == runner["id"]
    assert not site.github.runners["vm-1"].jit_consumed


def test_labels_lose_their_capitals_and_github_knows_its_own(github):
    labels = register(github, labels=["self-hosted", "GPU=L4", "gpu=l4"]).json()["runner"]["labels"]
    assert [(label["name"], label["type"]) for label in labels] == [("self-hosted", "read-only"), ("gpu=l4", "custom")]


def test_a_taken_name_is_a_conflict_until_its_runner_is_removed(github):
    first = register(github)
    again = register(github)
    assert again.status_code == 409
    assert again.json()["message"] == "Already exists - A runner with the name a-runner already exists."
    assert github.ask("DELETE", f"{RUNNERS}/{first.json()['runner']['id']}").status_code == 204
    assert register(github).status_code == 201


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "x" * 65},
        {"name": "a b"},
        {"name": None},
        {"labels": []},
        {"labels": [f"l{n}" for n in range(101)]},
        {"labels": None},
        {"labels": [1]},
        {"runner_group_id": None},
        {"runner_group_id": "1"},
        {"work_folder": 5},
    ],
)
def test_what_is_no_registration_is_unprocessable(site, github, changes):
    assert register(github, **changes).status_code == 422
    assert not site.github.runners


def test_the_limits_themselves_are_allowed(github):
    assert register(github, "x" * 64, labels=[f"l{n}" for n in range(100)]).status_code == 201


def test_a_group_that_is_unknown_or_closed_to_the_app_takes_nobody(site, github):
    closed = site.github.add_runner_group("postsubmit", usable=False)
    assert register(github, runner_group_id=999).status_code == 404
    assert register(github, runner_group_id=closed).status_code == 403


def test_what_is_no_json_is_a_bad_request(github):
    answer = github.ask("POST", f"{RUNNERS}/generate-jitconfig", data=b"{")
    assert (answer.status_code, answer.json()["message"]) == (400, "Problems parsing JSON")


def test_groups_are_listed(site, github):
    group = site.github.add_runner_group("presubmit")
    found = github.ask("GET", "/orgs/iree-org/actions/runner-groups").json()
    assert found["total_count"] == 2
    assert [(each["name"], each["id"], each["default"]) for each in found["runner_groups"]] == [
        ("Default", 1, True),
        ("presubmit", group, False),
    ]


def test_groups_are_listed_that_a_repository_may_use(site, github):
    site.github.add_runner_group("presubmit")
    site.github.groups["presubmit"].repositories = {"widgets"}
    path = "/orgs/iree-org/actions/runner-groups"
    for repository, expected in (("widgets", ["Default", "presubmit"]), ("gadgets", ["Default"])):
        found = github.ask("GET", path, params={"visible_to_repository": repository}).json()
        assert [group["name"] for group in found["runner_groups"]] == expected


# Looking


def test_a_list_comes_by_pages_with_links(site, github):
    for number in range(7):
        site.github.add_runner(f"r{number}")
    first = github.ask("GET", RUNNERS, params={"per_page": 3})
    assert first.json()["total_count"] == 7
    assert first.links["last"]["url"].endswith("per_page=3&page=3")
    names, url = [], first.links["next"]["url"]
    names += [runner["name"] for runner in first.json()["runners"]]
    while url:
        page = github.ask("GET", url.removeprefix(site.github_url))
        names += [runner["name"] for runner in page.json()["runners"]]
        url = page.links.get("next", {}).get("url")
    assert names == [f"r{number}" for number in range(7)]


def test_a_page_holds_thirty_and_never_more_than_a_hundred(site, github):
    for number in range(120):
        site.github.add_runner(f"r{number}")
    assert len(github.ask("GET", RUNNERS).json()["runners"]) == 30
    assert len(github.ask("GET", RUNNERS, params={"per_page": 500}).json()["runners"]) == 100
    assert github.ask("GET", RUNNERS, params={"page": 9}).json()["runners"] == []


def test_a_name_finds_exactly_that_runner(site, github):
    site.github.add_runner("a")
    site.github.add_runner("ab")
    found = github.ask("GET", RUNNERS, params={"name": "a"}).json()
    assert (found["total_count"], found["runners"][0]["name"]) == (1, "a")


def test_one_runner_and_none(site, github):
    runner = site.github.add_runner("a")
    assert github.ask("GET", f"{RUNNERS}/{runner.id}").json()["name"] == "a"
    assert github.ask("GET", f"{RUNNERS}/999").status_code == 404
    assert github.ask("DELETE", f"{RUNNERS}/999").status_code == 404


# Jobs, and a flag that lies


def shown(github, number):
    return github.ask("GET", f"{RUNNERS}/{number}").json()["busy"]


def test_the_busy_flag_comes_late(site, github):
    site.github.busy_lag_seconds = 60
    number = register(github).json()["runner"]["id"]
    site.github.start_job("a-runner")
    assert site.github.runners["a-runner"].busy
    assert not shown(github, number)
    site.clock.advance(60)
    assert shown(github, number)


def test_a_runner_shown_busy_cannot_be_removed(site, github):
    number = register(github).json()["runner"]["id"]
    site.github.start_job("a-runner")
    answer = github.ask("DELETE", f"{RUNNERS}/{number}")
    assert answer.status_code == 422
    assert 'Runner "a-runner" is still running a job' in answer.json()["message"]


def test_a_runner_whose_job_is_not_shown_yet_is_removed_from_under_it(site, github):
    site.github.busy_lag_seconds = 60
    number = register(github).json()["runner"]["id"]
    runner = site.github.start_job("a-runner")
    assert github.ask("DELETE", f"{RUNNERS}/{number}").status_code == 204
    assert runner.busy
    assert runner.removed_with_job
    assert site.github.gone == [runner]
    site.github.finish_job("a-runner")
    assert not runner.busy


def test_an_ephemeral_runner_goes_with_its_job(site, github):
    number = register(github).json()["runner"]["id"]
    site.github.start_job("a-runner")
    site.github.finish_job("a-runner")
    assert github.ask("GET", f"{RUNNERS}/{number}").status_code == 404
    assert register(github).status_code == 201


# The listener


def test_a_runner_is_online_while_its_listener_is_connected(site, github):
    answer = register(github)
    number = answer.json()["runner"]["id"]
    session = connect(site, answer)
    assert session.status_code == 200
    assert github.ask("GET", f"{RUNNERS}/{number}").json()["status"] == "online"
    assert site.github.runners["a-runner"].jit_consumed
    requests.delete(f"{site.github_url}/_runner/session", params=session.json(), timeout=5)
    assert github.ask("GET", f"{RUNNERS}/{number}").json()["status"] == "offline"


def test_a_listener_polls_until_it_gets_its_job(site, github, when_asked):
    session = connect(site, register(github)).json()
    when_asked("github.poll", lambda: site.github.start_job("a-runner", job="test"))
    answer = requests.get(f"{site.github_url}/_runner/message", params=session, timeout=5)
    assert answer.json() == {"job": "test"}
    assert requests.post(f"{site.github_url}/_runner/finish", params=session, timeout=5).status_code == 204
    assert not site.github.runners


def test_an_empty_poll_ends_and_one_without_a_registration_fails(site, github, when_asked):
    session = connect(site, register(github)).json()
    when_asked("github.poll", lambda: site.clock.advance(50))
    assert requests.get(f"{site.github_url}/_runner/message", params=session, timeout=5).status_code == 202
    site.github.remove(site.github.runners["a-runner"])
    assert requests.get(f"{site.github_url}/_runner/message", params=session, timeout=5).status_code == 404


def test_old_and_withdrawn_versions_are_refused(site, github):
    answer = register(github)
    old = connect(site, answer, version="2.328.9")
    assert (old.status_code, old.json()["message"]) == (
        403,
        "Runner version v2.328.9 is deprecated and cannot receive messages.",
    )
    site.github.refused_versions.add("2.335.0")
    assert connect(site, answer).status_code == 403
    assert connect(site, answer, version="2.329.0").status_code == 200


def test_a_configuration_serves_one_listener_of_a_registration_that_exists(site, github):
    answer = register(github)
    assert connect(site, answer, clientId="guessed").status_code == 401
    assert connect(site, answer).status_code == 200
    assert connect(site, answer).status_code == 409
    site.github.remove(site.github.runners["a-runner"])
    assert connect(site, answer).status_code == 401


# Limits


def test_headers_count_down_to_a_refusal_until_the_reset(site, github):
    left = int(github.ask("GET", RUNNERS).headers["x-ratelimit-remaining"])
    assert int(github.ask("GET", RUNNERS).headers["x-ratelimit-remaining"]) == left - 1
    site.github.rate_limit.exhaust(reset=site.clock.now() + 600)
    refused = github.ask("GET", RUNNERS)
    assert refused.status_code == 403
    assert refused.json()["message"].startswith("API rate limit exceeded")
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert 0 < int(refused.headers["x-ratelimit-reset"]) - site.clock.now() <= 600
    site.clock.advance(600)
    assert github.ask("GET", RUNNERS).status_code == 200


def test_changes_cost_five_points_of_a_minute(site, github):
    site.clock.advance(60)
    site.github.rate_limit.points_per_minute = 11
    assert [register(github, f"r{number}").status_code for number in range(3)] == [201, 201, 403]
    assert github.ask("GET", RUNNERS).status_code == 200
    refused = register(github, "late")
    assert refused.headers["retry-after"] == "60"
    assert "secondary rate limit" in refused.json()["message"]
    site.clock.advance(60)
    assert register(github, "late").status_code == 201


def test_unknown_paths_and_methods_are_not_found(github):
    assert github.ask("GET", "/orgs/iree-org/actions/hosted-runners").status_code == 404
    assert github.ask("PUT", RUNNERS).json()["message"] == "Not Found"


def test_a_route_can_be_added_and_spoiled(site, github):
    hello = Route(name="github.hello", method="GET", path="/hello/{name}", handler=hello_handler)
    site.github.table.add(hello)
    assert github.ask("GET", "/hello/w%2Fd").json() == {"hello": "w/d"}
    site.faults.script("github.hello", status=503)
    assert github.ask("GET", "/hello/x").status_code == 503


def hello_handler(call):
    return json_reply(200, {"hello": call.parameters["name"]})
