"""GitHub's scale sets, asked over HTTP: tokens, sets, sessions, runners, the queue, as a client in any language may."""

from __future__ import annotations

import base64
import json
import re
import time
import uuid

import pytest
import requests
from scale_set_client import Client, exception, told

from startup.lib import jit_config

CONFLICT = (
    "GitHub.Actions.Runtime.WebApi.RunnerScaleSetSessionConflictException, GitHub.Actions.Runtime.WebApi",
    "The runner scale set fleet-a already has an active session for owner listener-1.",
)


@pytest.fixture
def client(site, github):
    site.github.scale_set_options.hold_seconds = 0
    return Client(site, github.token).connect()


@pytest.fixture
def fleet(client):
    """A set with a session."""
    number = client.create().json()["id"]
    client.open(number)
    return number


def claims(token):
    head, body, mark = token.split(".")
    assert mark
    assert json.loads(base64.urlsafe_b64decode(head + "=="))["alg"] == "HS256"
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


# Getting there


def test_an_app_s_token_buys_a_registration_token_and_that_an_admin_token(site, github):
    client = Client(site, github.token)
    bought = client.registration_token()
    assert bought.status_code == 201
    assert set(bought.json()) == {"token", "expires_at"}
    answer = client.register(bought.json()["token"])
    assert answer.status_code == 200
    assert answer.json()["url"] == f"{site.github_url}/rest"
    assert claims(answer.json()["token"])["exp"] == pytest.approx(site.clock.now() + 3600, abs=5)


def test_a_registration_token_may_be_used_again_within_its_hour(site, github):
    client = Client(site, github.token)
    token = client.registration_token().json()["token"]
    assert [client.register(token).status_code for _ in range(2)] == [200, 200]
    site.clock.advance(3600)
    assert client.register(token).status_code == 401


def test_registration_asks_for_its_own_scheme_url_and_event(site, github):
    client = Client(site, github.token)
    token = client.registration_token().json()["token"]
    assert client.register("guessed").status_code == 401
    assert client.register(token, url=f"{site.github_url}/others").status_code == 404
    assert client.register(token, runner_event="remove").status_code == 422
    plain = {"Authorization": f"Bearer {token}"}
    body = {"url": client.config_url, "runner_event": "register"}
    path = f"{site.github_url}/actions/runner-registration"
    assert requests.post(path, json=body, headers=plain, timeout=5).status_code == 401


def test_registration_is_refused_at_first_when_that_is_played(site, github):
    client = Client(site, github.token)
    token = client.registration_token().json()["token"]
    site.faults.script("github.scale_sets.register", status=403)
    assert [client.register(token).status_code for _ in range(2)] == [403, 200]


def test_who_may_not_have_a_registration_token_is_told_as_the_rest_api_tells(site, github):
    assert Client(site, "ghs_never").registration_token().status_code == 401
    assert Client(site, github.token, scope="others").registration_token().status_code == 404
    assert Client(site, github.token, scope="enterprises/big").registration_token().status_code == 403
    site.github.app.permissions["organization_self_hosted_runners"] = "read"
    assert Client(site, github.token).registration_token().status_code == 403


@pytest.mark.parametrize("scope", ["iree-org", "IREE-org", "enterprises/big", "iree-org/widgets"])
def test_a_personal_token_connects_every_scope(site, scope):
    site.github.app.personal_tokens.add("ghp_somebody")
    assert Client(site, "ghp_somebody", scope=scope).connect().admin


def test_a_repository_s_sets_are_another_matter_than_the_organization_s(site, github, client):
    ours = client.create().json()["id"]
    other = Client(site, github.token, scope="iree-org/widgets").connect()
    assert other.ask("GET", "runtime/runnerscalesets", runnerGroupId=1).json() == {"count": 0, "value": []}
    assert other.ask("GET", f"runtime/runnerscalesets/{ours}").status_code == 404
    site.github.groups["Default"].repositories = set()
    other.open(other.create().json()["id"])
    for repository in ("gadgets", "widgets"):
        site.github.queue_job(["fleet-a"], repository=repository)
    assert [event["repositoryName"] for event in told(other.poll())] == ["widgets"]


def test_an_admin_token_ends_when_it_says(site, client):
    site.clock.advance(3599)
    assert client.ask("GET", "runtime/runnerscalesets").status_code == 200
    site.clock.advance(1)
    late = client.ask("GET", "runtime/runnerscalesets")
    assert (late.status_code, exception(late)) == (401, "InvalidTokenException")


def test_every_admin_token_can_be_ended_long_before_its_time(site, client):
    site.github.expire_admin_tokens()
    assert client.ask("GET", "runtime/runnerscalesets").status_code == 401
    assert client.connect().ask("GET", "runtime/runnerscalesets").status_code == 200


def test_the_lifetime_of_an_admin_token_can_be_chosen(site, client):
    site.github.scale_set_options.admin_token_seconds = 1000
    client.connect()
    assert claims(client.admin)["exp"] == pytest.approx(time.time() + 1000, abs=5)
    site.clock.advance(1000)
    assert client.ask("GET", "runtime/runnerscalesets").status_code == 401


def test_answers_have_request_ids_and_no_rate_limit(site, client):
    for answer in (client.ask("GET", "runtime/runnerscalesets"), client.ask("GET", "runtime/runnerscalesets/99")):
        assert answer.headers["content-type"].startswith("application/json")
        assert uuid.UUID(answer.headers["ActivityId"])
        assert answer.headers["X-GitHub-Request-Id"]
        assert "X-RateLimit-Remaining" not in answer.headers
    used = site.github.rate_limit.used
    client.ask("GET", "runtime/runnerscalesets")
    assert site.github.rate_limit.used == used
    client.registration_token()
    assert site.github.rate_limit.used == used + 1


def test_a_byte_order_mark_stands_before_json_when_that_is_played(site, client):
    site.github.scale_set_options.byte_order_mark = True
    assert client.create().content.startswith(b'\xef\xbb\xbf{"id"')


# Groups and sets


def test_a_runner_group_is_found_by_its_name_behind_a_slash(site, client):
    number = site.github.add_runner_group("presubmit")
    found = client.ask("GET", "runtime/runnergroups/", groupName="presubmit").json()
    assert found == {
        "count": 1,
        "value": [{"id": number, "name": "presubmit", "size": 0, "isDefaultGroup": False}],
    }
    assert client.ask("GET", "runtime/runnergroups/", groupName="none").json() == {"count": 0, "value": []}
    assert client.ask("GET", "runtime/runnergroups/").json()["value"][0]["id"] == 1
    assert client.ask("GET", "runtime/runnergroups", groupName="presubmit").status_code == 404


def test_a_set_is_made_with_200_and_shown_as_it_was_sent(site, client):
    made = client.create(labels=("fleet-a", "linux"), maxCapacity=7)
    assert made.status_code == 200
    shown = made.json()
    assert (shown["name"], shown["runnerGroupId"], shown["runnerGroupName"]) == ("fleet-a", 1, "Default")
    assert shown["labels"] == [{"type": "System", "name": "fleet-a"}, {"type": "System", "name": "linux"}]
    assert shown["RunnerSetting"]["disableUpdate"] is True
    assert shown["createdOn"][:2] == "20"
    assert client.ask("GET", f"runtime/runnerscalesets/{shown['id']}").json() == shown
    assert site.github.scale_sets.by_name("fleet-a").disable_update


def test_a_set_is_found_in_its_group_by_its_name(site, client):
    group = site.github.add_runner_group("presubmit")
    first = client.create().json()["id"]
    second = client.create(runnerGroupId=group).json()["id"]
    for query, expected in (
        ({"runnerGroupId": 1, "name": "fleet-a"}, [first]),
        ({"runnerGroupId": group, "name": "fleet-a"}, [second]),
        ({"runnerGroupId": group}, [second]),
        ({}, [first, second]),
        ({"runnerGroupId": 1, "name": "fleet"}, []),
    ):
        found = client.ask("GET", "runtime/runnerscalesets", **query).json()
        assert ([each["id"] for each in found["value"]], found["count"]) == (expected, len(expected))


def test_a_name_is_taken_once_in_a_group(site, client):
    group = site.github.add_runner_group("presubmit")
    client.create()
    again = client.create()
    assert (again.status_code, exception(again)) == (400, "RunnerScaleSetExistsException")
    other = client.create(runnerGroupId=group).json()["id"]
    moved = client.ask("PATCH", f"runtime/runnerscalesets/{other}", {"runnerGroupId": 1})
    assert (moved.status_code, exception(moved)) == (400, "RunnerScaleSetExistsException")


def test_a_set_without_labels_has_its_name_as_its_label(client):
    assert client.create(labels=()).json()["labels"] == [{"type": "System", "name": "fleet-a"}]
    assert client.create("b", labels=[]).json()["labels"] == [{"type": "System", "name": "b"}]


def test_extra_labels_vanish_silently_when_that_is_played(site, client):
    site.github.scale_set_options.drop_extra_labels = True
    assert client.create(labels=("fleet-a", "linux")).json()["labels"] == [{"type": "System", "name": "fleet-a"}]


def test_an_update_changes_what_it_names_in_either_spelling(site, client):
    number = client.create().json()["id"]
    path = f"runtime/runnerscalesets/{number}"
    changed = client.ask("PATCH", path, {"runnerSetting": {"disableUpdate": False}}).json()
    assert (changed["RunnerSetting"]["disableUpdate"], changed["name"]) == (False, "fleet-a")
    labels = [{"type": "System", "name": "fleet-a"}, {"name": "gpu"}]
    assert [each["name"] for each in client.ask("PATCH", path, {"labels": labels}).json()["labels"]] == [
        "fleet-a",
        "gpu",
    ]
    assert client.ask("PATCH", path, {"name": "b"}).json()["name"] == "b"
    site.github.scale_set_options.labels_can_change = False
    assert len(client.ask("PATCH", path, {"labels": [{"name": "x"}]}).json()["labels"]) == 2


def test_what_is_no_set_is_refused(client):
    assert client.ask("POST", "runtime/runnerscalesets", []).status_code == 400
    assert client.create("").status_code == 400
    assert client.create(runnerGroupId=99).status_code == 404
    for method, path in (("GET", "99"), ("PATCH", "99"), ("DELETE", "99"), ("POST", "99/sessions"), ("GET", "x")):
        answer = client.ask(method, f"runtime/runnerscalesets/{path}", {})
        assert (answer.status_code, exception(answer)) == (404, "RunnerScaleSetNotFoundException")


def test_a_set_is_deleted_unless_a_runner_of_it_has_a_job(site, client, fleet):
    client.jit(fleet, "x1")
    client.jit(fleet, "x2")
    site.github.queue_job(["fleet-a"])
    client.poll()
    site.github.connect("x1")
    refused = client.ask("DELETE", f"runtime/runnerscalesets/{fleet}")
    assert (refused.status_code, exception(refused)) == (400, "JobStillRunningException")
    site.github.finish_job("x1")
    assert client.ask("DELETE", f"runtime/runnerscalesets/{fleet}").status_code == 204
    assert client.ask("GET", f"runtime/runnerscalesets/{fleet}").status_code == 404
    assert "x2" not in site.github.runners


@pytest.mark.usefixtures("fleet")
def test_a_set_that_was_deleted_takes_its_session_along_and_gives_its_jobs_back(site, client):
    job = site.github.queue_job(["fleet-a"])
    assert client.events() == [("JobAssigned", job.id)]
    site.github.delete_scale_set("fleet-a")
    assert (job.state, job.scale_set) == ("queued", "")
    for answer in (client.poll(), client.refresh(), client.acknowledge(100000001)):
        assert (answer.status_code, exception(answer)) == (404, "RunnerScaleSetNotFoundException")
    client.open(client.create().json()["id"])
    assert client.events() == [("JobAssigned", job.id)]
    with pytest.raises(KeyError, match=r"no scale set is called 'x'; there are \['fleet-a'\]"):
        site.github.delete_scale_set("x")


# Runners


def test_a_configuration_registers_an_offline_runner_that_a_vm_can_become(site, client, fleet):
    answer = client.jit(fleet, "x1")
    assert answer.status_code == 200
    assert set(answer.json()) == {"runner", "encodedJITConfig"}
    runner = answer.json()["runner"]
    assert runner == {"id": site.github.runners["x1"].id, "name": "x1", "runnerScaleSetId": fleet}
    reply = {"runner_id": runner["id"], "jit_config": answer.json()["encodedJITConfig"]}
    _, files = jit_config.read(json.dumps(reply).encode())
    assert json.loads(files[".runner"])["agentName"] == "x1"
    assert site.github.runners["x1"].status == "offline"


def test_a_set_s_runners_have_its_labels_and_are_listed_by_the_rest_api(client, github):
    number = client.create(labels=("fleet-a", "GPU")).json()["id"]
    runner = client.jit(number, "x1").json()["runner"]["id"]
    found = github.ask("GET", "/orgs/iree-org/actions/runners").json()["runners"]
    assert [(each["id"], [label["name"] for label in each["labels"]]) for each in found] == [
        (runner, ["fleet-a", "gpu"])
    ]
    assert "ephemeral" not in found[0]


def test_a_runner_s_name_is_taken_until_it_is_removed(client, fleet):
    number = client.jit(fleet, "x1").json()["runner"]["id"]
    again = client.jit(fleet, "x1")
    assert (again.status_code, exception(again)) == (409, "AgentExistsException")
    found = client.ask("GET", "distributedtask/pools/0/agents", agentName="x1").json()
    assert found == {"count": 1, "value": [{"id": number, "name": "x1", "runnerScaleSetId": fleet}]}
    assert client.ask("GET", "distributedtask/pools/0/agents", agentName="x").json()["count"] == 0
    path = f"distributedtask/pools/0/agents/{number}"
    assert client.ask("GET", path).json()["name"] == "x1"
    assert [client.ask("DELETE", path).status_code for _ in range(2)] == [204, 204]
    gone = client.ask("GET", path)
    assert (gone.status_code, exception(gone)) == (404, "AgentNotFoundException")
    assert client.jit(fleet, "x1").status_code == 200


def test_a_runner_that_has_a_job_stays_as_soon_as_that_is_shown(site, client, fleet):
    site.github.busy_lag_seconds = 60
    number = client.jit(fleet, "x1").json()["runner"]["id"]
    other = client.jit(fleet, "x2").json()["runner"]["id"]
    for _ in range(2):
        site.github.queue_job(["fleet-a"])
    client.poll()
    site.github.connect("x1")
    site.github.connect("x2")
    assert client.ask("DELETE", f"distributedtask/pools/0/agents/{other}").status_code == 204
    assert site.github.gone[-1].removed_with_job
    site.clock.advance(60)
    refused = client.ask("DELETE", f"distributedtask/pools/0/agents/{number}")
    assert (refused.status_code, exception(refused)) == (400, "JobStillRunningException")


@pytest.mark.parametrize("body", [[], {}, {"name": ""}, {"name": 5}])
def test_a_runner_needs_a_name(client, fleet, body):
    answer = client.ask("POST", f"runtime/runnerscalesets/{fleet}/generatejitconfig", body)
    assert answer.status_code == 400


# Sessions


def test_a_session_has_its_set_its_queue_a_token_and_the_statistics(site, client):
    number = client.create().json()["id"]
    answer = client.open(number)
    assert answer.status_code == 200
    session = answer.json()
    assert set(session) == {
        "sessionId",
        "ownerName",
        "runnerScaleSet",
        "messageQueueUrl",
        "messageQueueAccessToken",
        "statistics",
    }
    assert uuid.UUID(session["sessionId"]).version == 4
    assert session["ownerName"] == "listener-1"
    assert session["runnerScaleSet"]["id"] == number
    assert session["messageQueueUrl"] == f"{site.github_url}/scalesets/message"
    assert claims(session["messageQueueAccessToken"])["exp"] == pytest.approx(site.clock.now() + 3600, abs=5)
    assert set(session["statistics"].values()) == {0}
    assert len(session["statistics"]) == 7


def test_a_second_session_is_refused_even_to_the_same_owner(client, fleet):
    for owner in ("listener-1", "listener-2"):
        again = client.open(fleet, owner)
        assert again.status_code == 409
        assert (again.json()["typeName"], again.json()["message"]) == CONFLICT


def test_a_session_lapses_some_time_after_its_last_request(site, client, fleet):
    site.clock.advance(60)
    assert client.open(fleet, "other").status_code == 409
    client.poll()
    site.clock.advance(74)
    assert client.open(fleet, "other").status_code == 409
    site.clock.advance(1)
    late = client.poll()
    assert (late.status_code, client.refresh().status_code, client.close().status_code) == (401, 404, 400)
    assert client.open(fleet, "other").status_code == 200


def test_a_deleted_session_is_in_nobody_s_way(client, fleet):
    assert client.close().status_code == 204
    again = client.close()
    assert (again.status_code, exception(again)) == (400, "RunnerScaleSetSessionExpiredException")
    assert client.open(fleet, "other").status_code == 200


def test_nobody_refreshes_or_deletes_another_s_session(client, fleet):
    before = client.session
    client.session = {**before, "sessionId": "3d497e3f-264c-4d75-900c-5377a7701c38"}
    assert [client.refresh().status_code, client.close().status_code] == [404, 400]
    client.session = before
    assert client.open(fleet, "other").status_code == 409


@pytest.mark.usefixtures("fleet")
def test_a_refresh_keeps_the_session_and_replaces_its_token(client):
    before = dict(client.session)
    assert client.refresh().status_code == 200
    assert client.session["sessionId"] == before["sessionId"]
    assert client.session["messageQueueUrl"] == before["messageQueueUrl"]
    assert client.poll().status_code == 202
    client.session = before
    late = client.poll()
    assert (late.status_code, exception(late)) == (401, "InvalidTokenException")


@pytest.mark.usefixtures("fleet")
def test_a_queue_token_ends_when_it_says_or_before(site, client):
    site.github.scale_set_options.queue_token_seconds = 40
    client.refresh()
    site.clock.advance(40)
    assert client.poll().status_code == 401
    assert client.acknowledge(1).status_code == 401
    assert client.refresh().status_code == 200
    assert client.poll().status_code == 202
    site.github.expire_queue_tokens()
    assert client.poll().status_code == 401
    assert client.refresh().status_code == 200


def test_an_evicted_session_has_a_worthless_token_and_is_not_found(site, client, fleet):
    site.github.evict_session("fleet-a")
    site.github.evict_session("fleet-a")
    assert client.poll().status_code == 401
    refused = client.refresh()
    assert (refused.status_code, exception(refused)) == (404, "RunnerAdminException")
    assert client.open(fleet).status_code == 200


def test_a_session_needs_an_owner(client):
    number = client.create().json()["id"]
    assert client.ask("POST", f"runtime/runnerscalesets/{number}/sessions", {"ownerName": ""}).status_code == 400


def test_a_queue_url_is_empty_when_that_is_played(site, client):
    site.github.scale_set_options.blank_queue_urls = 1
    number = client.create().json()["id"]
    assert client.open(number).json()["messageQueueUrl"] == ""
    assert client.refresh().json()["messageQueueUrl"]


# The queue


@pytest.mark.usefixtures("fleet")
def test_an_empty_poll_is_held_and_ends_with_202(site, client, when_asked):
    site.github.scale_set_options.hold_seconds = 50
    when_asked("github.scale_sets.poll", lambda: site.clock.advance(50))
    assert client.poll().status_code == 202


@pytest.mark.usefixtures("fleet")
def test_a_poll_that_is_held_is_answered_by_a_job(site, client, when_asked):
    site.github.scale_set_options.hold_seconds = 50
    when_asked("github.scale_sets.poll", lambda: site.github.queue_job(["fleet-a"]))
    assert [event["messageType"] for event in told(client.poll())] == ["JobAssigned"]


@pytest.mark.parametrize("end", ["evict_session", "delete_scale_set"])
@pytest.mark.usefixtures("fleet")
def test_a_poll_that_is_held_ends_with_its_session(site, client, when_asked, end):
    site.github.scale_set_options.hold_seconds = 50
    when_asked("github.scale_sets.poll", lambda: getattr(site.github, end)("fleet-a"))
    assert client.poll().status_code == {"evict_session": 401, "delete_scale_set": 404}[end]


@pytest.mark.usefixtures("fleet")
def test_a_message_says_everything_of_its_jobs(site, client):
    job = site.github.queue_job(["Fleet-A"], repository="iree", name="build_all", event="push")
    message = client.poll().json()
    assert (message["messageId"], message["messageType"]) == (100000001, "RunnerScaleSetJobMessages")
    assert message["statistics"]["totalAssignedJobs"] == 1
    [event] = json.loads(message["body"])
    times = {name: event.pop(name) for name in ("queueTime", "scaleSetAssignTime", "runnerAssignTime", "finishTime")}
    assert event == {
        "messageType": "JobAssigned",
        "runnerRequestId": 0,
        "jobId": job.id,
        "repositoryName": "iree",
        "ownerName": "iree-org",
        "jobWorkflowRef": "iree-org/iree/.github/workflows/ci.yml@refs/heads/main",
        "jobDisplayName": "build_all",
        "workflowRunId": job.number,
        "eventName": "push",
        "requestLabels": ["Fleet-A"],
    }
    assert uuid.UUID(job.id)
    assert times["runnerAssignTime"] == times["finishTime"] == "0001-01-01T00:00:00Z"
    assert all(re.fullmatch(r"20\d\d-.*Z", times[name]) for name in ("queueTime", "scaleSetAssignTime"))


@pytest.mark.usefixtures("fleet")
def test_messages_are_numbered_kept_and_delivered_alike_until_they_are_acknowledged(site, client):
    site.github.queue_job(["fleet-a"])
    first = client.poll()
    site.github.queue_job(["fleet-a"])
    last = client.poll(100000001)
    assert (first.json()["messageId"], last.json()["messageId"]) == (100000001, 100000002)
    assert client.poll().content == first.content
    assert client.acknowledge(100000001).status_code == 204
    assert client.acknowledge(100000001).status_code == 404
    assert client.poll().content == last.content
    assert client.poll(100000002).status_code == 202


def test_the_log_belongs_to_the_set_whoever_polls(site, client, fleet):
    site.github.queue_job(["fleet-a"])
    before = client.poll().content
    client.close()
    client.open(fleet, "other")
    assert client.session["statistics"]["totalAssignedJobs"] == 1
    assert client.poll().content == before


@pytest.mark.usefixtures("fleet")
def test_a_message_holds_fifty_events_at_most(site, client):
    for _ in range(120):
        site.github.queue_job(["fleet-a"])
    first = client.poll(capacity=200)
    assert first.json()["statistics"]["totalAssignedJobs"] == 120
    sizes = [len(told(client.poll(number, 200))) for number in (100000000, 100000001, 100000002)]
    assert sizes == [50, 50, 20]
    assert client.poll(100000003, 200).status_code == 202


def test_a_server_of_ones_own_offers_first_and_assigns_what_was_acquired(site, client):
    site.github.scale_set_options.flavour = "ghes"
    number = client.create().json()["id"]
    client.open(number)
    other = Client(site, client.token).connect()
    other.open(other.create("fleet-b", labels=("fleet-a",)).json()["id"])
    job = site.github.queue_job(["fleet-a"])
    offer = client.poll()
    assert offer.json()["statistics"]["totalAvailableJobs"] == 1
    assert offer.json()["statistics"]["totalAssignedJobs"] == 0
    [event] = told(offer)
    assert (event["messageType"], event["runnerRequestId"]) == ("JobAvailable", job.request_id)
    assert event["acquireJobUrl"].startswith(f"{client.url}/_apis/runtime/runnerscalesets/{number}/acquirejobs")
    path = f"runtime/runnerscalesets/{number}/acquirablejobs"
    assert [each["jobId"] for each in client.ask("GET", path).json()["value"]] == [job.id]
    assert other.events() == [("JobAvailable", job.id)]
    won = client.acquire(job.request_id, 999)
    assert (won.status_code, won.json()) == (200, {"count": 1, "value": [job.request_id]})
    assert other.acquire(job.request_id).json() == {"count": 0, "value": []}
    assigned = client.poll(100000001)
    assert [each["messageType"] for each in told(assigned)] == ["JobAssigned"]
    assert assigned.json()["statistics"] == {
        "totalAvailableJobs": 0,
        "totalAcquiredJobs": 1,
        "totalAssignedJobs": 1,
        "totalRunningJobs": 0,
        "totalRegisteredRunners": 0,
        "totalBusyRunners": 0,
        "totalIdleRunners": 0,
    }
    assert client.ask("GET", path).status_code == 204


def test_a_server_of_ones_own_has_a_query_in_its_queue_url(site, client):
    site.github.scale_set_options.flavour = "ghes"
    client.open(client.create().json()["id"])
    assert client.session["messageQueueUrl"].endswith("/scalesets/message?tenant=1")
    site.github.queue_job(["fleet-a"])
    assert client.poll().status_code == 200
    assert client.acknowledge(100000001).status_code == 204


def test_offers_count_against_the_capacity_of_the_current_poll(site, client):
    site.github.scale_set_options.flavour = "ghes"
    client.open(client.create().json()["id"])
    jobs = [site.github.queue_job(["fleet-a"]) for _ in range(4)]
    assert client.events(capacity=2) == [("JobAvailable", job.id) for job in jobs[:2]]
    client.acquire(jobs[0].request_id)
    assert client.events(100000001, capacity=3) == [("JobAssigned", jobs[0].id), ("JobAvailable", jobs[2].id)]
    assert client.poll(100000002, capacity=3).status_code == 202


def test_offers_that_a_session_left_are_made_to_the_next_one(site, client):
    site.github.scale_set_options.flavour = "ghes"
    number = client.create().json()["id"]
    client.open(number)
    job = site.github.queue_job(["fleet-a"])
    client.poll()
    client.acknowledge(100000001)
    client.close()
    client.open(number)
    assert client.events() == [("JobAvailable", job.id)]


def test_acquiring_needs_a_list_of_requests_and_ones_own_set(site, client, fleet):
    site.github.scale_set_options.flavour = "ghes"
    client.open(fleet)
    other = client.create("fleet-b").json()["id"]
    url = f"{client.url}/_apis/runtime/runnerscalesets"
    headers = {"Authorization": f"Bearer {client.session['messageQueueAccessToken']}"}
    assert requests.post(f"{url}/{other}/acquirejobs", json=[1], headers=headers, timeout=5).status_code == 404
    assert requests.post(f"{url}/{fleet}/acquirejobs", json={}, headers=headers, timeout=5).status_code == 400
    headers = {"Authorization": f"Bearer {client.admin}"}
    assert requests.post(f"{url}/{fleet}/acquirejobs", json=[1], headers=headers, timeout=5).status_code == 401


@pytest.mark.usefixtures("fleet")
def test_github_com_has_nothing_to_acquire(client):
    answer = client.acquire(1)
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")
