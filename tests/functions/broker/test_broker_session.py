"""The HTTP session: what it says of a try that failed, and that nothing holds it beyond its deadline."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise

import pytest
from broker.clients.session import Answer, NoAnswerError, Session, UpstreamError

from emulators.clock import Clock

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Something on loopback that reads a request and then does whatever a test wants."""
    listening = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                with suppress(OSError):  # the client is gone
                    answer(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        done.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


@pytest.fixture
def session() -> Iterator[Session]:
    made = Session()
    yield made
    made.close()


def drop_by_drop(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n")
    for _ in range(1000):
        connection.sendall(b"x")
        time.sleep(0.01)


LOST = {
    "closed without a word": lambda _: None,
    "cut off in its body": lambda connection: connection.sendall(HEAD + b"Content-Length: 10\r\n\r\n{}"),
    "no HTTP": lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
    "a broken chunk": lambda connection: connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "broken compression": lambda connection: connection.sendall(
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"
    ),
    "drop by drop": drop_by_drop,
    "endless": lambda connection: connection.sendall(HEAD + b"\r\n" + b"x" * (5 << 20)),
}


@pytest.mark.parametrize("how", LOST)
def test_an_answer_that_is_not_whole_is_none_and_may_have_been_a_yes(session, how):
    with server(LOST[how]) as url:
        begun = time.monotonic()
        with pytest.raises(NoAnswerError) as caught:
            session.once("x", "POST", url, deadline=session.deadline(0.5))
        assert caught.value.sent
        assert time.monotonic() - begun < 3


def test_a_connection_that_is_refused_has_sent_nothing(session):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(NoAnswerError) as caught:
            session.once("x", "POST", url, deadline=session.deadline(5))
    assert not caught.value.sent


def test_past_the_deadline_nothing_is_sent(session):
    with pytest.raises(NoAnswerError) as caught:
        session.once("x", "POST", "http://127.0.0.1:1", deadline=session.deadline(0))
    assert not caught.value.sent


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirection_is_followed(session, status):
    asked: list[str] = []

    def answer(connection: socket.socket) -> None:
        asked.append("")
        connection.sendall(
            f"HTTP/1.1 {status} Moved\r\nLocation: /\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )

    with server(answer) as url:
        assert session.once("x", "GET", url, deadline=session.deadline(5)).status == status
    assert len(asked) == 1


def test_nothing_of_the_environment_leads_a_token_astray(session, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login x password y\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    seen: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            seen.append(connection.recv(65536))
            connection.sendall(HEAD + b"Set-Cookie: a=b\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    thread = threading.Thread(target=serve)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    session.once("x", "GET", url, deadline=session.deadline(5), headers={"Authorization": "Bearer t"})
    thread.join()
    listening.close()
    assert b"Authorization: Bearer t\r\n" in seen[0]
    assert not list(session._requests.cookies)


def steered(clock: Clock) -> Session:
    return Session(sleep=clock.advance, clock=clock.now, now=clock.now, chance=lambda: 0.5)


def test_calls_are_repeated_until_the_deadline_with_growing_pauses():
    clock = Clock(0)
    session = steered(clock)
    times: list[float] = []

    def answer(connection: socket.socket) -> None:
        times.append(clock.now())
        connection.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with server(answer) as url:
        begun = clock.now()
        with pytest.raises(UpstreamError) as caught:
            session.call("x", "GET", url, deadline=session.deadline(30))
    session.close()
    assert caught.value.status == 503
    assert clock.now() - begun < 30
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses == sorted(pauses)
    assert len(pauses) >= 5


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("7", 7), ("0", 0), ("Sun, 22 Nov 2026 10:00:30 GMT", 30), ("Sun, 22 Nov 2026 09:00:00 GMT", 0), ("soon", None),
     ("", None), ("-1", None), ("99999999999", None), ("٣", None)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(given, seconds):
    session = Session(now=lambda: 1_795_341_600.0)  # 2026-11-22 10:00:00 UTC
    found = session.retry_after_seconds(Answer(status=503, headers={"Retry-After": given}, body=b""))
    session.close()
    assert found == seconds


def test_what_cannot_be_parsed_of_an_answer_is_not_logged(session, caplog):
    with server(lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nsecret-of-theirs")) as url:
        session.once("x", "GET", url, deadline=session.deadline(5))
    assert caplog.text == ""


def test_an_answer_shows_nothing_of_its_body():
    assert "secret" not in repr(Answer(status=200, headers={}, body=b"secret"))
