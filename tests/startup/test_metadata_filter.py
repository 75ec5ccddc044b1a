"""The metadata filter: what an upload needs passes, all else is refused in every spelling, and no wait is endless."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulators.cloud import IDENTITY_MARK, TOKEN, Cloud, Reply
from startup.lib import metadata_filter
from startup.lib.metadata_filter import RefusedError, Wanted, look_up
from tests.startup.metadata_filter_server import filtering
from tests.startup.raw_http import Answer, ask, free_port, parse, raw_server, read_all, talk, wait_for_port
from tests.startup.vm import Vm

V1 = "/computeMetadata/v1/"
ACCOUNT = f"{V1}instance/service-accounts/default/"
EMAIL = "gh-runner-minimal@iree-oss.iam.gserviceaccount.com"
OWN = f"{V1}instance/service-accounts/{EMAIL}/"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
FLAVOR = "Metadata-Flavor: Google\r\n"
INFO = {"aliases": ["default"], "email": EMAIL, "scopes": [SCOPE]}


@pytest.fixture
def upstream(cloud: Cloud) -> Cloud:
    """The emulator, with what the real server says of an account and a project."""
    cloud.metadata |= {
        "instance/service-accounts/default/email": EMAIL,
        "instance/service-accounts/default/aliases": "default\n",
        "instance/service-accounts/default/scopes": f"{SCOPE}\n",
        "instance/attributes/kube-env": "a-secret-of-the-vm",
        "instance/attributes/ssh-keys": "a-secret-of-the-vm",
        "instance/attributes/": "kube-env\nssh-keys\n",
        "instance/": "attributes/\n",
        "project/project-id": "iree-oss",
        "project/numeric-project-id": "815",
        "project/attributes/ssh-keys": "a-secret-of-the-vm",
        "universe/universe-domain": "googleapis.com",
    }
    return cloud


@pytest.fixture
def port(upstream: Cloud) -> Iterator[int]:
    with filtering(upstream.host) as port:
        yield port


def get(port: int, target: str) -> Answer:
    return ask(port, target, headers=FLAVOR)


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/", "computeMetadata/\n"),
        ("/computeMetadata/", "v1/\n"),
        (V1, "instance/\nproject/\nuniverse/\n"),
        (f"{V1}instance", "service-accounts/\n"),
        (f"{V1}instance/", "service-accounts/\n"),
        (f"{V1}instance/service-accounts", f"default/\n{EMAIL}/\n"),
        (f"{V1}instance/service-accounts/", f"default/\n{EMAIL}/\n"),
        (ACCOUNT, "aliases\nemail\nscopes\ntoken\n"),
        (f"{ACCOUNT}email", EMAIL),
        (f"{ACCOUNT}email?alt=text", EMAIL),
        (f"{ACCOUNT}scopes", f"{SCOPE}\n"),
        (f"{ACCOUNT}aliases", "default\n"),
        (OWN, "aliases\nemail\nscopes\ntoken\n"),
        (f"{OWN}email", EMAIL),
        (f"{V1}project/project-id", "iree-oss"),
        (f"{V1}project/numeric-project-id", "815"),
        (f"{V1}universe/universe-domain", "googleapis.com"),
        (f"{V1}universe/universe_domain", "googleapis.com"),
    ],
)
def test_what_clients_ask_for_is_answered(port: int, target: str, body: str) -> None:
    reply = get(port, target)
    assert (reply.status, reply.text) == (200, body)
    assert (reply.headers["metadata-flavor"], reply.headers["content-type"]) == ("Google", "application/text")


@pytest.mark.parametrize("account", [ACCOUNT, OWN, ACCOUNT.removesuffix("/")])
def test_an_accounts_recursive_listing_holds_three_fields(port: int, account: str) -> None:
    reply = get(port, f"{account}?recursive=true")
    assert (reply.status, json.loads(reply.body)) == (200, INFO)
    assert reply.headers["content-type"] == "application/json"


def test_the_recursive_listing_of_accounts_holds_the_one(port: int) -> None:
    reply = get(port, f"{V1}instance/service-accounts/?recursive=true&alt=json")
    assert json.loads(reply.body) == {"default": INFO, EMAIL: INFO}


@pytest.mark.parametrize("target", [f"{ACCOUNT}token", f"{OWN}token", f"{ACCOUNT}token?scopes={SCOPE},openid"])
def test_an_access_token_passes(port: int, target: str) -> None:
    reply = get(port, target)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert json.loads(reply.body) == {"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"}


HOSTILE = [
    f"{ACCOUNT}identity?audience=https://broker&format=full",
    f"{ACCOUNT}identity",
    f"{OWN}identity?audience=x",
    f"{ACCOUNT}%69dentity?audience=x",
    f"{ACCOUNT}token/../identity?audience=x",
    f"{ACCOUNT}./identity?audience=x",
    f"{ACCOUNT}/identity?audience=x",
    f"{ACCOUNT}token;/../identity",
    f"{ACCOUNT}token%2f..%2fidentity",
    f"{ACCOUNT}token%00",
    f"{ACCOUNT}token%3Faudience=x",
    f"{ACCOUNT}token/",
    f"{ACCOUNT}IDENTITY?audience=x",
    f"/{ACCOUNT}token",
    f"http://metadata.google.internal{ACCOUNT}identity?audience=x",
    f"http://metadata.google.internal{ACCOUNT}token",
    f"{V1}instance/service-accounts/other@iree-oss.iam.gserviceaccount.com/token",
    f"{V1}instance/service-accounts/default/../../attributes/kube-env",
    f"{V1}instance/attributes/",
    f"{V1}instance/attributes/kube-env",
    f"{V1}instance/attributes/ssh-keys",
    f"{V1}instance/attributes/?recursive=true",
    f"{V1}instance/guest-attributes/",
    f"{V1}instance/guest-attributes/a/b",
    f"{V1}instance/?recursive=true",
    f"{V1}instance?recursive=true&alt=json",
    f"{V1}?recursive=true",
    f"{V1}project/attributes/ssh-keys",
    f"{V1}project/?recursive=true",
    f"{V1}instance/id",
    f"{V1}instance/name",
    f"{V1}instance/disks/0/device-name",
    f"{V1}oslogin/users",
    "/computeMetadata/v1beta1/instance/service-accounts/default/token",
    "/0.1/meta-data/service-accounts/default/token",
    f"{ACCOUNT}token?wait_for_change=true",
    f"{ACCOUNT}token?recursive=true&recursive=false",
    f"{ACCOUNT}?recursive=true&wait_for_change=true&timeout_sec=3600",
    f"{ACCOUNT}?recursive=yes",
    f"{ACCOUNT}email?alt=json",
    f"{ACCOUNT}token?audience=x",
    f"{ACCOUNT}token#/../identity",
    "*",
]


@pytest.mark.parametrize("target", HOSTILE)
def test_all_else_is_refused_in_every_spelling(port: int, upstream: Cloud, target: str) -> None:
    reply = get(port, target)
    assert (reply.status, reply.text) == (403, metadata_filter.REFUSAL)
    below = [request.path.removeprefix(f"{V1}instance/service-accounts/default/") for request in upstream.requests]
    assert set(below) <= {"email"}, "upstream is asked for nothing but whose account this is"


WORDS = (
    "/ // . .. %2e %2F computeMetadata v1 instance service-accounts default identity token email attributes kube-env"
)
SPELLINGS = st.lists(st.sampled_from([*WORDS.split(), "?", "&", "recursive=true", "audience=x", EMAIL]), max_size=14)


@given(SPELLINGS)
def test_whatever_is_looked_up_is_in_the_table(words: list[str]) -> None:
    names = {"", "token", *metadata_filter.FIELDS, *metadata_filter.LISTINGS, *metadata_filter.VALUES.values()}
    head = f"GET /{''.join(words)} HTTP/1.1\r\n{FLAVOR}\r\n".encode()
    with contextlib.suppress(RefusedError):
        wanted = look_up(head)
        assert wanted.name in names
        assert wanted.account == "default" or "@" in wanted.account


@given(st.binary(max_size=300))
def test_no_bytes_are_looked_up_by_accident(head: bytes) -> None:
    with pytest.raises(RefusedError):
        look_up(head + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("", 403),
        ("Metadata-Flavor: google\r\n", 403),
        ("Metadata-Flavor: Google\r\nMetadata-Flavor: Google\r\n", 403),
        ("X-Google-Metadata-Request: True\r\n", 403),
        (f"{FLAVOR}X-Forwarded-For: 10.0.0.1\r\n", 403),
        (f"x-forwarded-for:\r\n{FLAVOR}", 403),
        (f"{FLAVOR}X-Forwarded-For : 10.0.0.1\r\n", 400),
        (f"{FLAVOR} folded: line\r\n", 400),
        (f"{FLAVOR}no colon\r\n", 400),
        (f"{FLAVOR}Name: line\nMetadata-Flavor: Google\r\n", 400),
        ("metadata-flavor:   Google  \r\n", 200),
    ],
)
def test_headers_are_judged_as_the_real_server_does_or_stricter(port: int, headers: str, status: int) -> None:
    assert ask(port, f"{ACCOUNT}email", headers=headers).status == status


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "get"])
def test_only_get_is_answered(port: int, upstream: Cloud, method: str) -> None:
    assert ask(port, f"{ACCOUNT}token", method=method, headers=FLAVOR).status == 405
    assert upstream.requests == []


def test_no_byte_of_a_jobs_request_goes_upstream(port: int, upstream: Cloud) -> None:
    marked = f"{FLAVOR}Host: evil\r\nUser-Agent: mark\r\nX-Mark: mark\r\nCookie: mark\r\nConnection: keep-alive\r\n"
    assert ask(port, f"{OWN}token?scopes=mark", headers=marked).status == 200
    assert [request.path for request in upstream.requests] == [f"{ACCOUNT}email", f"{ACCOUNT}token"]
    for request in upstream.requests:
        assert "mark" not in str(request)
        assert request.headers == {
            "Host": "metadata.google.internal",
            "Metadata-Flavor": "Google",
            "User-Agent": "runner-fleet-metadata-filter",
            "Connection": "close",
        }


def test_a_second_request_behind_the_first_is_not_read(port: int, upstream: Cloud) -> None:
    request = f"GET {ACCOUNT}email HTTP/1.1\r\n{FLAVOR}\r\n"
    smuggled = f"GET {ACCOUNT}identity?audience=x HTTP/1.1\r\n{FLAVOR}\r\n"
    assert parse(talk(port, (request + smuggled).encode())).body == EMAIL.encode()
    assert [request.path for request in upstream.requests] == [f"{ACCOUNT}email"]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", 431),
    ],
)
def test_what_is_no_request_is_told_so(port: int, request_bytes: bytes, status: int) -> None:
    received = talk(port, request_bytes)
    assert received == b"" or parse(received).status == status  # a reset may overtake the reply to too much


def test_no_bytes_break_the_server(port: int) -> None:
    for length in (1, 100, 5000, 20_000):
        talk(port, os.urandom(length) + b"\r\n\r\n")
    assert get(port, "/").status == 200


def test_slow_clients_are_told_and_dropped(upstream: Cloud) -> None:
    with filtering(upstream.host, head_seconds=0.1) as port:
        assert parse(talk(port, b"GET / HTTP/1.1\r\n")).status == 408


def test_slow_clients_starve_nobody(port: int) -> None:
    slow = [
        socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(metadata_filter.MAX_CONNECTIONS + 20)
    ]
    try:
        assert get(port, f"{ACCOUNT}token").status == 200
        assert read_all(slow[0]) == b"", "the oldest is dropped"
    finally:
        for peer in slow:
            peer.close()


def test_a_dead_upstream_is_told() -> None:
    with filtering(f"127.0.0.1:{free_port()}") as port:
        assert get(port, f"{ACCOUNT}token").status == 502
        assert get(port, "/").status == 200
        assert get(port, f"{ACCOUNT}identity?audience=x").status == 403


def test_a_slow_upstream_is_told_in_time() -> None:
    slow = raw_server(b"HTTP/1.1 200 OK\r\n", hangs=True)
    with slow as upstream, filtering(f"127.0.0.1:{upstream.port}", upstream_seconds=0.1) as port:
        began = time.monotonic()
        assert get(port, f"{ACCOUNT}?recursive=true").status == 504
        assert time.monotonic() - began < 2


def test_few_requests_at_once_reach_upstream() -> None:
    most = metadata_filter.MAX_UPSTREAM_REQUESTS

    async def flood(address: str) -> None:
        upstream = metadata_filter.Upstream(address)
        async with asyncio.timeout(10):
            asking = [asyncio.create_task(upstream.value("project/project-id")) for _ in range(20)]
            while len(slow.asked) < most:  # noqa: ASYNC110 - the server is a thread
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    with raw_server(b"", hangs=True) as slow:
        asyncio.run(flood(f"127.0.0.1:{slow.port}"))
        assert len(slow.asked) == most


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"garbage",
        b"\xff\xfe\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /computeMetadata/v1/instance/attributes/\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\ntwo\r\nlines\x00",
    ],
)
def test_an_upstream_that_talks_garbage_is_told(reply: bytes) -> None:
    with raw_server(reply) as upstream, filtering(f"127.0.0.1:{upstream.port}") as port:
        assert get(port, f"{V1}project/project-id").status == 502


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\niree\r\n4;x=y\r\n-oss\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\niree-oss",
        b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\niree-oss and more",
    ],
)
def test_every_way_to_end_a_body_is_understood(reply: bytes) -> None:
    with raw_server(reply) as upstream, filtering(f"127.0.0.1:{upstream.port}") as port:
        assert get(port, f"{V1}project/project-id").text == "iree-oss"


@pytest.mark.parametrize(("status", "passed_on"), [(404, 404), (429, 429), (503, 503), (500, 502), (301, 502)])
def test_a_client_learns_whether_to_try_again(port: int, upstream: Cloud, status: int, passed_on: int) -> None:
    upstream.replies["token"].append(Reply(status=status, body=b"a-secret-of-the-vm"))
    reply = get(port, f"{ACCOUNT}token")
    assert (reply.status, "secret" in reply.text) == (passed_on, False)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'"text"', b'{"access_token": "x"}', b"\xff"])
def test_a_token_of_another_form_does_not_pass(port: int, upstream: Cloud, body: bytes) -> None:
    upstream.replies["token"].append(Reply(body=body))
    assert get(port, f"{ACCOUNT}token").status == 502


def test_a_token_passes_without_what_else_stands_beside_it(port: int, upstream: Cloud) -> None:
    given = {"access_token": "t", "expires_in": 1, "token_type": "Bearer", "id_token": IDENTITY_MARK}
    upstream.replies["token"].append(Reply(body=json.dumps(given).encode()))
    assert "id_token" not in json.loads(get(port, f"{ACCOUNT}token").body)


def _serve(vm: Vm) -> tuple[int, Callable[[], tuple[int, str, str]]]:
    port = free_port()
    process = vm.start("bin/metadata-filter", "--host", "127.0.0.1", "--port", str(port))
    wait_for_port(port, process)

    def stop() -> tuple[int, str, str]:
        process.terminate()
        try:
            out, err = process.communicate(timeout=10)
        finally:
            process.kill()
        return process.returncode, out, err

    return port, stop


def test_the_script_serves_says_nothing_and_stops_at_once(vm: Vm, upstream: Cloud) -> None:
    assert upstream is vm.cloud
    port, stop = _serve(vm)
    try:
        assert get(port, f"{ACCOUNT}token").status == 200
        assert get(port, f"{ACCOUNT}identity?audience=x").status == 403
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            ended = stop()
    finally:
        stop()
    assert ended == (0, "", "")


def test_a_taken_port_ends_the_script(vm: Vm) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = vm.run("bin/metadata-filter", "--host", "127.0.0.1", "--port", str(port))
    assert outcome.status == 71
    assert len(outcome.log) == 1
    assert outcome.log[0].startswith(f"metadata-filter: cannot listen on 127.0.0.1:{port}")


def test_googles_own_client_gets_a_token_through_the_filter(port: int) -> None:
    client = (
        "import google.auth, google.auth.transport.requests as r\n"
        "credentials, project = google.auth.default()\n"
        "credentials.refresh(r.Request())\n"
        "print(project, credentials.service_account_email, credentials.universe_domain, credentials.token)\n"
    )
    python = sys.executable
    known = subprocess.run([python, "-c", "import google.auth, requests"], capture_output=True, check=False)
    if known.returncode:
        reason = "google-auth is not installed, so Google's own client was not tried against the filter"
        print(reason)  # noqa: T201 - a skipped check is said aloud
        pytest.skip(reason)
    host = f"127.0.0.1:{port}"
    environment = {
        "PATH": os.environ["PATH"],
        "GCE_METADATA_HOST": host,
        "GCE_METADATA_IP": host,
        "HOME": "/nonexistent",
    }
    run = subprocess.run(
        [python, "-c", client], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert run.stdout.split() == ["iree-oss", EMAIL, "googleapis.com", TOKEN], run.stderr


def test_what_a_request_is_for_is_told_apart() -> None:
    head = f"GET {OWN}?recursive=true HTTP/1.1\r\n{FLAVOR}\r\n".encode()
    assert look_up(head) == Wanted(kind="account", account=EMAIL, recursive=True)
