"""What is asked again and what is not, pauses that hosts ask for, and what an error may say."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest
from aiohttp import web

from emulators.faults import LEAK_MARK
from rollout.cloud.address import address
from rollout.cloud.credentials import FixedToken
from rollout.cloud.errors import CloudError, CredentialsError
from rollout.cloud.google import Google
from rollout.cloud.pace import Pace
from rollout.cloud.service import Service, _seconds, session

WHERE = ("us-west1", "presubmit-cpu")


@pytest.mark.parametrize("kind", ["status", "reset", "garbage", "empty"])
def test_a_read_is_asked_again_whatever_was_wrong_with_the_answer(site, group, google, kind):
    site.faults.script("compute.group", kind, times=3)
    assert google(lambda google: google.groups.get(*WHERE)).name == group.name
    assert len(site.asked("compute.group")) == 4


def test_a_read_is_given_up_after_four_tries_and_the_pauses_between_them_grow(site, google, pauses):
    site.faults.script("compute.group", status=503, times=9)
    with pytest.raises(CloudError) as caught:
        google(lambda google: google.groups.get(*WHERE))
    assert (caught.value.service, caught.value.status, caught.value.error_class) == ("compute", 503, "unavailable")
    assert len(site.asked("compute.group")) == 4
    assert len(pauses) == 3
    assert all(pause <= most for pause, most in zip(pauses, (0.5, 1, 2), strict=True))


def test_an_error_says_what_was_asked_and_nothing_of_what_was_answered(site, google):
    site.faults.script("compute.group", status=503, times=9)
    with pytest.raises(CloudError) as caught:
        google(lambda google: google.groups.get(*WHERE))
    assert str(caught.value) == "compute: answered HTTP 503 (group presubmit-cpu in us-west1)"
    assert LEAK_MARK in site.google.failure("compute.group", 503, None).body.decode()


def test_a_change_without_a_request_id_is_asked_for_once(site, github):
    runner = site.github.add_runner("vm-1")
    site.faults.script("github.remove_runner", status=502)
    with pytest.raises(CloudError) as caught:
        github(lambda github: github.remove_runner(runner.id))
    assert caught.value.error_class == "unavailable"
    assert len(site.asked("github.remove_runner")) == 1


def test_a_change_whose_answer_was_lost_is_asked_for_again_and_done_once(site, group, vm, google):
    site.faults.script("compute.delete_instances", "reset", after=True)
    started = google(lambda google: google.groups.delete_instances(*WHERE, [vm]))
    first, second = site.asked("compute.delete_instances")
    assert first.path == second.path
    assert "requestId=" in first.path
    assert [each.name for each in site.google.compute.operations.values()] == [started.ref.rpartition("/")[2]]
    assert group.target_size == 1


@pytest.mark.usefixtures("group")
def test_two_changes_have_two_request_ids(google):
    async def use(google):
        return await google.groups.resize(*WHERE, 3), await google.groups.resize(*WHERE, 3)

    first, second = google(use)
    assert first.ref != second.ref


def test_a_host_that_asks_for_a_pause_gets_it(site, group, google, pauses):
    site.faults.script("compute.group", retry_after=7)
    assert google(lambda google: google.groups.get(*WHERE)).name == group.name
    assert any(pause >= 7 for pause in pauses)


def test_a_long_pause_is_told_to_who_asked_and_nobody_else_asks_meanwhile(site, google, pauses):
    async def use(google):
        with pytest.raises(CloudError) as first:
            await google.groups.get(*WHERE)
        with pytest.raises(CloudError) as second:
            await google.groups.members(*WHERE)
        return first.value, second.value

    site.faults.script("compute.group", retry_after=600)
    first, second = google(use)
    assert (first.error_class, first.retry_after_seconds) == ("rate-limited", 600)
    assert second.error_class == "rate-limited"
    assert 500 < second.retry_after_seconds <= 600
    assert not site.asked("compute.managed_instances")
    assert not pauses


def test_githubs_rate_limit_is_told_by_when_it_ends(site, github):
    site.github.rate_limit.exhaust(reset=time.time() + 1000)
    with pytest.raises(CloudError) as caught:
        github(lambda github: github.runners())
    assert (caught.value.status, caught.value.error_class) == (403, "rate-limited")
    assert 900 < (caught.value.retry_after_seconds or 0) <= 1000
    assert len(site.asked("github.runners")) == 1


def test_the_last_request_that_githubs_limit_allows_is_a_good_one_and_the_next_is_not_sent(site, github):
    async def use(github):
        await github.runners()
        with pytest.raises(CloudError) as caught:
            await github.runner_groups()
        return caught.value

    site.github.rate_limit.per_hour = 1
    site.github.rate_limit.reset = time.time() + 1000
    assert github(use).error_class == "rate-limited"
    assert not site.asked("github.runner_groups")


def test_a_quota_a_missing_right_and_a_worthless_token_are_told_apart(site, group, google):
    group.quota = 2
    with pytest.raises(CloudError) as quota:
        google(lambda google: google.groups.resize(*WHERE, 9))
    site.google.deny("compute.resize", "operator@iree-oss.iam")
    with pytest.raises(CloudError) as denied:
        google(lambda google: google.groups.resize(*WHERE, 2))
    site.google.tokens.revoke()
    with pytest.raises(CloudError) as revoked:
        google(lambda google: google.groups.resize(*WHERE, 2))
    found = [(each.value.status, each.value.error_class) for each in (quota, denied, revoked)]
    assert found == [(403, "quota"), (403, "denied"), (401, "credentials")]
    assert "does not accept the token; ROLLOUT_GOOGLE_TOKEN is out of date" in str(revoked.value)
    assert len(site.asked("compute.resize")) == 3


def test_a_redirection_is_not_followed_and_its_target_gets_no_token():
    reached: list[str] = []

    async def main():
        async def handle(request: web.Request) -> web.StreamResponse:
            reached.append(request.path)
            raise web.HTTPFound("/elsewhere")

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            async with session() as http:
                service = Service("there", url, http, FixedToken("t", "renew it"), Pace(100))
                await service.read("/here", "a thing", lambda answer: answer.status)
        finally:
            await runner.cleanup()

    with pytest.raises(CloudError, match="there: answered HTTP 302"):
        asyncio.run(main())
    assert reached == ["/here"]


def test_an_answer_that_never_comes_is_waited_for_so_long_and_no_longer(site, environ):
    async def main():
        async with Google("iree-oss", environ=environ) as google:
            service = google.groups._compute
            path = "/compute/v1/projects/iree-oss/regions/us-west1/instanceGroupManagers"
            await service.change("GET", path, "groups", lambda answer: answer.status)  # warms the connection up
            site.faults.script("compute.groups", "hang")
            ask = {"seconds": 0.05, "body": None}
            with pytest.raises(CloudError, match="gave no answer"):
                async with asyncio.timeout(10):
                    await service._once(_ask(path, **ask), lambda answer: answer.status)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", None),
        ("7", 7),
        (" 7 ", 7),
        ("Wed, 25 Nov 2026 12:00:30 GMT", 30),
        ("Wed, 25 Nov 2026 11:00:00 GMT", 0),
        ("soon", None),
    ],
)
def test_a_pause_is_asked_for_in_seconds_or_by_a_time(text, seconds):
    assert _seconds(text, 1795608000.0) == seconds


def _ask(path, *, seconds, body):
    from rollout.cloud.service import _Ask

    return _Ask(method="GET", path=path, words="groups", query={}, body=body, fine=frozenset(), seconds=seconds)


@pytest.mark.parametrize(
    "url", ["http://example.com", "ftp://127.0.0.1", "compute.googleapis.com", "http://10.0.0.1:80"]
)
def test_no_token_goes_to_an_address_that_is_neither_safe_nor_on_this_machine(url):
    with pytest.raises(CredentialsError, match=r"ROLLOUT_COMPUTE_URL: .* allowed is an https:// address"):
        address("ROLLOUT_COMPUTE_URL", {"ROLLOUT_COMPUTE_URL": url})


@pytest.mark.parametrize("url", ["http://localhost:1/", "http://[::1]:1", "https://compute.example.com"])
def test_an_address_may_be_set(url):
    assert address("ROLLOUT_COMPUTE_URL", {"ROLLOUT_COMPUTE_URL": url}) == url.rstrip("/")


def test_nothing_else_of_the_environment_says_where_to_ask(group, google):
    proxy = "http://127.0.0.1:1"
    assert google(lambda google: google.groups.get(*WHERE), HTTP_PROXY=proxy, http_proxy=proxy).name == group.name


def test_a_session_that_is_left_is_closed(environ):
    kept: list[aiohttp.ClientSession] = []

    async def main():
        async with Google("iree-oss", environ=environ) as google:
            kept.append(google.groups._compute._http)

    asyncio.run(main())
    assert kept[0].closed
