"""Client and emulator against written exchanges: method, URL, headers and bodies byte by byte, all fields of answers.

The exchanges are in trace.yaml. Our client plays them against a server that takes nothing else; the same requests from
a bare HTTP client, as any other would send them, are put to the emulator, and its answers judged; and then client and
emulator meet.
"""

from __future__ import annotations

import asyncio
import dataclasses
import http.client
import importlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import scaleset
import scaleset_trace as trace
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from emulators.site import Site

SPEC = scaleset.ScaleSetSpec(name="fleet-a", runner_group="workers", labels=("linux",))
AT_ONCE = scaleset.Retry(first_pause_seconds=0.0)
World = Callable[[str], None]
"""Makes happen what a trace says happens before a step."""


@pytest.fixture(scope="module")
def credentials() -> scaleset.AppCredentials:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return scaleset.AppCredentials(app_id="12", installation_id="77", private_key_pem=pem)


def nothing(_: str) -> None:
    """The player knows by itself what happens between two requests."""


async def dotcom(github: scaleset.ScaleSetClient, world: World) -> None:
    """A job from its assignment to its end, with a token that ends between."""
    ensured = await github.ensure(SPEC)
    assert (ensured.made, ensured.labels_missing) == (True, ())
    session = await github.open_session(ensured.scale_set.id, "listener-1")
    assert session.statistics.total_assigned_jobs == 0
    world("queue a job")
    assigned = await session.poll(max_capacity=2)
    assert assigned
    assert [type(job) for job in assigned.jobs] == [scaleset.JobAssigned]
    await session.acknowledge(assigned.message_id)
    config = await github.jit_config(ensured.scale_set.id, "fleet-a-x1")
    world("expire the queue's tokens")
    world("connect the runner")
    started = await session.poll(max_capacity=2, last_message_id=assigned.message_id)
    assert started
    (job,) = started.jobs
    assert isinstance(job, scaleset.JobStarted)
    assert (job.runner_id, job.runner_name) == (config.runner.id, "fleet-a-x1")
    await session.acknowledge(started.message_id)
    assert await session.poll(max_capacity=2, last_message_id=started.message_id) is None
    world("finish the job")
    completed = await session.poll(max_capacity=2, last_message_id=started.message_id)
    assert completed
    (job,) = completed.jobs
    assert isinstance(job, scaleset.JobCompleted)
    assert (job.result, job.runner_name) == ("succeeded", "fleet-a-x1")
    await session.acknowledge(completed.message_id)
    await session.close()


async def ghes(github: scaleset.ScaleSetClient, world: World) -> None:
    """A job that is offered, acquired and then assigned."""
    ensured = await github.ensure(SPEC)
    session = await github.open_session(ensured.scale_set.id, "listener-1")
    world("queue a job")
    offered = await session.poll(max_capacity=2)
    assert offered
    (offer,) = offered.jobs
    assert isinstance(offer, scaleset.JobAvailable)
    assert await session.acquire([offer.runner_request_id]) == [offer.runner_request_id]
    await session.acknowledge(offered.message_id)
    assigned = await session.poll(max_capacity=2, last_message_id=offered.message_id)
    assert assigned
    assert assigned.statistics
    assert assigned.statistics.total_assigned_jobs == 1
    assert assigned.jobs[0].runner_request_id == offer.runner_request_id
    await session.close()


async def conflict(github: scaleset.ScaleSetClient, _: World) -> None:
    """A second session, before and after the first is closed."""
    ensured = await github.ensure(SPEC)
    session = await github.open_session(ensured.scale_set.id, "listener-1")
    with pytest.raises(scaleset.SessionConflictError):
        await github.open_session(ensured.scale_set.id, "listener-1")
    await session.close()
    assert (await github.open_session(ensured.scale_set.id, "listener-2")).id != session.id


PLAYS = {"dotcom": dotcom, "ghes": ghes, "conflict": conflict}


async def play(name: str, url: str, credentials: scaleset.AppCredentials, world: World, **options: Any) -> None:
    """One of the plays, by our client over HTTP."""
    transport = scaleset.HttpTransport()
    try:
        github = scaleset.ScaleSetClient(
            transport,
            config_url=f"{url}/my-org",
            credentials=credentials,
            system="my-listener",
            version="1.0",
            retry=AT_ONCE,
            **options,
        )
        await PLAYS[name](github, world)
    finally:
        await transport.close()


# Our client, before a server that knows only the written exchanges.


async def played(name: str, credentials: scaleset.AppCredentials, steps: list[trace.Step]) -> trace.Player:
    player = trace.Player(steps)
    async with player.serving():
        await play(name, player.url, credentials, nothing)
    return player


@pytest.mark.parametrize("name", PLAYS)
def test_our_client_says_exactly_what_is_written(name, credentials):
    player = asyncio.run(played(name, credentials, trace.scenario(name)))
    assert player.wrong == []
    assert player.done == len(player.steps)


@pytest.mark.parametrize(
    ("number", "change"),
    [
        (4, {"target": "/rest/_apis/runtime/runnergroups?api-version=6.0-preview&groupName=workers"}),
        (6, {"text": "{}"}),
        (8, {"headers": {"Accept": "application/json"}}),
        (9, {"method": "POST"}),
    ],
)
def test_the_player_takes_nothing_but_what_is_written(credentials, number, change):
    """A player that nods at everything would prove nothing."""
    steps = trace.scenario("dotcom")
    steps[number] = dataclasses.replace(steps[number], request={**steps[number].request, **change})
    player = asyncio.run(played("dotcom", credentials, steps))
    assert len(player.wrong) == 1
    assert player.wrong[0].startswith(steps[number].say)


# The emulator, before requests that are not our client's.


@pytest.fixture
def site() -> Iterator[Site]:
    with Site(organization="my-org") as running:
        running.github.scale_set_options.hold_seconds = 0.05
        running.github.add_runner_group("workers")
        yield running


def world_of(site: Site) -> World:
    happenings = {
        "queue a job": lambda: site.github.queue_job(
            ["fleet-a"], repository="widgets", job_id=trace.DOCUMENT["values"]["job"]
        ),
        "expire the queue's tokens": site.github.expire_queue_tokens,
        "connect the runner": lambda: site.github.connect("fleet-a-x1"),
        "finish the job": lambda: site.github.finish_job("fleet-a-x1", result="succeeded"),
        "": lambda: None,
    }
    return lambda what: (happenings[what](), None)[1]


def credentials_of(site: Site) -> scaleset.AppCredentials:
    return scaleset.AppCredentials(
        app_id=str(site.github.app_id),
        installation_id=str(site.github.installation_id),
        private_key_pem=site.github.app_key_pem,
    )


def ask(site: Site, step: trace.Step, values: trace.Values) -> tuple[int, dict[str, str], bytes]:
    """A step's request as it is written, and the answer."""
    url = urlsplit(site.github_url)
    assert url.hostname
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    try:
        method = step.request["method"]
        connection.putrequest(method, trace.target(step.request["target"], values), skip_accept_encoding=True)
        for name, value in step.headers(values).items():
            connection.putheader(name, value)
        body = step.body(values)
        if body or method in {"POST", "PATCH"}:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("name", [*PLAYS, "rest"])
def test_the_emulator_answers_exactly_what_is_written(site, name):
    if name == "ghes":
        site.github.scale_set_options.flavour = "ghes"
    values: trace.Values = {
        "base": site.github_url,
        "app_jwt": credentials_of(site).token(site.clock.now()),
        "installation_id": str(site.github.installation_id),
        "job": trace.DOCUMENT["values"]["job"],
        "group": site.github.groups["workers"].id,
    }
    world = world_of(site)
    for step in trace.scenario(name):
        world(step.world)
        if step.fault == "registration refused":
            site.faults.script("github.scale_sets.register", status=403)
        trace.judge(step, *ask(site, step, values), values)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"status": 201}, "HTTP 200"),
        ({"headers": {"X-Other": "<text>"}}, "no header X-Other"),
        ({"json": {"count": 0}}, "value"),
        ({"json": {"count": 0, "value": [], "more": 1}}, "more"),
        ({"json": {"count": "0", "value": []}}, "not '0'"),
        ({"json": {"count": False, "value": []}}, "not False"),
        ({"json": {"count": "<uuid>", "value": []}}, "not a uuid"),
        ({"json": {"count": 0, "value": [{}]}}, "value: 0"),
    ],
)
def test_the_judge_lets_no_other_answer_pass(change, complaint):
    (step,) = (step for step in trace.scenario("dotcom") if step.say == "it has no such scale set")
    changed = dataclasses.replace(step, response={"status": 200, "json": {"count": 0, "value": []}, **change})
    headers = {"content-type": "application/json; charset=utf-8", "activityid": "12345678"}
    with pytest.raises(AssertionError, match=complaint):
        trace.judge(changed, 200, headers, b'{"count": 0, "value": []}', {})


# Our client and the emulator.


@pytest.mark.parametrize("marked", [False, True], ids=["plain", "with byte order marks"])
@pytest.mark.parametrize("name", PLAYS)
def test_our_client_and_the_emulator_understand_each_other(site, name, marked):
    options = site.github.scale_set_options
    options.byte_order_mark = marked
    options.flavour = "ghes" if name == "ghes" else "dotcom"
    asyncio.run(play(name, site.github_url, credentials_of(site), world_of(site), now=site.clock.now))
    (scale_set,) = site.github.scale_sets.all
    assert (scale_set.name, scale_set.disable_update) == ("fleet-a", True)
    if name == "dotcom":
        (job,) = site.github.jobs.values()
        assert (job.state, job.result, job.runs) == ("completed", "succeeded", 1)


class Handler:
    """Gives every assigned job a runner, once, which runs it at once; three jobs come when the session first opens."""

    def __init__(self, site: Site, github: scaleset.ScaleSetClient, trouble: Callable[[Site], object]) -> None:
        self.site = site
        self.github = github
        self.trouble = trouble
        self.stop = asyncio.Event()
        self.given: set[str] = set()
        self.finished: list[str] = []
        self.kept: list[int] = []
        self.told_of: list[scaleset.What] = []

    def capacity(self) -> int:
        return 10

    async def handle(self, _: scaleset.Statistics, jobs: Any, /) -> None:
        for job in jobs:
            if isinstance(job, scaleset.JobAssigned) and job.job_id not in self.given:
                (scale_set,) = self.site.github.scale_sets.all
                config = await self.github.jit_config(scale_set.id, f"vm-{len(self.given)}", replace=True)
                self.given.add(job.job_id)
                self.site.github.connect(config.runner.name)
            elif isinstance(job, scaleset.JobStarted):
                self.site.github.finish_job(job.runner_name)
            elif isinstance(job, scaleset.JobCompleted):
                self.finished.append(job.result)
        if len(self.finished) == 3:
            self.stop.set()

    async def unreadable(self, _id: int, _body: str, deliveries: int, /) -> None:
        self.kept.append(deliveries)

    def told(self, event: scaleset.Event, /) -> None:
        self.told_of.append(event.what)
        if event.what is scaleset.What.SESSION_OPENED and not self.site.github.jobs:
            self.trouble(self.site)
            for number in range(3):
                self.site.github.queue_job(["fleet-a"], name=f"job-{number}")


def served(site: Site, trouble: Callable[[Site], object] = lambda _: None) -> Handler:
    """What a handler saw until its three jobs were over."""

    async def script() -> Handler:
        transport = scaleset.HttpTransport()
        github = scaleset.ScaleSetClient(
            transport,
            config_url=f"{site.github_url}/my-org",
            credentials=credentials_of(site),
            now=site.clock.now,
            retry=AT_ONCE,
        )
        handler = Handler(site, github, trouble)
        try:
            async with asyncio.timeout(60):
                await scaleset.listen(github, SPEC, handler, owner="listener-1", stop=handler.stop)
        finally:
            await transport.close()
        return handler

    handler = asyncio.run(script())
    assert {(job.state, job.runs) for job in site.github.jobs.values()} == {("completed", 1)}
    (scale_set,) = site.github.scale_sets.all
    assert scale_set.session is None
    assert not site.github.runners
    return handler


@pytest.fixture
def _quickly(monkeypatch):
    """The pauses between two deliveries of a message that fails are real time here."""
    monkeypatch.setattr(importlib.import_module("scaleset.listen"), "SHORT_PAUSE_SECONDS", 0.01)


@pytest.mark.usefixtures("_quickly")
@pytest.mark.parametrize("flavour", ["dotcom", "ghes"])
def test_a_listener_has_every_job_run_once_though_answers_get_lost(site, flavour):
    options = site.github.scale_set_options
    options.flavour, options.hold_seconds = flavour, 0.05
    for call in ("create", "jit", "acknowledge", "acquire"):
        site.faults.script(f"github.scale_sets.{call}", kind="reset", after=True)
    for call in ("find", "open_session", "poll"):
        site.faults.script(f"github.scale_sets.{call}", status=503)
    opened, closed = scaleset.What.SESSION_OPENED, scaleset.What.SESSION_CLOSED
    assert served(site).told_of == [scaleset.What.SCALE_SET_MADE, opened, closed]


@pytest.mark.usefixtures("_quickly")
@pytest.mark.parametrize(
    ("trouble", "told_of"),
    [
        (lambda site: site.github.evict_session("fleet-a"), scaleset.What.SESSION_LOST),
        (lambda site: site.github.delete_scale_set("fleet-a"), scaleset.What.SCALE_SET_MADE),
        (lambda site: site.github.expire_queue_tokens(), scaleset.What.SESSION_REFRESHED),
        (lambda site: site.github.expire_admin_tokens(), scaleset.What.SESSION_OPENED),
        (lambda site: site.github.post_message("fleet-a", {"body": "{"}), scaleset.What.MESSAGE_DROPPED),
    ],
    ids=["session evicted", "scale set deleted", "queue token ended", "admin token ended", "message unreadable"],
)
def test_a_listener_has_every_job_run_once_whatever_it_loses(site, trouble, told_of):
    handler = served(site, trouble)
    assert told_of in handler.told_of
    assert handler.kept == ([1, 2, 3] if told_of is scaleset.What.MESSAGE_DROPPED else [])


@pytest.mark.usefixtures("_quickly")
def test_a_session_that_came_without_a_queue_is_opened_again(site):
    site.github.scale_set_options.blank_queue_urls = 1
    assert served(site).told_of[:3] == [
        scaleset.What.SCALE_SET_MADE,
        scaleset.What.FAILED,
        scaleset.What.SESSION_OPENED,
    ]
