"""Scale sets, runners and sessions: what is asked, what is made of the answers, and what of answers that get lost."""

from __future__ import annotations

import asyncio

import pytest
import scaleset
from scaleset.transport import TransportError
from scaleset_service import (
    QUEUE,
    SERVICE,
    SESSION_ID,
    Service,
    client,
    message,
    play,
    refusal,
    reply,
    scale_set,
    session,
)

LOST = TransportError("ServerDisconnectedError", sent=True)
SPEC = scaleset.ScaleSetSpec(name="fleet-a", runner_group="workers", labels=("linux",))
THERE = scale_set(labels=[{"name": "fleet-a"}, {"name": "linux"}])


def listing(*values):
    return reply(200, {"count": len(values), "value": list(values)})


def run(service: Service, call, **options):
    """The result of one coroutine of a client."""

    async def script():
        return await call(client(service, **options))

    return play(script())


# Groups and scale sets.


@pytest.mark.parametrize("name", ["default", "Default"])
def test_the_default_group_is_number_one_without_a_question(name):
    service = Service()
    assert run(service, lambda github: github.runner_group(name)).id == 1
    assert service.calls == []


def test_a_group_is_found_by_its_name_whatever_its_case():
    service = Service()
    assert run(service, lambda github: github.runner_group("Workers")).id == 3
    assert service.of("group")[0].url == (
        f"{SERVICE}/_apis/runtime/runnergroups/?api-version=6.0-preview&groupName=Workers"
    )


@pytest.mark.parametrize("answer", [listing(), listing({"id": 4, "name": "others"})])
def test_a_group_that_is_not_there_is_said_to_be_missing(answer):
    service = Service()
    service.script("group", answer)
    with pytest.raises(scaleset.NotFoundError, match="there is none, or these credentials do not see it"):
        run(service, lambda github: github.runner_group("workers"))


def test_a_repository_has_no_groups_to_ask_for():
    service = Service()
    with pytest.raises(scaleset.NotFoundError, match="a repository has only 'default'"):
        run(service, lambda github: github.runner_group("workers"), config_url="https://github.com/me/widgets")
    assert service.calls == []


def test_a_scale_set_that_is_there_as_described_is_left_alone():
    service = Service()
    service.script("find", listing(THERE))
    ensured = run(service, lambda github: github.ensure(SPEC))
    assert (ensured.scale_set.id, ensured.made, ensured.labels_missing) == (8, False, ())
    assert service.calls[2:] == ["group", "find"]


def test_a_scale_set_that_is_not_there_is_made():
    service = Service()
    ensured = run(service, lambda github: github.ensure(SPEC))
    assert (ensured.scale_set.id, ensured.made, ensured.labels_missing) == (8, True, ())
    assert service.of("create")[0].body == (
        b'{"name":"fleet-a","runnerGroupId":3,"labels":[{"type":"System","name":"fleet-a"},'
        b'{"type":"System","name":"linux"}],"RunnerSetting":{"disableUpdate":true},"createdOn":"0001-01-01T00:00:00Z"}'
    )


@pytest.mark.parametrize(
    "found",
    [
        {**THERE, "RunnerSetting": {"disableUpdate": False}},
        {**THERE, "RunnerSetting": {}},
        scale_set(),
        {**THERE, "labels": [*THERE["labels"], {"name": "old"}]},
    ],
)
def test_a_scale_set_that_differs_is_changed(found):
    service = Service()
    service.script("find", listing(found))
    ensured = run(service, lambda github: github.ensure(SPEC))
    assert (ensured.made, ensured.labels_missing, ensured.update_refused) == (False, (), False)
    assert service.of("update")[0].url == f"{SERVICE}/_apis/runtime/runnerscalesets/8?api-version=6.0-preview"
    assert service.of("update")[0].json["RunnerSetting"] == {"disableUpdate": True}


def test_labels_in_other_order_and_case_are_the_same():
    service = Service()
    service.script("find", listing(scale_set(labels=[{"name": "LINUX"}, {"name": "fleet-a"}])))
    assert run(service, lambda github: github.ensure(SPEC)).labels_missing == ()
    assert service.count("update") == 0


def test_labels_that_the_server_drops_are_told():
    service = Service()
    service.script("create", reply(200, scale_set()))
    assert run(service, lambda github: github.ensure(SPEC)).labels_missing == ("linux",)


def test_a_change_that_is_refused_leaves_a_set_that_serves():
    service = Service()
    service.script("find", listing(scale_set()))
    service.script("update", reply(400))
    ensured = run(service, lambda github: github.ensure(SPEC))
    assert (ensured.update_refused, ensured.labels_missing) == (True, ("linux",))


@pytest.mark.parametrize(
    ("answer", "error"), [(reply(403), scaleset.ForbiddenError), (reply(404), scaleset.NotFoundError)]
)
def test_a_change_that_is_not_allowed_or_came_too_late_is_an_error(answer, error):
    service = Service()
    service.script("find", listing(scale_set()))
    service.script("update", answer)
    with pytest.raises(error):
        run(service, lambda github: github.ensure(SPEC))


def test_a_create_whose_answer_was_lost_is_found_by_the_next_try():
    service = Service()
    service.script("find", listing(), listing(THERE))
    service.script("create", LOST, refusal(400, "RunnerScaleSetExistsException"))
    ensured = run(service, lambda github: github.ensure(SPEC))
    assert (ensured.scale_set.id, ensured.made) == (8, True)


@pytest.mark.parametrize("last", [LOST, reply(500), reply(200, body=b"<html>")])
def test_a_create_that_is_never_answered_is_settled_by_looking(last):
    service = Service()
    service.script("find", listing(), listing(THERE))
    service.script("create", *[last] * 5)
    assert run(service, lambda github: github.ensure(SPEC)).scale_set.id == 8


def test_a_create_that_made_nothing_is_an_error():
    service = Service()
    service.script("create", *[LOST] * 5)
    with pytest.raises(scaleset.UnavailableError):
        run(service, lambda github: github.ensure(SPEC))
    assert service.count("find") == 2


def test_a_create_that_never_arrived_needs_no_looking():
    service = Service()
    service.script("create", *[TransportError("ClientConnectorError", sent=False)] * 5)
    with pytest.raises(scaleset.UnavailableError):
        run(service, lambda github: github.ensure(SPEC))
    assert service.count("find") == 1


def test_a_set_that_exists_and_is_not_found_is_an_error():
    service = Service()
    service.script("create", refusal(400, "RunnerScaleSetExistsException"))
    with pytest.raises(scaleset.ScaleSetExistsError, match="not found in its group"):
        run(service, lambda github: github.ensure(SPEC))


def test_all_sets_of_a_group_are_listed():
    service = Service()
    service.script("find", listing(scale_set(), scale_set(id=9, name="b")))
    assert [each.id for each in run(service, lambda github: github.list(3))] == [8, 9]
    assert service.of("find")[0].url.endswith("/runnerscalesets?api-version=6.0-preview&runnerGroupId=3")


def test_a_set_of_another_name_was_not_asked_for():
    service = Service()
    service.script("find", listing(scale_set(name="fleet-ab")))
    assert run(service, lambda github: github.find(3, "fleet-a")) is None


@pytest.mark.parametrize("answer", [reply(204), reply(404)])
def test_deleting_what_is_gone_is_done(answer):
    for name, call in (("delete", lambda github: github.delete(8)), ("remove", lambda github: github.remove_runner(4))):
        service = Service()
        service.script(name, answer)
        run(service, call)
        assert service.count(name) == 1


def test_what_holds_a_job_is_not_deleted():
    for name, call in (("delete", lambda github: github.delete(8)), ("remove", lambda github: github.remove_runner(4))):
        service = Service()
        service.script(name, refusal(400, "JobStillRunningException"))
        with pytest.raises(scaleset.JobStillRunningError):
            run(service, call)


@pytest.mark.parametrize("status", [201, 202, 204])
def test_a_success_other_than_the_protocols_is_none(status):
    service = Service()
    service.script("create", reply(status, scale_set()))
    with pytest.raises(scaleset.UnreadableAnswerError):
        run(service, lambda github: github.create(SPEC, 3))


# Configurations.


def test_a_configuration_comes_with_the_runner_that_it_registered():
    service = Service()
    config = run(service, lambda github: github.jit_config(8, "fleet-a-x1"))
    assert (config.encoded, config.runner.id, config.runner.scale_set_id) == ("c2VjcmV0", 42, 8)
    assert service.of("jit")[0].body == b'{"name":"fleet-a-x1","workFolder":""}'


TAKEN = refusal(409, "AgentExistsException")


def test_a_taken_name_is_an_error_unless_it_may_be_replaced():
    service = Service()
    service.script("jit", TAKEN)
    with pytest.raises(scaleset.RunnerExistsError):
        run(service, lambda github: github.jit_config(8, "x1"))
    assert service.count("runner") == 0


def test_our_own_leftover_is_removed_and_asked_for_again():
    service = Service()
    service.script("jit", LOST, TAKEN)
    service.script("runner", listing({"id": 41, "name": "x1", "runnerScaleSetId": 8}))
    assert run(service, lambda github: github.jit_config(8, "x1", replace=True)).runner.id == 42
    assert service.calls[2:] == ["jit", "jit", "runner", "remove", "jit"]
    assert service.of("remove")[0].url.endswith("/_apis/distributedtask/pools/0/agents/41?api-version=6.0-preview")


def test_a_runner_of_another_scale_set_is_never_removed():
    service = Service()
    service.script("jit", TAKEN)
    service.script("runner", listing({"id": 41, "name": "x1", "runnerScaleSetId": 9}))
    with pytest.raises(scaleset.RunnerExistsError):
        run(service, lambda github: github.jit_config(8, "x1", replace=True))
    assert service.count("remove") == 0


def test_a_leftover_that_works_is_kept():
    service = Service()
    service.script("jit", TAKEN)
    service.script("runner", listing({"id": 41, "name": "x1", "runnerScaleSetId": 8}))
    service.script("remove", refusal(400, "JobStillRunningException"))
    with pytest.raises(scaleset.JobStillRunningError):
        run(service, lambda github: github.jit_config(8, "x1", replace=True))


def test_a_leftover_that_has_gone_meanwhile_needs_no_removal():
    service = Service()
    service.script("jit", TAKEN)
    assert run(service, lambda github: github.jit_config(8, "x1", replace=True)).runner.id == 42
    assert service.count("remove") == 0


def test_an_empty_configuration_is_none():
    service = Service()
    service.script("jit", reply(200, {"runner": {"id": 42}, "encodedJITConfig": ""}))
    with pytest.raises(scaleset.UnreadableAnswerError):
        run(service, lambda github: github.jit_config(8, "x1"))


# Sessions.


def in_session(service: Service, call):
    """The result of one coroutine of a session."""

    async def script():
        return await call(await client(service).open_session(8, "listener-1"))

    return play(script())


def test_a_session_opens_with_its_counters():
    service = Service()
    value = session(statistics={"totalAssignedJobs": 3})
    service.script("open", reply(200, value))
    opened = run(service, lambda github: github.open_session(8, "listener-1"))
    assert (opened.id, opened.statistics.total_assigned_jobs) == (SESSION_ID, 3)
    assert (opened.scale_set.id, opened.scale_set.name) == (8, "fleet-a")
    assert service.of("open")[0].body == (
        b'{"sessionId":"00000000-0000-0000-0000-000000000000","ownerName":"listener-1"}'
    )
    assert "queue-1" not in repr(vars(opened)["scale_set"])


@pytest.mark.parametrize(
    "changes",
    [
        {"messageQueueUrl": ""},
        {"messageQueueUrl": "http://queue.example/"},
        {"messageQueueUrl": "https://[x/"},
        {"statistics": None},
        {"messageQueueAccessToken": ""},
        {"messageQueueAccessToken": "a\r\nb: c"},
        {"runnerScaleSet": []},
    ],
)
def test_a_session_without_what_belongs_to_it_is_closed_again(changes):
    service = Service()
    service.script("open", reply(200, session(**changes)))
    with pytest.raises(scaleset.UnreadableAnswerError):
        run(service, lambda github: github.open_session(8, "listener-1"))
    assert SESSION_ID in service.of("close")[0].url


@pytest.mark.parametrize("session_id", ["", "../../x", "00000000-0000-0000-0000-000000000000", None, 7])
def test_a_session_without_an_id_cannot_be_closed(session_id):
    service = Service()
    service.script("open", reply(200, session(sessionId=session_id)))
    with pytest.raises(scaleset.UnreadableAnswerError):
        run(service, lambda github: github.open_session(8, "listener-1"))
    assert service.count("close") == 0


def test_a_poll_says_how_much_the_set_may_hold_and_where_it_is():
    service = Service()
    service.script("poll", reply(200, message(7)), reply(202))

    async def polls(opened):
        first = await opened.poll(max_capacity=25)
        assert first.message_id == 100000007
        assert await opened.poll(max_capacity=0, last_message_id=first.message_id) is None

    in_session(service, polls)
    first, second = service.of("poll")
    assert (first.url, second.url) == (QUEUE, f"{QUEUE}?lastMessageId=100000007")
    assert first.headers["X-ScaleSetMaxCapacity"] == "25"
    assert first.headers["Accept"] == "application/json; api-version=6.0-preview"
    assert first.headers["Authorization"] == "Bearer queue-1"


def test_a_queues_own_query_is_kept_and_gets_no_version():
    service = Service()
    service.script("open", reply(200, session(messageQueueUrl=f"{QUEUE}?tenant=a%20b")))

    async def calls(opened):
        await opened.poll(max_capacity=1, last_message_id=7)
        await opened.acknowledge(7)

    in_session(service, calls)
    assert service.of("poll")[0].url == f"{QUEUE}?tenant=a%20b&lastMessageId=7"
    assert service.of("acknowledge")[0].url == f"{QUEUE}/7?tenant=a%20b"


def test_a_negative_capacity_is_refused():
    with pytest.raises(ValueError, match="max_capacity is -1"):
        in_session(Service(), lambda opened: opened.poll(max_capacity=-1))


def test_a_token_of_the_queue_that_ended_is_replaced_once():
    service = Service()
    service.script("poll", reply(401), reply(200, message(1)), reply(401), reply(401))

    async def polls(opened):
        assert await opened.poll(max_capacity=1) is not None
        assert opened.refreshes == 1
        with pytest.raises(scaleset.UnauthorizedError):
            await opened.poll(max_capacity=1)

    in_session(service, polls)
    assert [each.headers["Authorization"] for each in service.of("poll")] == [
        f"Bearer queue-{number}" for number in (1, 2, 2, 3)
    ]
    assert service.of("refresh")[0].body is None


def test_calls_beside_each_other_replace_the_token_once():
    service = Service()

    async def refuse(_):
        await asyncio.sleep(1)
        return reply(401)

    service.script("acknowledge", *[refuse] * 10)
    in_session(service, lambda opened: asyncio.gather(*(opened.acknowledge(number) for number in range(10))))
    assert (service.count("refresh"), service.count("acknowledge")) == (1, 20)


def test_a_refresh_without_counters_keeps_the_old_ones():
    service = Service()
    service.script("open", reply(200, session(statistics={"totalAssignedJobs": 3})))
    service.script("refresh", reply(200, session(token="queue-9", statistics=None)))
    service.script("poll", reply(401))

    async def poll(opened):
        await opened.poll(max_capacity=1)
        return opened.statistics.total_assigned_jobs

    assert in_session(service, poll) == 3
    assert service.of("poll")[1].headers["Authorization"] == "Bearer queue-9"


def test_a_refresh_that_is_forbidden_is_no_lost_session():
    service = Service()
    service.script("poll", reply(401))
    service.script("refresh", reply(403))
    with pytest.raises(scaleset.ForbiddenError):
        in_session(service, lambda opened: opened.poll(max_capacity=1))


def test_a_session_that_does_not_repeat_its_scale_set_still_has_one():
    service = Service()
    service.script("open", reply(200, session(runnerScaleSet=None)))
    assert run(service, lambda github: github.open_session(8, "listener-1")).scale_set.id == 8


@pytest.mark.parametrize("exception", ["RunnerAdminException", "RunnerScaleSetNotFoundException"])
def test_a_session_that_was_evicted_is_lost(exception):
    service = Service()
    service.script("poll", reply(401))
    service.script("refresh", refusal(404, exception))
    with pytest.raises(scaleset.SessionExpiredError):
        in_session(service, lambda opened: opened.poll(max_capacity=1))


def test_a_queue_that_is_gone_is_a_lost_session():
    service = Service()
    service.script("poll", reply(404))
    with pytest.raises(scaleset.SessionExpiredError):
        in_session(service, lambda opened: opened.poll(max_capacity=1))


def test_a_poll_waits_longer_than_other_calls_and_not_for_ever():
    service = Service()

    async def hang(_):
        await asyncio.sleep(10_000)
        return reply(202)

    service.script("poll", hang)
    in_session(service, lambda opened: opened.poll(max_capacity=1))
    assert service.of("poll")[1].at == pytest.approx(301)


def test_acknowledging_what_is_gone_is_done():
    service = Service()
    service.script("acknowledge", reply(404))
    in_session(service, lambda opened: opened.acknowledge(100000001))
    assert service.of("acknowledge")[0].url == f"{QUEUE}/100000001"


@pytest.mark.parametrize("status", [200, 202, 400])
def test_any_other_answer_leaves_the_message_unacknowledged(status):
    service = Service()
    service.script("acknowledge", reply(status))
    with pytest.raises(scaleset.ScaleSetError):
        in_session(service, lambda opened: opened.acknowledge(100000001))


def test_offers_are_acquired_with_the_queues_token():
    service = Service()
    service.script("acquire", reply(401), reply(200, {"count": 1, "value": [5005]}))
    assert in_session(service, lambda opened: opened.acquire([5005, 5006])) == [5005]
    first, second = service.of("acquire")
    assert first.url == f"{SERVICE}/_apis/runtime/runnerscalesets/8/acquirejobs?api-version=6.0-preview"
    assert (first.body, first.headers["Authorization"]) == (b"[5005,5006]", "Bearer queue-1")
    assert second.headers["Authorization"] == "Bearer queue-2"
    assert service.count("registration") == 1


def test_no_offers_are_not_asked_for():
    service = Service()
    assert in_session(service, lambda opened: opened.acquire([])) == []
    assert service.count("acquire") == 0


@pytest.mark.parametrize("value", [{"value": ["5005"]}, {"value": [True]}, {"value": 7}, []])
def test_what_is_no_list_of_ids_wins_nothing(value):
    service = Service()
    service.script("acquire", reply(200, value))
    with pytest.raises(scaleset.UnreadableAnswerError):
        in_session(service, lambda opened: opened.acquire([5005]))


@pytest.mark.parametrize("answer", [reply(204), reply(404), refusal(400, "RunnerScaleSetSessionExpiredException")])
def test_closing_a_session_that_is_gone_is_done(answer):
    service = Service()
    service.script("close", answer)
    in_session(service, lambda opened: opened.close())
    assert service.of("close")[0].url == (
        f"{SERVICE}/_apis/runtime/runnerscalesets/8/sessions/{SESSION_ID}?api-version=6.0-preview"
    )


def test_a_session_that_cannot_be_closed_says_so():
    service = Service()
    service.script("close", reply(403))
    with pytest.raises(scaleset.ForbiddenError):
        in_session(service, lambda opened: opened.close())
