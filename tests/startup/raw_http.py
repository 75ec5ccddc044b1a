"""Bytes to a loopback port and back, and a child process that serves one: what no well-behaved client sends or does."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def talk(port: int, request: bytes, *, timeout_seconds: float = 10) -> bytes:
    """All that comes back for some bytes, until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_seconds) as peer:
        # The other side may answer and close before it has read everything.
        with contextlib.suppress(ConnectionError):
            peer.sendall(request)
        return read_all(peer)


def read_all(peer: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionError):
        while more := peer.recv(65536):
            received += more
    return received


def ask(port: int, target: str, *, method: str = "GET", headers: str = "") -> Answer:
    return parse(talk(port, f"{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode()))


def parse(reply: bytes) -> Answer:
    head, _, body = reply.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    return Answer(status=int(lines[0].split(" ")[1]), headers=headers, body=body)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, process: subprocess.Popen[str]) -> None:
    """Return once a child listens; it has 20 s, and must live."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)
    raise AssertionError(f"nothing listens on port {port}; exit status {process.poll()}")


@dataclass
class RawServer:
    """Answers every connection with the same bytes, whatever it is asked, and keeps what it was asked."""

    reply: bytes
    hangs: bool = False
    asked: list[bytes] = field(default_factory=list[bytes])
    port: int = 0


@contextlib.contextmanager
def raw_server(reply: bytes, *, hangs: bool = False) -> Iterator[RawServer]:
    """A server of one reply; a hanging one sends it and does not close."""
    served = RawServer(reply=reply, hangs=hangs)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        served.port = listening.getsockname()[1]
        held: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    peer = listening.accept()[0]
                except OSError:
                    return
                held.append(peer)
                with contextlib.suppress(OSError):
                    served.asked.append(peer.recv(65536))
                    peer.sendall(served.reply)
                    if not served.hangs:
                        peer.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield served
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for peer in held:
                peer.close()
