"""The loop: nothing is lost, nothing is acknowledged before it was acted on, and nothing but `stop` ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import scaleset
from scaleset import What
from scaleset.listen import pause_seconds
from scaleset.transport import Response, TransportError
from scaleset_service import (
    HOLD_SECONDS,
    Service,
    client,
    job,
    loop_time,
    message,
    play,
    refusal,
    reply,
    scale_set,
    session,
    statistics,
)

SPEC = scaleset.ScaleSetSpec(name="fleet-a", runner_group="workers")
CONFLICT = refusal(409, "RunnerScaleSetSessionConflictException")
GONE = refusal(404, "RunnerScaleSetNotFoundException")
LOST = TransportError("ServerDisconnectedError", sent=True)


class Handler:
    """Notes what it is given. `failing` says how many of its next calls raise; `poisoned`, of those with jobs."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.most = 25
        self.failing = 0
        self.poisoned = 0
        self.seen: list[tuple[int, tuple[str, ...]]] = []
        """The assigned jobs and the job ids of every call."""
        self.kept: list[tuple[int, str, int]] = []
        self.events: list[scaleset.Event] = []

    def capacity(self) -> int:
        return self.most

    async def handle(self, statistics: scaleset.Statistics, jobs: Sequence[scaleset.JobMessage], /) -> None:
        await asyncio.sleep(0)
        self.seen.append((statistics.total_assigned_jobs, tuple(each.job_id[-1] for each in jobs)))
        self.service.requests.append(_HANDLED)
        if self.failing or (jobs and self.poisoned):
            self.failing = max(0, self.failing - 1)
            self.poisoned -= bool(jobs)
            raise RuntimeError("the bucket is not there")

    async def unreadable(self, message_id: int, body: str, deliveries: int, /) -> None:
        self.kept.append((message_id, body, deliveries))

    def told(self, event: scaleset.Event) -> None:
        self.events.append(event)

    @property
    def told_of(self) -> list[What]:
        return [event.what for event in self.events]

    def last(self, what: What) -> scaleset.Event:
        return [event for event in self.events if event.what is what][-1]


class _Handled:
    """Stands among the requests where the handler was called."""

    call = "handled"


_HANDLED: Any = _Handled()


def serve(
    service: Service, until: Callable[[Handler], bool] | float, kind: type[Handler] = Handler, **changes: Any
) -> Handler:
    """Listen until so many seconds have passed, or until a condition holds at an event of the loop's; then stop."""
    handler = kind(service)
    for name, value in changes.items():
        setattr(handler, name, value)

    async def script():
        stop = asyncio.Event()
        listening = asyncio.ensure_future(scaleset.listen(client(service), SPEC, handler, owner="me", stop=stop))
        if callable(until):
            while not until(handler):
                await asyncio.sleep(0.5)
                assert loop_time() < 20_000, f"it never came to that: {handler.told_of[-5:]}"
        else:
            await asyncio.sleep(until)
        stop.set()
        await listening

    play(script())
    return handler


def after(service: Service, call: str, count: int = 1) -> Callable[[Handler], bool]:
    return lambda _: service.count(call) >= count


def order(service: Service, *calls: str) -> list[str]:
    return [call for call in service.calls if call in calls]


# All is well.


def test_it_makes_the_set_opens_a_session_acts_on_its_counters_and_polls():
    service = Service()
    service.script("open", reply(200, session(statistics=statistics(totalAssignedJobs=3))))
    handler = serve(service, 10)
    assert service.calls[2:] == ["group", "find", "create", "open", "handled", "poll", "close"]
    assert handler.seen == [(3, ())]
    assert handler.told_of == [What.SCALE_SET_MADE, What.SESSION_OPENED, What.SESSION_CLOSED]
    assert service.of("open")[0].json["ownerName"] == "me"


def test_a_message_is_acknowledged_after_it_was_acted_on_and_the_next_comes_after_it():
    service = Service()
    service.script("poll", reply(200, message(1, job("JobAssigned"))), reply(200, message(2)))
    handler = serve(service, 10)
    assert handler.seen == [(0, ()), (1, ("1",)), (0, ())]
    assert order(service, "handled", "poll", "acknowledge") == [
        "handled", "poll", "handled", "acknowledge", "poll", "handled", "acknowledge", "poll",
    ]  # fmt: skip
    cursors = [request.url.rpartition("message")[2] for request in service.of("poll")]
    assert cursors == ["", "?lastMessageId=100000001", "?lastMessageId=100000002"]


def test_the_capacity_is_asked_before_every_poll():
    service = Service()
    handler = Handler(service)

    async def answer(_):
        handler.most += 1
        return reply(200, message(handler.most))

    service.script("poll", answer, answer)

    async def script():
        stop = asyncio.Event()
        listening = asyncio.ensure_future(scaleset.listen(client(service), SPEC, handler, owner="me", stop=stop))
        await asyncio.sleep(10)
        stop.set()
        await listening

    play(script())
    assert [request.headers["X-ScaleSetMaxCapacity"] for request in service.of("poll")] == ["25", "26", "27"]


@pytest.mark.parametrize("capacity", [0, -1])
def test_capacity_0_is_never_advertised(capacity):
    service = Service()
    with pytest.raises(ValueError, match="never advertised while serving"):
        serve(service, 10, most=capacity)
    assert service.calls == []


def test_a_capacity_of_1_will_do():
    service = Service()
    serve(service, 10, most=1)
    assert service.of("poll")[0].headers["X-ScaleSetMaxCapacity"] == "1"


def test_a_capacity_that_falls_to_0_ends_it_and_the_session_is_closed():
    service = Service()

    async def answer(_):
        handler.most = 0
        return reply(200, message(1))

    service.script("poll", answer)
    handler = Handler(service)

    async def script():
        await scaleset.listen(client(service), SPEC, handler, owner="me", stop=asyncio.Event())

    with pytest.raises(ValueError, match="never advertised while serving"):
        play(script())
    assert service.count("poll") == 1
    assert service.calls[-1] == "close"


def test_an_empty_poll_repeats_the_last_counters_and_looks_from_the_start_of_the_log():
    service = Service()
    service.script("poll", reply(200, message(9, job("JobAssigned"))))
    handler = serve(service, 2 * HOLD_SECONDS + 1)
    assert handler.seen == [(0, ()), (1, ("1",)), (1, ()), (1, ())]
    assert [request.url.rpartition("message")[2] for request in service.of("poll")] == [
        "", "?lastMessageId=100000009", "", "",
    ]  # fmt: skip


def test_a_sequence_that_begins_anew_below_the_cursor_is_found():
    service = Service()

    async def restarted(request):
        """As the server does: the first message above the cursor, if there is one within the hold."""
        if "lastMessageId" in request.url:
            await asyncio.sleep(HOLD_SECONDS)
            return reply(202)
        return reply(200, message(1, job("JobAssigned")))

    service.script("poll", reply(200, message(500)), restarted, restarted)
    handler = serve(service, after(service, "acknowledge", 2))
    assert handler.seen[-1] == (1, ("1",))


def test_empty_answers_that_come_at_once_do_not_make_it_spin():
    service = Service()
    service.script("poll", *[reply(200, body=b"")] * 100)
    serve(service, 10.5)
    assert service.count("poll") == 11


def test_a_message_without_counters_keeps_the_last_ones():
    service = Service()
    service.script("open", reply(200, session(statistics=statistics(totalAssignedJobs=3))))
    service.script("poll", reply(200, message(1, job("JobAssigned"), statistics=None)))
    handler = serve(service, 10)
    assert handler.seen[1] == (3, ("1",))


def test_offers_are_acquired_before_they_are_acted_on():
    service = Service()
    offers = [job("JobAvailable", number, runnerRequestId=5000 + number) for number in (1, 2)]
    service.script("poll", reply(200, message(1, *offers, job("JobAvailable", 3), job("JobAssigned", 4))))
    serve(service, 10)
    assert service.of("acquire")[0].json == [5001, 5002]
    assert order(service, "acquire", "handled", "acknowledge") == ["handled", "acquire", "handled", "acknowledge"]


def test_offers_that_are_refused_are_told_and_the_rest_is_acted_on():
    service = Service()
    service.script("poll", reply(200, message(1, job("JobAvailable", runnerRequestId=5001), job("JobAssigned", 2))))
    service.script("acquire", reply(404))
    handler = serve(service, 10)
    assert What.OFFERS_REFUSED in handler.told_of
    assert service.count("acknowledge") == 1


def test_offers_that_could_not_be_acquired_for_now_come_again():
    service = Service()
    offer = reply(200, message(1, job("JobAvailable", runnerRequestId=5001)))
    service.script("poll", *[offer] * 5)
    service.script("acquire", *[reply(503)] * 20)
    handler = serve(service, after(service, "acknowledge"))
    assert service.count("acquire") == 21
    assert What.MESSAGE_DROPPED not in handler.told_of


# Stopping.


def test_when_told_to_stop_the_poll_ends_at_once_and_the_session_is_closed():
    service = Service()

    async def script():
        handler, stop = Handler(service), asyncio.Event()
        listening = asyncio.ensure_future(scaleset.listen(client(service), SPEC, handler, owner="me", stop=stop))
        await asyncio.sleep(7)
        stop.set()
        await listening
        assert loop_time() == pytest.approx(7)

    play(script())
    assert service.calls[-2:] == ["poll", "close"]


def test_what_is_half_handled_is_not_acknowledged():
    service = Service()
    service.script("poll", reply(200, message(1, job("JobAssigned"))))
    reached = []

    class Slow(Handler):
        async def handle(self, statistics, jobs, /):
            reached.append(statistics.total_assigned_jobs)
            if jobs:
                await asyncio.sleep(100)
                reached.append("end")

    async def script():
        stop = asyncio.Event()
        listening = asyncio.ensure_future(scaleset.listen(client(service), SPEC, Slow(service), owner="me", stop=stop))
        await asyncio.sleep(7)
        stop.set()
        await listening

    play(script())
    assert reached == [0, 1]
    assert (service.count("acknowledge"), service.count("close")) == (0, 1)


def test_a_session_that_was_being_opened_is_closed_too():
    """Nobody would know of it, and it would keep the next leader out until it lapses."""
    service = Service()

    async def slow(_):
        await asyncio.sleep(3)
        return reply(200, session())

    service.script("open", slow)
    handler = serve(service, 1)
    assert service.calls[-2:] == ["open", "close"]
    assert handler.seen == []


def test_a_service_that_does_not_answer_holds_nobody_up_for_more_than_four_seconds():
    async def never(_):
        await asyncio.sleep(10_000)
        return reply(204)

    for call, until in (("close", 10), ("open", 1)):
        service = Service()
        service.script(call, never)

        async def script(service=service, until=until):
            handler, stop = Handler(service), asyncio.Event()
            listening = asyncio.ensure_future(scaleset.listen(client(service), SPEC, handler, owner="me", stop=stop))
            await asyncio.sleep(until)
            stop.set()
            await listening
            assert loop_time() == pytest.approx(until + 4)

        play(script())


def test_a_session_that_cannot_be_closed_is_told():
    service = Service()
    service.script("close", reply(403))
    handler = serve(service, 1)
    assert isinstance(handler.last(What.CLOSE_FAILED).error, scaleset.ForbiddenError)


def test_cancelling_it_closes_the_session_as_well():
    service = Service()

    async def script():
        listening = asyncio.ensure_future(
            scaleset.listen(client(service), SPEC, Handler(service), owner="me", stop=asyncio.Event())
        )
        await asyncio.sleep(7)
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening
        assert len(asyncio.all_tasks()) == 1

    play(script())
    assert service.calls[-1] == "close"


# What goes wrong.


def test_a_conflict_is_waited_out_however_long_it_lasts():
    service = Service()
    service.script("open", *[CONFLICT] * 100)
    handler = serve(service, after(service, "poll"))
    conflicts = [event for event in handler.events if event.what is What.SESSION_CONFLICT]
    assert [event.waited_seconds for event in conflicts] == pytest.approx([5.0 * number for number in range(100)])
    assert {event.pause_seconds for event in conflicts} == {5.0}


def test_a_lost_session_is_replaced_and_its_messages_come_from_the_start():
    service = Service()
    service.script("poll", reply(200, message(5)), reply(401), reply(200, message(5)))
    service.script("refresh", refusal(404, "RunnerAdminException"))
    handler = serve(service, 10)
    assert What.SESSION_LOST in handler.told_of
    assert service.count("open") == 2
    assert [request.url.rpartition("message")[2] for request in service.of("poll")][2] == ""


def test_sessions_that_are_lost_before_they_ever_served_do_not_make_it_spin():
    service = Service()
    service.script("poll", *[reply(404)] * 6)
    serve(service, after(service, "poll", 7))
    assert [round(request.at) for request in service.of("open")] == [0, 1, 3, 7, 15, 31, 61]


def test_a_token_of_the_queue_that_ended_is_told():
    service = Service()
    service.script("poll", reply(401))
    handler = serve(service, HOLD_SECONDS + 1)
    assert What.SESSION_REFRESHED in handler.told_of
    assert What.SESSION_LOST not in handler.told_of


def test_a_scale_set_that_is_gone_is_made_again():
    service = Service()
    service.script("poll", reply(200, message(1)), reply(404))
    service.script("open", reply(200, session()), GONE)
    handler = serve(service, after(service, "poll", 3))
    assert (service.count("create"), service.count("open")) == (2, 3)
    assert handler.told_of.count(What.SCALE_SET_MADE) == 2
    assert handler.last(What.FAILED).pause_seconds == 1


def test_a_set_that_is_found_and_yet_not_there_does_not_make_it_spin():
    service = Service()
    service.script("find", *[reply(200, {"count": 1, "value": [scale_set()]})] * 100)
    service.script("open", *[GONE] * 8)
    serve(service, after(service, "poll"))
    assert [round(request.at) for request in service.of("open")] == [0, 1, 3, 7, 15, 31, 61, 91, 121]


def test_a_failure_of_the_handler_brings_the_message_again_after_a_pause():
    service = Service()
    again = reply(200, message(1, job("JobAssigned")))
    service.script("poll", again, again)
    handler = serve(service, 10, poisoned=1)
    assert handler.seen == [(0, ()), (1, ("1",)), (1, ("1",))]
    assert [request.at for request in service.of("poll")] == [0, 1, 1]
    assert service.count("acknowledge") == 1
    failed = handler.last(What.HANDLING_FAILED)
    assert isinstance(failed.error, RuntimeError)
    assert (failed.message_id, failed.deliveries) == (100000001, 1)


def test_a_message_that_fails_three_times_is_told_acknowledged_and_dropped():
    service = Service()
    service.script("poll", *[reply(200, message(1, job("JobAssigned")))] * 3, reply(200, message(2)))
    handler = serve(service, after(service, "acknowledge", 2), poisoned=3)
    assert handler.seen[1:4] == [(1, ("1",))] * 3
    dropped = handler.last(What.MESSAGE_DROPPED)
    assert (dropped.message_id, dropped.deliveries) == (100000001, 3)
    assert [request.url[-9:] for request in service.of("acknowledge")] == ["100000001", "100000002"]


def test_a_message_that_its_handler_puts_off_stays_for_as_long_as_that_lasts():
    service = Service()
    service.script("poll", *[reply(200, message(1, job("JobAssigned")))] * 8)

    class Waiting(Handler):
        async def handle(self, statistics, jobs, /):
            if jobs and len(self.seen) < 8:
                self.seen.append((1, ("put off",)))
                raise scaleset.NotNowError("the bucket does not answer")
            await super().handle(statistics, jobs)

    handler = serve(service, after(service, "acknowledge"), Waiting)
    assert handler.told_of.count(What.PUT_OFF) == 7
    assert What.MESSAGE_DROPPED not in handler.told_of
    assert handler.seen[-1] == (1, ("1",))
    assert [round(request.at) for request in service.of("poll")][:8] == [0, 1, 3, 7, 15, 31, 61, 91]


def test_an_id_that_is_used_again_has_all_its_tries_again():
    """A sequence that begins anew brings another message under the id of one that was dropped."""
    service = Service()
    service.script("poll", *[reply(200, message(1, job("JobAssigned")))] * 5)
    handler = serve(service, after(service, "acknowledge", 2), poisoned=4)
    assert handler.seen[1:] == [(1, ("1",))] * 5
    assert handler.told_of.count(What.MESSAGE_DROPPED) == 1


def test_counters_of_the_opening_are_acted_on_again_where_that_failed():
    service = Service()
    handler = serve(service, 10, failing=2)
    assert handler.seen == [(0, ()), (0, ()), (0, ())]
    assert [request.at for request in service.of("poll")] == [3]


def test_a_message_that_cannot_be_parsed_is_kept_each_time_and_dropped_at_the_third():
    service = Service()
    raw = b'{"messageId":100000001,"messageType":"RunnerScaleSetJobMessages","body":"{"}'
    service.script("poll", *[reply(200, body=raw)] * 3, reply(200, message(2, job("JobAssigned"))))
    handler = serve(service, after(service, "acknowledge", 2))
    assert handler.kept == [(100000001, raw.decode(), number) for number in (1, 2, 3)]
    assert [event.deliveries for event in handler.events if event.what is What.MESSAGE_UNREADABLE] == [1, 2, 3]
    assert [request.at for request in service.of("poll")][:4] == [0, 1, 3, 3]
    assert handler.seen[-1] == (1, ("1",))


def test_one_that_cannot_even_be_kept_blocks_nobody():
    service = Service()
    raw = b'{"messageId":100000001}'
    service.script("poll", *[reply(200, body=raw)] * 3)

    class Full(Handler):
        async def unreadable(self, *_: object):
            raise OSError("no space")

    async def script():
        handler, stop = Full(service), asyncio.Event()
        listening = asyncio.ensure_future(scaleset.listen(client(service), SPEC, handler, owner="me", stop=stop))
        await asyncio.sleep(10)
        stop.set()
        await listening
        assert handler.told_of.count(What.HANDLING_FAILED) == 3

    play(script())
    assert service.count("acknowledge") == 1


def test_answers_without_an_id_lead_to_a_new_session_and_its_counters():
    service = Service()
    service.script("poll", *[reply(200, body=b"<html>")] * 3)
    service.script("open", reply(200, session()), reply(200, session(statistics=statistics(totalAssignedJobs=4))))
    handler = serve(service, 20)
    assert [kept[0] for kept in handler.kept] == [0, 0, 0]
    assert (service.count("acknowledge"), service.count("open")) == (0, 2)
    assert handler.seen[-1] == (4, ())


def test_an_acknowledgement_that_fails_brings_the_message_again():
    service = Service()
    service.script("poll", *[reply(200, message(1, job("JobAssigned")))] * 2)
    service.script("acknowledge", *[reply(503)] * 5)
    handler = serve(service, after(service, "acknowledge", 6))
    assert handler.seen[1:] == [(1, ("1",)), (1, ("1",))]
    assert isinstance(handler.last(What.FAILED).error, scaleset.UnavailableError)


def test_an_hour_without_github_is_survived():
    """The session lapses meanwhile, and nothing can tell: its token is refused, and then it is not there to refresh."""
    service = Service()

    async def outage(_):
        return reply(503) if loop_time() < 3600 else reply(401)

    service.script("poll", *[outage] * 1000)
    service.script("refresh", refusal(404, "RunnerAdminException"))

    def recovered(_):
        service.scripts["poll"].clear() if service.count("refresh") else None
        return service.count("open") == 2

    handler = serve(service, recovered)
    assert What.SESSION_LOST in handler.told_of
    assert service.count("poll") < 500
    assert 3600 <= service.of("refresh")[0].at < 3600 + 60


@pytest.mark.parametrize(
    ("call", "answer", "error"),
    [
        ("registration token", reply(401), scaleset.UnauthorizedError),
        ("registration token", reply(403), scaleset.ForbiddenError),
        ("group", reply(200, {"count": 0, "value": []}), scaleset.NotFoundError),
    ],
)
def test_what_somebody_must_mend_is_told_and_waited_for_with_longer_pauses(call, answer, error):
    service = Service()
    service.script(call, *[answer] * 6)
    handler = serve(service, after(service, "poll"))
    failures = [event for event in handler.events if event.what is What.FAILED]
    assert {type(event.error) for event in failures} == {error}
    assert [event.pause_seconds for event in failures] == [30, 60, 120, 240, 300, 300]


def test_a_rate_limit_is_obeyed_up_to_a_quarter_of_an_hour():
    limit = scaleset.RateLimitedError("x", status=429, retry_after_seconds=600)
    assert pause_seconds(limit, 0, lasting=False) == 600
    limit = scaleset.RateLimitedError("x", status=429, retry_after_seconds=90_000)
    assert pause_seconds(limit, 0, lasting=False) == 900
    assert pause_seconds(scaleset.RateLimitedError("x", status=429), 3, lasting=False) == 8


def test_labels_that_are_missing_are_told():
    service = Service()
    found = scale_set(labels=[{"name": "other"}])
    service.script("find", reply(200, {"count": 1, "value": [found]}))
    service.script("update", Response(status=400, headers={}, body=b""))
    handler = serve(service, 1)
    assert handler.told_of[:2] == [What.UPDATE_REFUSED, What.LABELS_MISSING]
    assert handler.last(What.LABELS_MISSING).labels == ("fleet-a",)


def test_a_hundred_scale_sets_share_one_connection_and_do_not_wait_for_each_other():
    service = Service()

    async def script():
        github, stop = client(service), asyncio.Event()
        handlers = [Handler(service) for _ in range(100)]
        listening = [
            asyncio.ensure_future(
                scaleset.listen(github, scaleset.ScaleSetSpec(name=f"fleet-{n}"), handler, owner="me", stop=stop)
            )
            for n, handler in enumerate(handlers)
        ]
        await asyncio.sleep(HOLD_SECONDS / 2)
        assert service.count("poll") == 100
        stop.set()
        await asyncio.gather(*listening)
        assert loop_time() == pytest.approx(HOLD_SECONDS / 2)

    play(script())
    assert (service.count("registration"), service.count("close")) == (1, 100)
