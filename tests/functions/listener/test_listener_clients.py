"""The thin parts: Google's services over any transport, the limiter, what is stored, what is logged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest
from listener import fleet_table, limiter
from listener.clients.compute import Compute
from listener.clients.monitoring import Gauge, Monitoring
from listener.clients.secret_manager import Secrets
from listener.clients.storage import Storage
from listener.clients.token import MetadataToken
from listener.clients.upstream import UpstreamError, retry_after_seconds
from listener.document import Document
from listener.leadership import Leadership, NotLeadingError
from listener.limiter import Kind, Limiter
from listener.records import Records
from scaleset import Response, TransportError

from simulation.loop import running
from tests.functions.listener.listener_world import row

TABLE = {"environment": "prod", "project": "p", "organization": "o", "groups": {"g": row("cpu", "us-west1")}}
GROUP = fleet_table.parse(json.dumps(TABLE)).groups["g"]


class Script:
    """A transport whose answers are given one after the other; the last one for ever."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, dict[str, str], bytes | None, float]] = []

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, timeout_seconds: float
    ) -> Response:
        assert timeout_seconds > 0
        self.asked.append((method, url, dict(headers), body, asyncio.get_running_loop().time()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            await asyncio.Event().wait()
        assert isinstance(answer, Response)
        return answer

    async def close(self) -> None:
        pass


def said(status: int = 200, body: Any = None, **headers: str) -> Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(
        status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, body=content
    )


async def token() -> str:
    return "ya29.secret"


def run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    with running() as loop:
        return loop.run_until_complete(work())


def compute(script: Script, limit: Limiter | None = None) -> Compute:
    return Compute(script, token, "http://google.test", "p", limit or Limiter())


# Failures.


def test_a_failures_text_holds_its_status_and_nothing_that_the_service_said():
    script = Script(said(403, {"error": {"errors": [{"reason": "quotaExceeded", "message": "leak"}]}}))
    with pytest.raises(UpstreamError) as caught:
        run(lambda: compute(script).resize(GROUP, 3, timeout_seconds=5))
    assert str(caught.value) == "compute answered with HTTP 403"
    assert caught.value.reason == "quotaExceeded"
    assert not caught.value.passing


@pytest.mark.parametrize("answer", [TransportError("reset", sent=True), None])
def test_no_answer_in_time_has_status_0_and_may_pass(answer):
    with pytest.raises(UpstreamError) as caught:
        run(lambda: compute(Script(answer)).resize(GROUP, 3, timeout_seconds=5))
    assert (caught.value.status, caught.value.passing) == (0, True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry_After": "7"}, 7.0), ({}, 0.0), ({"Retry_After": "soon"}, 0.0), ({"Retry_After": "-3"}, 0.0),
     ({"Retry_After": "Wed, 25 Nov 2026 10:00:30 GMT", "Date": "Wed, 25 Nov 2026 10:00:00 GMT"}, 30.0)],
)  # fmt: skip
def test_what_retry_after_asks_for(headers, seconds):
    assert retry_after_seconds(said(429, **headers)) == seconds


# Compute Engine.


def member(**more: Any) -> dict[str, Any]:
    link = "https://www.googleapis.com/compute/v1/projects/p/zones/us-west1-a/instances/vm-1"
    return {"instance": link, "currentAction": "NONE", **more}


def test_all_pages_of_members_are_read():
    failed = member(currentAction="CREATING", lastAttempt={"errors": {"errors": [{"code": "X"}]}})
    script = Script(
        said(200, {"managedInstances": [member(id="1", instanceStatus="RUNNING")], "nextPageToken": "t"}),
        said(200, {"managedInstances": [failed]}),
    )
    first, second = run(lambda: compute(script).members(GROUP))
    assert (first.id, first.zone, first.status, first.codes) == ("1", "us-west1-a", "RUNNING", ())
    assert (second.id, second.action, second.codes) == ("", "CREATING", ("X",))
    assert "pageToken=t" in script.asked[1][1]


@pytest.mark.parametrize(
    ("target", "runs"), [("RUNNING", True), (None, True), ("", True), ("SUSPENDED", False), ("STOPPED", False)]
)
def test_what_a_member_is_meant_to_become(target, runs):
    more = {} if target is None else {"targetStatus": target}
    [found] = run(lambda: compute(Script(said(200, {"managedInstances": [member(id="1", **more)]}))).members(GROUP))
    assert found.meant_to_run is runs


@pytest.mark.parametrize(
    "page",
    [[], {"managedInstances": {}}, {"managedInstances": [{}]}, {"managedInstances": [member(currentAction=3)]}, b"<"],
)
def test_a_listing_that_cannot_be_read_whole_is_a_failure_that_may_pass(page):
    with pytest.raises(UpstreamError) as caught:
        run(lambda: compute(Script(said(200, page))).members(GROUP))
    assert caught.value.passing


def test_a_group_without_members_has_none():
    assert run(lambda: compute(Script(said(200, {}))).members(GROUP)) == []


@pytest.mark.parametrize("target", [None, "3", True, 3.5])
def test_a_size_that_is_no_number_is_a_failure(target):
    with pytest.raises(UpstreamError):
        run(lambda: compute(Script(said(200, {"targetSize": target}))).target(GROUP))


@pytest.mark.parametrize(
    ("resource", "codes"),
    [({"status": "RUNNING"}, ()), ({"status": "DONE"}, ()), ({"status": "DONE", "httpErrorStatusCode": 503}, ("",)),
     ({"status": "DONE", "error": {"errors": [{"code": "QUOTA_EXCEEDED"}]}}, ("QUOTA_EXCEEDED",))],
)  # fmt: skip
def test_how_an_operation_ended(resource, codes):
    found = run(lambda: compute(Script(said(200, {"name": "operation-1", **resource}))).operation(GROUP, "operation-1"))
    assert found.codes == codes
    assert found.done is (resource["status"] == "DONE")


def test_a_name_that_is_none_is_never_asked_for():
    script = Script(said(200, {}))
    with pytest.raises(UpstreamError):
        run(lambda: compute(script).operation(GROUP, "../../instances"))
    assert not script.asked


# The limiter.


def test_no_minute_sees_more_than_twelve_hundred_requests_of_a_region():
    times: list[float] = []

    async def work() -> None:
        limit = Limiter()

        async def asker() -> None:
            while asyncio.get_running_loop().time() < 180:
                await limit.wait("r", Kind.READ)
                times.append(asyncio.get_running_loop().time())

        await asyncio.gather(*(asker() for _ in range(50)))

    run(work)
    assert len(times) > 2000
    worst = max(sum(begin <= at < begin + 60 for at in times) for begin in range(0, 180, 5))
    assert worst <= limiter.BURST + limiter.PER_SECOND * 60 + 1


def test_one_kind_does_not_wait_for_another():
    async def work() -> float:
        limit = Limiter()
        for _ in range(limiter.BURST):
            await limit.wait("r", Kind.LIST)
        await limit.wait("r", Kind.READ)
        return asyncio.get_running_loop().time()

    assert run(work) == 0


def test_one_region_does_not_wait_for_another():
    async def work() -> float:
        limit = Limiter()
        limit.hold("r", 30)
        await limit.wait("other", Kind.READ)
        return asyncio.get_running_loop().time()

    assert run(work) == 0


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [(said(429, None, Retry_After="7"), 7), (said(429), 60),
     (said(403, {"error": {"errors": [{"reason": "rateLimitExceeded"}]}}), 60)],
)  # fmt: skip
def test_a_refusal_for_too_many_requests_holds_all_others_back(answer, seconds):
    script = Script(answer, said(200, {"targetSize": 1}))

    async def work() -> float:
        one = compute(script)
        with pytest.raises(UpstreamError):
            await one.target(GROUP)
        await one.target(GROUP)
        return asyncio.get_running_loop().time()

    assert run(work) == pytest.approx(seconds)


# Storage, and what is kept in it.


class Leading(Leadership):
    """Leads for as long as `left` says."""

    def __init__(self) -> None:
        self.left = 20.0

    @property
    def fence(self) -> int:
        return 3

    def limit(self, seconds: float) -> float:
        if self.left <= 0:
            raise NotLeadingError
        return min(seconds, self.left)


def document(script: Script, *, signed: bool = True, leading: Leadership | None = None) -> Document:
    storage = Storage(script, token, "http://google.test", "bucket")
    return Document(
        "pools/cpu.json", storage=storage, leadership=leading or Leading(), now=lambda: 1.8e9, signed=signed
    )


def found(fence: int = 1, generation: str = "7") -> Response:
    return said(200, {"fence": fence}, x_goog_generation=generation)


def test_what_is_written_is_conditional_signed_and_expires():
    script = Script(found(), said(200, {"generation": "8"}))
    run(lambda: document(script).write({"desired": 4}))
    _, url, headers, body, _ = script.asked[1]
    assert "ifGenerationMatch=7" in url
    assert "name=pools%2Fcpu.json" in url
    assert headers["Authorization"] == "Bearer ya29.secret"
    assert json.loads(body or b"") == {
        "desired": 4, "fence": 3, "written": "2027-01-15T08:00:00Z", "expires": "2027-01-15T08:02:30Z",
    }  # fmt: skip


def test_the_same_again_is_not_written_until_it_is_to_be_renewed():
    script = Script(found(), said(200, {"generation": "8"}))

    async def work() -> None:
        one = document(script)
        for _ in range(3):
            await one.write({"desired": 4})
        await asyncio.sleep(60)
        await one.write({"desired": 4})

    run(work)
    assert len(script.asked) == 3


def test_changes_are_written_once_a_second_at_most_and_the_newest_wins():
    script = Script(found(), said(200, {"generation": "8"}))

    async def work() -> None:
        one = document(script)
        await asyncio.gather(*(one.write({"desired": number}) for number in range(20)))

    run(work)
    bodies = [json.loads(body)["desired"] for *_, body, _ in script.asked if body]
    assert bodies in ([0, 19], [19])


def test_what_somebody_else_wrote_is_looked_at_and_written_over_unless_a_later_leader_did():
    script = Script(found(), said(412), found(generation="9"), said(200, {"generation": "10"}))
    run(lambda: document(script).write({"desired": 4}))
    assert "ifGenerationMatch=9" in script.asked[3][1]
    later = Script(found(), said(412), found(fence=4, generation="9"), said(200, {"generation": "10"}))
    with pytest.raises(NotLeadingError):
        run(lambda: document(later).write({"desired": 4}))
    assert len(later.asked) == 3


def test_after_a_lost_answer_the_object_is_looked_at_again():
    script = Script(found(), TransportError("reset", sent=True), found(generation="8"), said(200, {"generation": "9"}))

    async def work() -> None:
        one = document(script)
        with pytest.raises(UpstreamError):
            await one.write({"desired": 4})
        await one.write({"desired": 4})

    run(work)
    assert "ifGenerationMatch=8" in script.asked[3][1]


def test_who_does_not_lead_writes_nothing():
    script, leading = Script(found()), Leading()
    leading.left = 0.0
    with pytest.raises(NotLeadingError):
        run(lambda: document(script, leading=leading).write({"desired": 4}))
    assert not script.asked


@pytest.mark.parametrize("answer", [said(200, {}), said(200, {"generation": 8}), said(200, b"<"), said(503)])
def test_a_write_whose_answer_makes_no_sense_may_have_been_done_and_is_a_failure(answer):
    storage = Storage(Script(answer), token, "http://google.test", "bucket")
    with pytest.raises(UpstreamError) as caught:
        run(lambda: storage.write("a", b"", "0"))
    assert caught.value.passing


# Secrets, tokens, metrics, records.


def test_a_secret_is_its_decoded_text():
    script = Script(said(503), said(200, {"payload": {"data": "a2V5"}}))
    assert (
        run(lambda: Secrets(script, token, "http://google.test").text("projects/p/secrets/s/versions/latest")) == "key"
    )


@pytest.mark.parametrize("body", [{}, {"payload": []}, {"payload": {"data": "!"}}, {"payload": {"data": "/w=="}}])
def test_a_secret_that_is_none_is_a_failure(body):
    with pytest.raises(UpstreamError):
        run(lambda: Secrets(Script(said(200, body)), token, "http://google.test").text("v"))


def test_a_token_is_fetched_once_for_all_and_again_before_it_ends(monkeypatch):
    monkeypatch.setenv("GCE_METADATA_HOST", "metadata.test")
    script = Script(
        said(200, {"access_token": "one", "expires_in": 3600}), said(200, {"access_token": "two", "expires_in": 99})
    )

    async def work() -> list[str]:
        fetch = MetadataToken(script)
        first = await asyncio.gather(*(fetch() for _ in range(5)))
        await asyncio.sleep(3600 - 226)
        kept = await fetch()
        await asyncio.sleep(2)
        return [*first, kept, await fetch()]

    assert run(work) == ["one"] * 6 + ["two"]
    assert len(script.asked) == 2
    assert script.asked[0][1].startswith("http://metadata.test/computeMetadata/v1/")
    assert script.asked[0][2] == {"Metadata-Flavor": "Google"}


@pytest.mark.parametrize(
    "answer",
    [said(404), said(200, {}), said(200, {"access_token": "a\nb", "expires_in": 1}), TransportError("x", sent=False)],
)
def test_a_token_that_is_none_is_a_failure(answer):
    with pytest.raises(UpstreamError):
        run(MetadataToken(Script(answer)))


def test_gauges_go_out_two_hundred_at_a_time():
    script = Script(said(200, {}))
    gauges = [Gauge(name="assigned", pool=f"p{number}", value=number) for number in range(450)]
    run(
        lambda: Monitoring(script, token, "http://google.test", project="p", environment="prod").write(
            gauges, "2026-11-25T10:00:00Z"
        )
    )
    assert [len(json.loads(body or b"")["timeSeries"]) for *_, body, _ in script.asked] == [200, 200, 50]


def test_a_record_has_its_message_its_fields_and_its_fence():
    log: list[Any] = []
    Records(log.append, 5).say("grown", pool="cpu", from_=1, to=2)
    assert log == [{"severity": "INFO", "message": "grown", "pool": "cpu", "from": 1, "to": 2, "fence": 5}]
