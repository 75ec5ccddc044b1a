"""Requests over a real connection: bytes as given, and a clear word on what failed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import scaleset
from scaleset import transport
from scaleset.transport import Response

ACCEPTING_TURNS = 4  # of the loop, from accepting a connection to its handler
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def served(talk: Talk) -> AsyncIterator[str]:
    """The URL of a server that speaks as it likes after each request's head."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader, writer):
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            await talk(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=512)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        # Before Python 3.12 a connection accepted in the turn of the server's end stays open.
        asyncio.get_running_loop().remove_reader(server.sockets[0].fileno())
        for _ in range(ACCEPTING_TURNS):
            await asyncio.sleep(0)
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def transport_of_ours() -> AsyncIterator[scaleset.HttpTransport]:
    http = scaleset.HttpTransport()
    try:
        yield http
    finally:
        await http.close()


async def exchange(talk: Talk, *, path: str = "/", timeout_seconds: float = 5.0, **options):
    """One answer, and the request that it was for."""
    requests: list[bytes] = []

    async def serve(reader, writer):
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        await talk(reader, writer)

    async with served(serve) as url, transport_of_ours() as http:
        options = {"headers": {}, **options}
        answer = await http.send("GET", f"{url}{path}", timeout_seconds=timeout_seconds, **options)
        return answer, requests[0].decode()


def says(raw: bytes) -> Talk:
    async def talk(_, writer):
        writer.write(raw)
        await writer.drain()

    return talk


def test_only_the_given_headers_and_the_given_url_go_out():
    answer = says(b"HTTP/1.1 204 No Content\r\n\r\n")
    path = "/a%2Fb/?name=a%20b%2B&lastMessageId=7"
    _, request = asyncio.run(exchange(answer, path=path, headers={"X-ScaleSetMaxCapacity": "3"}))
    line, *headers = request.strip().split("\r\n")
    assert line == f"GET {path} HTTP/1.1"
    assert sorted(header.partition(":")[0] for header in headers) == ["Host", "X-ScaleSetMaxCapacity"]


def test_headers_of_an_answer_are_found_in_any_case():
    response, _ = asyncio.run(exchange(says(b"HTTP/1.1 200 OK\r\nACTIVITYID: x\r\nContent-Length: 2\r\n\r\n{}")))
    assert (response.status, response.header("ActivityId"), response.json()) == (200, "x", {})
    assert response.header("retry-after") == ""


def test_a_redirection_is_an_answer_and_cookies_are_not_kept():
    raw = b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    response, _ = asyncio.run(exchange(says(raw)))
    assert response.status == 302


def test_the_environments_proxy_is_not_used(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:3128")
    response, _ = asyncio.run(exchange(says(b"HTTP/1.1 204 No Content\r\n\r\n")))
    assert response.status == 204


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        b"not HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    ],
)
def test_half_an_answer_is_none_and_the_request_may_have_arrived(raw):
    with pytest.raises(scaleset.TransportError) as caught:
        asyncio.run(exchange(says(raw)))
    assert (caught.value.sent, caught.value.passing) == (True, True)


def test_an_answer_that_does_not_end_is_cut_off(monkeypatch):
    monkeypatch.setattr(transport, "MOST_BODY_BYTES", 100)
    with pytest.raises(scaleset.TransportError, match="too long") as caught:
        asyncio.run(exchange(says(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n" + b"x" * 200)))
    assert caught.value.sent


def test_no_answer_in_time_is_none():
    async def silent(reader, _):
        await reader.read()

    with pytest.raises(scaleset.TransportError) as caught:
        asyncio.run(exchange(silent, timeout_seconds=0.05))
    assert caught.value.sent


def test_where_nobody_listens_nothing_was_sent():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

        async def script():
            async with transport_of_ours() as http:
                await http.send("POST", f"http://127.0.0.1:{port}/", headers={}, body=b"x", timeout_seconds=5)

        with pytest.raises(scaleset.TransportError) as caught:
            asyncio.run(script())
    assert (caught.value.sent, caught.value.passing) == (False, True)


@pytest.mark.parametrize("url", ["http:///nowhere", "no url", "http://[::1/"])
def test_what_is_no_url_will_not_be_one_later(url):
    async def script():
        async with transport_of_ours() as http:
            await http.send("GET", url, headers={}, timeout_seconds=5)

    with pytest.raises(scaleset.TransportError) as caught:
        asyncio.run(script())
    assert (caught.value.sent, caught.value.passing) == (False, False)


def test_a_header_cannot_smuggle_another_one_in():
    with pytest.raises(scaleset.TransportError) as caught:
        asyncio.run(exchange(says(b"HTTP/1.1 204 No Content\r\n\r\n"), headers={"A": "b\r\nc: d"}))
    assert not caught.value.passing


def test_two_hundred_long_polls_do_not_keep_another_call_waiting():
    """All wait at the server at once, or this would never end."""
    waiting = 200

    async def script():
        arrived = 0
        released = asyncio.Event()

        async def talk(reader, writer):
            nonlocal arrived
            line = await reader.readuntil(b"\r\n\r\n")
            if line.startswith(b"GET /poll"):
                arrived += 1
                await released.wait()
            elif arrived == waiting:
                released.set()
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

        async with served(talk) as url, transport_of_ours() as http, asyncio.timeout(30):
            polls = [
                asyncio.ensure_future(http.send("GET", f"{url}/poll", headers={}, timeout_seconds=60))
                for _ in range(waiting)
            ]
            while not released.is_set():
                await http.send("GET", f"{url}/other", headers={}, timeout_seconds=60)
            assert {response.status for response in await asyncio.gather(*polls)} == {204}

    asyncio.run(script())


def test_closed_connections_are_opened_again():
    async def talk(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    async def script():
        async with served(talk) as url, transport_of_ours() as http:
            for _ in range(2):
                assert (await http.send("GET", url, headers={}, timeout_seconds=5)).status == 204
                await http.close()

    asyncio.run(script())


def test_json_is_found_behind_a_byte_order_mark_and_what_is_none_is_none():
    def body(raw: bytes):
        return Response(status=200, headers={}, body=raw).json()

    assert body(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    for raw in (b"", b"\xff", b"NaN", b"{", b"[" * 100_000, b"9" * 10_000):
        assert body(raw) is None
