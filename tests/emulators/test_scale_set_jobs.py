"""What becomes of jobs at a scale set, and everything that goes wrong on the way."""

from __future__ import annotations

import itertools
import json

import pytest
import requests
from scale_set_client import Client, told

from emulators.site import Site

COUNTERS = ("totalAssignedJobs", "totalRunningJobs", "totalRegisteredRunners", "totalBusyRunners", "totalIdleRunners")


@pytest.fixture
def hub(site):
    options = site.github.scale_set_options
    options.hold_seconds, options.session_lapse_seconds = 0, 10_000
    return site.github


@pytest.fixture
def client(site, hub, github):
    """With a session of a set."""
    client = Client(site, github.token).connect()
    client.open(hub.add_scale_set("fleet-a").id)
    return client


def counters(answer):
    statistics = answer.json()["statistics"]
    return tuple(statistics[name] for name in COUNTERS)


def kinds(answer):
    return [event["messageType"] for event in told(answer)]


def start(hub, client, name="x1"):
    """A job that a runner has; its messages are polled, not acknowledged."""
    job = hub.queue_job(["fleet-a"])
    client.poll()
    client.jit(hub.scale_sets.by_name("fleet-a").id, name)
    hub.connect(name)
    assert job.state == "running"
    return job


# From the queue to the end


def test_a_job_is_assigned_started_and_completed_and_each_is_told(hub, client):
    job = hub.queue_job(["fleet-a"])
    assert (job.state, job.tries) == ("queued", 0)
    first = client.poll()
    assert (kinds(first), counters(first)) == (["JobAssigned"], (1, 0, 0, 0, 0))
    assert (job.state, job.scale_set, job.tries) == ("assigned", "fleet-a", 1)
    runner = client.jit(job.scale_set_id, "x1").json()["runner"]
    hub.connect("x1")
    assert (job.state, job.runner_name, job.runs) == ("running", "x1", 1)
    second = client.poll(100000001)
    assert (kinds(second), counters(second)) == (["JobStarted"], (1, 1, 1, 1, 0))
    [started] = told(second)
    assert (started["runnerId"], started["runnerName"]) == (runner["id"], "x1")
    hub.finish_job("x1", "failed")
    assert (job.state, job.result) == ("completed", "failed")
    third = client.poll(100000002)
    assert (kinds(third), counters(third)) == (["JobCompleted"], (0, 0, 0, 0, 0))
    [completed] = told(third)
    assert (completed["result"], completed["runnerName"], completed["runnerId"]) == ("failed", "x1", runner["id"])
    assert completed["finishTime"] > completed["runnerAssignTime"] >= completed["scaleSetAssignTime"]
    assert "x1" not in hub.runners


def test_a_runner_that_waits_takes_a_job_as_soon_as_it_is_assigned(hub, client):
    client.jit(hub.scale_sets.by_name("fleet-a").id, "x1")
    hub.connect("x1")
    job = hub.queue_job(["fleet-a"])
    answer = client.poll()
    assert (kinds(answer), counters(answer)) == (["JobAssigned", "JobStarted"], (1, 1, 1, 1, 0))
    assert job.runner_name == "x1"


def test_a_listener_on_a_vm_gets_its_job_and_reports_the_result(site, hub, client, when_asked):
    given = client.jit(hub.scale_sets.by_name("fleet-a").id, "x1").json()["runner"]
    body = {"agentId": given["id"], "clientId": hub.runners["x1"].credential, "version": "2.335.0"}
    session = requests.post(f"{site.github_url}/_runner/session", json=body, timeout=5).json()
    job = hub.queue_job(["fleet-a"], script="make test")
    when_asked("github.poll", client.poll)
    assert requests.get(f"{site.github_url}/_runner/message", params=session, timeout=5).json() == {"job": "make test"}
    query = {**session, "result": "cancelled"}
    assert requests.post(f"{site.github_url}/_runner/finish", params=query, timeout=5).status_code == 204
    assert (job.state, job.result) == ("completed", "canceled")


def test_a_listener_that_says_good_bye_takes_no_job(site, hub, client):
    given = client.jit(hub.scale_sets.by_name("fleet-a").id, "x1").json()["runner"]
    body = {"agentId": given["id"], "clientId": hub.runners["x1"].credential, "version": "2.335.0"}
    session = requests.post(f"{site.github_url}/_runner/session", json=body, timeout=5).json()
    requests.delete(f"{site.github_url}/_runner/session", params=session, timeout=5)
    job = hub.queue_job(["fleet-a"])
    client.poll()
    assert job.state == "assigned"


@pytest.mark.parametrize(("choice", "expected"), [("first", {"x1"}), ("last", {"x3"}), ("random", {"x1", "x2", "x3"})])
def test_which_runner_gets_the_job_is_github_s_choice(choice, expected):
    def chosen(seed):
        with Site(seed=seed) as site:
            site.github.scale_set_options.runner_choice = choice
            fleet = site.github.add_scale_set("fleet-a")
            for name in ("x1", "x2", "x3"):
                site.github.add_runner(name, scale_set_id=fleet.id)
                site.github.connect(name)
            job = site.github.queue_job(["fleet-a"])
            site.github.scale_sets.assign(fleet, None)
            return job.runner_name

    assert {chosen(seed) for seed in range(12)} == expected


# Who gets a job


def test_nothing_is_assigned_without_a_poll(hub, client):
    job = hub.queue_job(["fleet-a"])
    client.jit(hub.scale_sets.by_name("fleet-a").id, "x1")
    hub.connect("x1")
    hub.tick()
    assert job.state == "queued"
    client.poll()
    assert job.state == "running"


def test_the_capacity_of_the_current_poll_is_what_a_set_may_hold(hub, client):
    jobs = [hub.queue_job(["fleet-a"]) for _ in range(5)]
    assert len(told(client.poll(capacity=2))) == 2
    assert client.poll(100000001, capacity=2).status_code == 202
    assert client.poll(100000001, capacity=1).status_code == 202
    assert len(told(client.poll(100000001, capacity=3))) == 1
    client.jit(hub.scale_sets.by_name("fleet-a").id, "x1")
    hub.connect("x1")
    assert kinds(client.poll(100000002, capacity=3)) == ["JobStarted"]
    hub.finish_job("x1")
    assert kinds(client.poll(100000003, capacity=3)) == ["JobCompleted", "JobAssigned"]
    assert [job.state for job in jobs] == ["completed", "assigned", "assigned", "assigned", "queued"]


def test_jobs_wait_while_the_capacity_is_nought_and_nothing_limits_who_states_none(hub, client):
    for _ in range(3):
        hub.queue_job(["fleet-a"])
    assert client.poll(capacity=0).status_code == 202
    assert len(told(client.poll(capacity=None))) == 3


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (["fleet-a"], True),
        (["GPU", "Fleet-A"], True),
        (["gpu"], True),
        (["fleet-a", "arm64"], False),
        (["self-hosted"], False),
        (["self-hosted", "fleet-a"], False),
        (["linux", "x64"], False),
    ],
)
def test_a_set_has_all_of_a_job_s_labels_in_any_capitals_and_none_that_nobody_gave_it(site, hub, github, wanted, fits):
    client = Client(site, github.token).connect()
    client.open(hub.add_scale_set("fleet-a", labels=["fleet-a", "Gpu"]).id)
    hub.queue_job(wanted)
    assert (client.poll().status_code == 200) is fits


def test_a_set_takes_jobs_by_the_labels_that_it_has_now(hub, client):
    job = hub.queue_job(["gpu"])
    assert client.poll().status_code == 202
    path = f"runtime/runnerscalesets/{hub.scale_sets.by_name('fleet-a').id}"
    client.ask("PATCH", path, {"labels": [{"name": "gpu"}]})
    assert client.events() == [("JobAssigned", job.id)]


def test_a_group_that_a_repository_does_not_see_never_gets_its_jobs_and_nobody_is_told(hub, client):
    hub.groups["Default"].repositories = {"widgets"}
    hidden = hub.queue_job(["fleet-a"], repository="gadgets")
    seen = hub.queue_job(["fleet-a"], repository="widgets")
    assert client.events() == [("JobAssigned", seen.id)]
    assert hidden.state == "queued"
    hub.groups["Default"].repositories = None
    assert client.events(100000001) == [("JobAssigned", hidden.id)]


def test_of_two_sets_with_the_same_labels_each_is_filled_to_its_capacity(site, hub, client):
    other = Client(site, client.token).connect()
    other.open(hub.add_scale_set("fleet-b", labels=["fleet-a"]).id)
    jobs = [hub.queue_job(["fleet-a"]) for _ in range(5)]
    client.poll(capacity=2)
    other.poll(capacity=2)
    assert [job.scale_set for job in jobs] == ["fleet-a", "fleet-a", "fleet-b", "fleet-b", ""]


def test_who_waits_longest_is_first_whatever_the_labels(site, hub, github):
    client = Client(site, github.token).connect()
    client.open(hub.add_scale_set("fleet-a", labels=["fleet-a", "gpu"]).id)
    jobs = [hub.queue_job(labels) for labels in (["gpu"], ["fleet-a"], ["gpu", "fleet-a"], ["fleet-a"])]
    assert client.events() == [("JobAssigned", job.id) for job in jobs]


# Assignments that come to nothing


def test_an_assignment_expires_and_comes_again_three_times_and_then_the_job_fails(site, hub, client):
    job = hub.queue_job(["fleet-a"])
    last = 0
    for tries in (1, 2, 3):
        assert client.events(last)[-1] == ("JobAssigned", job.id)
        assert job.tries == tries
        last += 1 if last else 100000001
        site.clock.advance(300)
    end = client.poll(last)
    [event] = told(end)
    assert (event["messageType"], event["result"], event["runnerName"], event["runnerId"]) == (
        "JobCompleted",
        "canceled",
        "",
        0,
    )
    assert counters(end)[0] == 0
    assert (job.state, job.result, job.runs) == ("failed", "canceled", 0)
    site.clock.advance(1000)
    assert client.poll(last + 1).status_code == 202


def test_an_expired_job_waits_longer_each_time_when_that_is_played(site, hub, client):
    hub.scale_set_options.reassignment_delay_seconds = 10
    hub.queue_job(["fleet-a"])
    client.poll()
    for last, pause in ((100000001, 10), (100000003, 20)):
        site.clock.advance(300)
        assert kinds(client.poll(last)) == ["JobCompleted"]
        site.clock.advance(pause - 1)
        assert client.poll(last + 1).status_code == 202
        site.clock.advance(1)
        assert kinds(client.poll(last + 1)) == ["JobAssigned"]


def test_a_job_that_was_started_in_time_does_not_expire(site, hub, client):
    job = start(hub, client)
    assert hub.next_due() is None
    site.clock.advance(1000)
    hub.tick()
    assert job.state == "running"


def test_a_job_can_be_had_a_while_after_it_was_queued_when_that_is_played(site, hub, client):
    hub.scale_set_options.assignment_delay_seconds = 5
    hub.queue_job(["fleet-a"])
    assert hub.next_due() == pytest.approx(site.clock.now() + 5, abs=1)
    assert client.poll().status_code == 202
    site.clock.advance(5)
    assert client.poll().status_code == 200


def test_a_cancelled_job_ends_at_once_or_with_its_runner(hub, client):
    waiting = hub.queue_job(["fleet-a"])
    hub.cancel_job(waiting.id)
    assert (waiting.state, waiting.result) == ("completed", "canceled")
    assert client.poll().status_code == 202
    assigned = hub.queue_job(["fleet-a"])
    client.poll()
    hub.cancel_job(assigned.id)
    hub.cancel_job(assigned.id)
    [event] = told(client.poll(100000001))
    assert (event["messageType"], event["result"], event["runnerName"]) == ("JobCompleted", "canceled", "")
    running = start(hub, client)
    hub.cancel_job(running.id)
    assert running.state == "running"
    hub.finish_job("x1")
    assert running.result == "canceled"


def test_a_runner_that_vanishes_with_its_job_costs_the_job(site, hub, client):
    job = start(hub, client)
    hub.disconnect("x1")
    site.clock.advance(569)
    hub.tick()
    assert job.state == "running"
    site.clock.advance(1)
    assert kinds(client.poll(100000001)) == ["JobStarted", "JobCompleted"]
    assert (job.state, job.result) == ("failed", "failed")
    assert "x1" not in hub.runners


def test_a_runner_that_comes_back_in_time_keeps_its_job(site, hub, client):
    job = start(hub, client)
    hub.disconnect("x1")
    site.clock.advance(100)
    hub.connect("x1")
    site.clock.advance(1000)
    hub.tick()
    assert job.state == "running"
    hub.finish_job("x1")
    assert job.state == "completed"


def test_a_job_runs_on_without_its_registration(hub, client):
    hub.busy_lag_seconds = 60
    job = start(hub, client)
    runner = hub.runners["x1"]
    assert client.ask("DELETE", f"distributedtask/pools/0/agents/{runner.id}").status_code == 204
    assert runner.removed_with_job
    hub.finish_job("x1")
    assert (job.state, job.result) == ("completed", "succeeded")


def test_a_job_of_a_set_that_is_gone_runs_to_its_end(hub, client):
    job = start(hub, client)
    hub.delete_scale_set("fleet-a")
    hub.finish_job("x1")
    assert (job.state, job.result) == ("completed", "succeeded")


def test_a_job_that_its_set_gave_back_waits_as_long_as_it_must(site, hub, client):
    hub.scale_set_options.assignment_tries = 1
    job = hub.queue_job(["fleet-a"])
    client.poll()
    hub.delete_scale_set("fleet-a")
    assert hub.next_due() is None
    site.clock.advance(300)
    hub.tick()
    assert job.state == "queued"


def test_a_runner_can_be_given_a_job_by_its_name_as_before(hub, client):
    client.jit(hub.scale_sets.by_name("fleet-a").id, "x1")
    hub.connect("x1")
    hub.start_job("x1")
    job = hub.queue_job(["fleet-a"])
    assert counters(client.poll())[3:] == (1, 0)
    assert job.state == "assigned"
    hub.finish_job("x1")
    assert job.state == "assigned"


def test_jobs_that_make_no_sense_are_a_mistake(hub):
    with pytest.raises(ValueError, match="a job needs at least one label"):
        hub.queue_job([])
    hub.queue_job(["a"], job_id="one")
    with pytest.raises(ValueError, match="there is a job one already"):
        hub.queue_job(["a"], job_id="one")
    with pytest.raises(ValueError, match="job one does not run: it is queued"):
        hub.premature_completion("one")


# Messages that come late, twice, in disorder, or not


def test_a_started_job_is_told_by_the_next_poll_not_by_the_one_that_is_held(site, hub, client, when_asked):
    hub.queue_job(["fleet-a"])
    client.poll()
    client.acknowledge(100000001)
    client.jit(hub.scale_sets.by_name("fleet-a").id, "x1")
    hub.scale_set_options.hold_seconds = 50
    when_asked("github.scale_sets.poll", lambda: (hub.connect("x1"), site.clock.advance(50)), times=2)
    assert client.poll(100000001).status_code == 202
    assert kinds(client.poll(100000001)) == ["JobStarted"]


def test_a_started_job_answers_a_held_poll_when_that_is_played(hub, client, when_asked):
    hub.scale_set_options.wake_for_started = True
    hub.queue_job(["fleet-a"])
    client.poll()
    client.acknowledge(100000001)
    client.jit(hub.scale_sets.by_name("fleet-a").id, "x1")
    hub.scale_set_options.hold_seconds = 50
    when_asked("github.scale_sets.poll", lambda: hub.connect("x1"), times=2)
    assert kinds(client.poll(100000001)) == ["JobStarted"]


def test_completions_come_minutes_late_when_that_is_played(site, hub, client):
    hub.scale_set_options.completion_delay_seconds = 30
    start(hub, client)
    hub.finish_job("x1")
    assert kinds(client.poll(100000001)) == ["JobStarted"]
    assert client.poll(100000002).status_code == 202
    site.clock.advance(30)
    assert kinds(client.poll(100000002)) == ["JobCompleted"]


def test_every_event_comes_late_when_that_is_played(site, hub, client, when_asked):
    hub.scale_set_options.message_delay_seconds = 5
    hub.scale_set_options.hold_seconds = 50
    hub.queue_job(["fleet-a"])
    when_asked("github.scale_sets.poll", lambda: site.clock.advance(5))
    assert kinds(client.poll()) == ["JobAssigned"]


def test_completions_that_are_muted_are_never_told_and_the_statistics_are_right(hub, client):
    start(hub, client)
    hub.mute_completions("fleet-a")
    hub.finish_job("x1")
    assert (kinds(answer := client.poll(100000001)), counters(answer)) == (["JobStarted"], (0, 0, 0, 0, 0))
    assert client.poll(100000002).status_code == 202
    hub.mute_completions("fleet-a", muted=False)
    start(hub, client, "x2")
    hub.finish_job("x2")
    assert "JobCompleted" in kinds(client.poll(100000003))


def test_a_completion_can_be_told_while_the_job_runs_on(hub, client):
    job = start(hub, client)
    client.poll(100000001)
    hub.premature_completion(job.id)
    answer = client.poll(100000002)
    assert (kinds(answer), told(answer)[0]["result"], counters(answer)) == (
        ["JobCompleted"],
        "canceled",
        (0, 0, 1, 1, 0),
    )
    assert (job.state, hub.runners["x1"].busy) == ("running", True)
    hub.finish_job("x1")
    assert (job.state, job.result) == ("completed", "succeeded")
    assert client.poll(100000003).status_code == 202


def test_a_message_can_come_again_though_it_was_acknowledged(hub, client):
    hub.queue_job(["fleet-a"])
    first = client.poll().content
    client.acknowledge(100000001)
    hub.redeliver("fleet-a", 100000001)
    assert client.poll(100000001).content == first
    assert client.poll(100000001).status_code == 202
    with pytest.raises(KeyError):
        hub.redeliver("fleet-a", 5)


def test_a_share_of_the_acknowledged_messages_comes_again(hub, client):
    hub.scale_set_options.duplicate_share = 0.5
    again = 0
    for number in range(100000001, 100000021):
        hub.queue_job(["fleet-a"])
        client.poll(number - 1, capacity=100)
        client.acknowledge(number)
        again += client.poll(number, capacity=100).status_code == 200
    assert 4 <= again <= 16


def test_messages_can_be_kept_back_for_a_while(site, hub, client):
    hub.queue_job(["fleet-a"])
    client.poll()
    hub.delay_messages("fleet-a", 30)
    assert client.poll().status_code == 202
    site.clock.advance(30)
    assert client.poll().status_code == 200


def test_a_held_poll_gets_what_was_kept_back_as_soon_as_it_may(site, hub, client, when_asked):
    hub.scale_set_options.hold_seconds = 50
    hub.delay_messages("fleet-a", 30)
    hub.queue_job(["fleet-a"])
    when_asked("github.scale_sets.poll", lambda: site.clock.advance(30))
    assert client.poll().status_code == 200


def test_two_messages_can_change_places(hub, client):
    hub.swap_next_messages("fleet-a")
    for _ in range(60):
        hub.queue_job(["fleet-a"])
    numbers = [client.poll(after, 100).json()["messageId"] for after in (0, 100000002)]
    assert numbers == [100000002, 100000001]
    assert client.poll().json()["messageId"] == 100000001
    assert client.poll(100000001).json()["messageId"] == 100000002


def test_a_message_that_has_nothing_to_change_places_with_comes_a_poll_late(site, hub, client, when_asked):
    hub.scale_set_options.hold_seconds = 50
    hub.swap_next_messages("fleet-a")
    hub.queue_job(["fleet-a"])
    when_asked("github.scale_sets.poll", lambda: site.clock.advance(50))
    assert client.poll().json()["messageId"] == 100000001


def test_a_sequence_that_begins_anew_repeats_what_was_not_acknowledged(hub, client):
    jobs = []
    for number in (100000001, 100000002):
        jobs.append(hub.queue_job(["fleet-a"]))
        client.poll(number - 1)
    client.acknowledge(100000001)
    hub.restart_sequence("fleet-a")
    assert client.poll(100000002).json()["messageId"] == 100000001
    assert client.poll(100000002).status_code == 202
    assert client.events() == [("JobAssigned", jobs[1].id)]


@pytest.mark.parametrize(
    "raw",
    [
        {"messageType": "RunnerScaleSetJobMessages", "body": "{not json", "statistics": None},
        {"messageType": "Somewhat", "body": ""},
        {"body": '[{"messageType": "JobTeleported"}]', "statistics": {"totalAssignedJobs": "many"}},
        {},
    ],
)
def test_a_message_of_any_form_is_kept_as_it_is_until_it_is_acknowledged(hub, client, raw):
    number = hub.post_message("fleet-a", raw)
    assert client.poll().json() == {"messageId": number, **raw}
    assert client.poll().json() == {"messageId": number, **raw}
    assert client.acknowledge(number).status_code == 204
    assert client.poll().status_code == 202


def test_a_message_of_any_form_may_bring_its_own_number(hub, client):
    assert hub.post_message("fleet-a", {"messageId": 7}) == 7
    assert client.poll().json()["messageId"] == 7
    hub.queue_job(["fleet-a"])
    assert client.poll(7).json()["messageId"] == 100000001
    hub.post_message("fleet-a", {"messageId": 8})
    assert [client.poll(after).json()["messageId"] for after in (0, 7, 8)] == [7, 8, 100000001]


def test_an_answer_can_have_no_body_and_the_message_stays(site, hub, client):
    hub.queue_job(["fleet-a"])
    site.faults.script("github.scale_sets.poll", "empty", after=True)
    assert (client.poll().status_code, client.poll().json()["messageId"]) == (200, 100000001)
    site.faults.script("github.scale_sets.poll", "empty")
    assert client.poll().content == b""


@pytest.mark.parametrize("route", ["poll", "acknowledge", "jit", "open_session", "create", "register"])
@pytest.mark.parametrize("status", [429, 503])
def test_bursts_of_errors_strike_every_call(site, hub, client, route, status):
    site.faults.script(f"github.scale_sets.{route}", status=status, retry_after=3, times=2)
    number = hub.scale_sets.by_name("fleet-a").id
    token = client.registration_token().json()["token"]
    ask = {
        "poll": client.poll,
        "acknowledge": lambda: client.acknowledge(1),
        "jit": lambda: client.jit(number, "x1"),
        "open_session": lambda: client.open(number),
        "create": lambda: client.create("fleet-b"),
        "register": lambda: client.register(token),
    }[route]
    answers = [ask() for _ in range(3)]
    assert [answer.status_code for answer in answers[:2]] == [status, status]
    assert answers[0].headers["Retry-After"] == "3"
    assert answers[2].status_code not in {429, 503}


def test_an_error_of_the_service_is_json_with_a_type_or_a_front_end_s_text(site, client):
    site.faults.script("github.scale_sets.poll", status=500)
    assert client.poll().json()["typeName"]
    site.faults.script("github.scale_sets.poll", status=502)
    assert client.poll().headers["Content-Type"] == "text/plain"


def test_a_lost_answer_to_a_creation_leaves_a_set_and_the_name_is_taken(site, hub, client):
    site.faults.script("github.scale_sets.create", "reset", after=True)
    with pytest.raises(requests.ConnectionError):
        client.create("fleet-b")
    assert hub.scale_sets.by_name("fleet-b")
    assert client.create("fleet-b").status_code == 400


def test_an_outage_is_everything_and_jobs_go_on_meanwhile(site, hub, client):
    hub.scale_set_options.session_lapse_seconds = 75
    job = start(hub, client)
    hub.outage = "status"
    assert [client.poll().status_code, client.refresh().status_code] == [503, 503]
    site.clock.advance(74)
    hub.finish_job("x1")
    site.clock.advance(3600 - 74)
    hub.outage = ""
    assert client.poll().status_code == 401
    assert client.refresh().status_code == 401
    client.token = hub.app.personal_tokens.add("ghp_later") or "ghp_later"
    assert client.connect().open(job.scale_set_id).status_code == 200
    assert client.poll().json()["messageId"] == 100000001
    assert kinds(client.poll(100000001)) == ["JobStarted", "JobCompleted"]


def test_a_seed_repeats_every_message():
    def played(seed):
        with Site(seed=seed) as site:
            hub = site.github
            hub.scale_set_options.runner_choice = "random"
            fleet = hub.add_scale_set("fleet-a")
            for number in range(4):
                hub.add_runner(f"x{number}", scale_set_id=fleet.id)
                hub.connect(f"x{number}")
            for _ in range(2):
                hub.queue_job(["fleet-a"])
            hub.scale_sets.assign(fleet, None)
            message = fleet.log.take(0, site.clock.now() + 1, fleet.statistics, fresh=True, last=False)
            assert message
            events = json.loads(json.loads(message.body)["body"])
            return [(event["messageType"], event["jobId"], event.get("runnerName")) for event in events]

    assert played(3) == played(3)
    assert any(played(3) != played(seed) for seed in itertools.islice(itertools.count(4), 5))
