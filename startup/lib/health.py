"""Answers Google's health probes for this VM, over HTTP and from what the machine itself shows.

`GET /healthz` is for Google's probes, and its 503 makes autohealing replace the VM. So it says 503 only where nobody
can lose a job by it (`judge`): never while a worker runs, never because a file or /proc could not be read in time,
not before the VM's own watchdogs, which end it with a reason, had their time, and not while an operator holds the VM,
for which the metadata server is asked only when it would be said. `GET /status` tells loopback peers the facts. Nothing
is decided here about the VM's end, nothing is written, and no request leaves a line in the log.

    health.py --run-dir /run/runner-fleet --runner-dir /opt/actions-runner [--host 0.0.0.0] [--port 8080]

Ends with 0 on SIGTERM, with 71 where its port is taken.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import errno
import ipaddress
import json
import signal
import socket
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

sys.path.insert(0, str(Path(__file__).parent))  # python3 -I leaves it out
import marks
import worker

State = Literal["starting", "idle", "active", "finished", "draining"]

PORT: Final = 8080
"""HEALTH_PORT of fleet/metadata.py, which says why no attribute can move it. The probe must be answered from the
first second, also where the metadata server is not."""

GRACE_SECONDS: Final = 600
"""How long a VM without listener may take to be deleted: bin/delete-self's tries and Compute Engine's own time."""

LONGEST_BOOT_SECONDS: Final = 3000
"""The longest boot deadline a stack can have (fleet/schema/project.py). Counts until bin/watch-boot has asked for
this VM's own."""

HOLD_FRESH_SECONDS: Final = 30.0
"""How long an answer about a hold counts."""

SAMPLE_SECONDS: Final = 1.0
CONNECTION_SECONDS: Final = 3.0
"""From accept to reply. Google's probe gives up after 5 s unless told otherwise (Compute Engine, health check
concepts)."""
MAX_HEAD_BYTES: Final = 8192
ACCEPTED_AT_ONCE: Final = 64
MAX_CONNECTIONS: Final = 4 * ACCEPTED_AT_ONCE
"""Several times what the loop accepts before it reads again: a flood drops no probe that has sent its request."""
QUEUE: Final = 1024
"""Connections that wait for their accept; with a full queue a probe's next try is a second later."""
BIND_TRIES: Final = 5
BIND_PAUSE_SECONDS: Final = 0.2

EXIT_PORT_TAKEN: Final = 71


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What one look at the machine found. Durations in seconds."""

    uptime_seconds: float
    """Since the kernel's start, or since the group last held this VM in reserve."""
    boot_deadline_seconds: float
    listened: bool
    """The file `listener` is there: this VM has listened for a job since its boot."""
    listener_pid: int | None
    worker_runs: bool
    had_job: bool
    stop_reason: str | None
    """Why somebody stops the listener."""
    end_recorded: bool
    failure: str | None
    gone_seconds: float
    """For how long the listener has been gone, as far as this process has seen; 0 before it listened."""
    held: bool = False
    """An operator holds this VM, or did until GRACE_SECONDS ago; asked only where it would be unhealthy otherwise."""


def judge(facts: Facts) -> tuple[State, bool]:
    """What the VM does, and whether it should be kept. The one place that decides over 503.

    A VM with a worker is kept, whatever else. One that still boots is kept until GRACE_SECONDS after its boot deadline
    (with the defaults 1200 s, later than autohealing's initial delay of 900 s), so bin/watch-boot always comes first.
    One whose listener is gone is kept for GRACE_SECONDS, so that it is deleted through the deleter, and not recreated,
    wherever that works; what still stands then is wedged, whether or not its end is recorded. One that an operator
    holds is kept, whatever it is, and for GRACE_SECONDS longer, in which it is deleted as any other.
    """
    state, healthy = _judge_by_itself(facts)
    return state, healthy or facts.held


def _judge_by_itself(facts: Facts) -> tuple[State, bool]:
    """The same for a VM that nobody holds."""
    if facts.worker_runs:
        return "active", True
    ending = facts.stop_reason is not None or facts.end_recorded
    if facts.listener_pid is not None:
        return ("draining" if ending else "finished" if facts.had_job else "idle"), True
    if facts.listened:
        return ("finished" if facts.had_job else "draining"), facts.gone_seconds <= GRACE_SECONDS
    in_time = facts.uptime_seconds <= facts.boot_deadline_seconds + GRACE_SECONDS
    # A worker's log without a listener's file contradicts itself; doubt speaks for the VM.
    return ("draining" if ending else "starting"), in_time or facts.had_job


class Watcher:
    """Looks at the machine again and again in a thread of its own, so that a read that hangs delays no probe.

    The clock counts from the boot and not while the VM is suspended: that time is not held against it.
    """

    def __init__(
        self,
        run_dir: Path,
        runner_dir: Path,
        *,
        proc: Path = worker.PROC,
        sample_seconds: float = SAMPLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        hold_until: Callable[[], float | None] = marks.hold_until,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`clock` never jumps; `now` is the wall clock, by which operators say how long a hold lasts."""
        self._run_dir = run_dir
        self._runner_dir = runner_dir
        self._proc = proc
        self._sample_seconds = sample_seconds
        self._clock = clock
        self._hold_until = hold_until
        self._now = now
        self._hold: tuple[float | None, float] | None = None
        self._seen_held: float | None = None
        self._gone_since: float | None = None
        self._reserved_until = 0.0
        self._latest: tuple[Facts, float] | None = None

    def start(self) -> None:
        """Begin to look; the thread ends with the process and holds up no exit."""
        threading.Thread(target=self._watch, name="watcher", daemon=True).start()

    def latest(self) -> tuple[Facts | None, float]:
        """The newest facts and their age in seconds; None before the first look."""
        if self._latest is None:
            return None, 0.0
        facts, seen = self._latest
        return facts, max(0.0, self._clock() - seen)

    def look(self) -> None:
        """Look once. What cannot be read changes nothing: it proves neither health nor the lack of it."""
        now = self._clock()
        with contextlib.suppress(OSError):
            facts = self._facts(now)
            if not judge(facts)[1]:
                facts = dataclasses.replace(facts, held=self._held(now))
            self._latest = facts, now

    def _held(self, now: float) -> bool:
        """Whether an operator holds this VM, or did a short while ago. An answer that fails changes nothing."""
        if self._hold is None or now - self._hold[1] >= HOLD_FRESH_SECONDS:
            until = self._hold[0] if self._hold else None
            with contextlib.suppress(marks.UnknownError):
                until = self._hold_until()
            self._hold = until, now
        if self._hold[0] is not None and self._now() < self._hold[0]:
            self._seen_held = now
        return self._seen_held is not None and now - self._seen_held <= GRACE_SECONDS

    def _watch(self) -> None:
        while True:
            self.look()
            time.sleep(self._sample_seconds)

    def _facts(self, now: float) -> Facts:
        listened = worker.listening_since(self._run_dir) is not None
        if not listened and (self._run_dir / "listener").exists():
            raise OSError("a listener was started, and its record cannot be read")
        pid = worker.listener_pid(self._run_dir, self._proc)
        if pid is not None or not listened:
            self._gone_since = None
        elif self._gone_since is None:
            self._gone_since = now
        if (self._run_dir / "standby").exists():
            self._reserved_until = now
        return Facts(
            uptime_seconds=now - self._reserved_until,
            boot_deadline_seconds=_number(self._text("attributes/runner-boot-deadline-seconds"), LONGEST_BOOT_SECONDS),
            listened=listened,
            listener_pid=pid,
            worker_runs=pid is not None and worker.worker_runs(pid, self._proc),
            had_job=worker.had_job(self._runner_dir),
            stop_reason=self._text("reason"),
            end_recorded=(self._run_dir / "end.json").exists(),
            failure=self._text("failure"),
            gone_seconds=0.0 if self._gone_since is None else now - self._gone_since,
        )

    def _text(self, name: str) -> str | None:
        """A small file's first 500 bytes; None where there is none, a word where it may not be read."""
        try:
            with (self._run_dir / name).open("rb") as file:
                return file.read(500).decode("utf-8", "replace").strip()
        except FileNotFoundError:
            return None
        except PermissionError:
            return "unreadable"


def _number(text: str | None, otherwise: float) -> float:
    return float(text) if text is not None and text.isascii() and text.isdigit() else otherwise


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer; `head_only` leaves the body out, as HEAD wants it."""

    status: int
    body: str
    content_type: str = "text/plain; charset=utf-8"
    head_only: bool = False

    def encode(self) -> bytes:
        """The bytes on the wire."""
        body = self.body.encode()
        allow = "Allow: GET, HEAD\r\n" if self.status == 405 else ""
        head = (
            f"HTTP/1.1 {self.status} {_PHRASES[self.status]}\r\nContent-Type: {self.content_type}\r\n"
            f"Content-Length: {len(body)}\r\n{allow}Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (b"" if self.head_only else body)


_PHRASES: Final = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


def answer(head: bytes, *, loopback: bool, facts: Facts | None, age_seconds: float) -> Reply:
    """The reply to a request's head, whatever bytes it holds."""
    words = head.partition(b"\r\n")[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return Reply(status=400, body="not an HTTP/1 request\n")
    method, target = words[0], words[1].partition(b"?")[0]
    if method not in (b"GET", b"HEAD"):
        return Reply(status=405, body="only GET and HEAD\n")
    head_only = method == b"HEAD"
    state, healthy = ("starting", True) if facts is None else judge(facts)
    if target == b"/healthz":
        return Reply(status=200 if healthy else 503, body=f"{state}\n", head_only=head_only)
    if target != b"/status":
        return Reply(status=404, body="only /healthz and /status\n", head_only=head_only)
    if not loopback:
        return Reply(status=403, body="/status is for this VM alone\n", head_only=head_only)
    detail = {
        "state": state,
        "healthy": healthy,
        "age_seconds": round(age_seconds, 3),
        "facts": None if facts is None else dataclasses.asdict(facts),
    }
    return Reply(status=200, body=json.dumps(detail) + "\n", content_type="application/json", head_only=head_only)


class Connection(asyncio.Protocol):
    """One peer: a head, a reply, the end, all within CONNECTION_SECONDS of its accept."""

    def __init__(self, server: HealthServer) -> None:
        self._server = server
        self._head = b""
        self._replied = False
        self._deadline: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock, at the cost of the oldest connection where there are too many."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._deadline = asyncio.get_running_loop().call_later(self._server.connection_seconds, transport.abort)
        self._server.admit(self)

    def data_received(self, data: bytes) -> None:
        """Collect the head and reply once."""
        if self._replied or self._transport is None:
            return
        self._head += data
        complete = b"\r\n\r\n" in self._head or b"\n\n" in self._head
        if len(self._head) > MAX_HEAD_BYTES:
            reply = Reply(status=431, body=f"more than {MAX_HEAD_BYTES} bytes of headers\n")
        elif complete:
            peer: tuple[str, int] | None = self._transport.get_extra_info("peername")
            facts, age_seconds = self._server.watcher.latest()
            reply = answer(self._head, loopback=is_loopback(peer), facts=facts, age_seconds=age_seconds)
        else:
            return
        self._replied = True
        self._head = b""
        self._transport.write(reply.encode())
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        del exc
        if self._deadline is not None:
            self._deadline.cancel()
        self._server.forget(self)

    def drop(self) -> None:
        """End it without a reply."""
        if self._transport is not None:
            self._transport.abort()


class HealthServer:
    """The listening socket and its open connections."""

    def __init__(self, watcher: Watcher, *, connection_seconds: float = CONNECTION_SECONDS) -> None:
        self.watcher = watcher
        self.connection_seconds = connection_seconds
        self._open: OrderedDict[Connection, None] = OrderedDict()

    def admit(self, connection: Connection) -> None:
        """Count a connection in. With too many the oldest goes: a probe is the newest, and answered at once."""
        self._open[connection] = None
        if len(self._open) > MAX_CONNECTIONS:
            self._open.popitem(last=False)[0].drop()

    def forget(self, connection: Connection) -> None:
        """Count a connection out."""
        self._open.pop(connection, None)

    async def serve(self, listening: socket.socket, stop: asyncio.Event) -> None:
        """Answer until `stop`; then nothing listens any more and what is open is dropped."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self), sock=listening, backlog=ACCEPTED_AT_ONCE)
        listening.listen(QUEUE)  # asyncio's backlog is both figures
        await stop.wait()
        server.close()
        for connection in list(self._open):
            connection.drop()


def is_loopback(peer: tuple[str, int] | None) -> bool:
    """Whether a peer's address, as the socket tells it, is this machine's own loopback."""
    return peer is not None and ipaddress.ip_address(peer[0]).is_loopback


def bind(host: str, port: int) -> socket.socket:
    """A socket on the port, after a few tries; OSError where it stays taken."""
    for left in reversed(range(BIND_TRIES)):
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            # Two sockets may bind with SO_REUSEADDR; only one can listen.
            listening.listen(QUEUE)
        except OSError as error:
            listening.close()
            if error.errno != errno.EADDRINUSE or not left:
                raise
            time.sleep(BIND_PAUSE_SECONDS)
        else:
            return listening
    raise AssertionError


async def _run(watcher: Watcher, listening: socket.socket) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await HealthServer(watcher).serve(listening, stop)


def main() -> int:
    """Serve until SIGTERM; the exit status."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--runner-dir", type=Path, required=True)
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104 - probes come to the VM's own address
    parser.add_argument("--port", type=int, default=PORT)
    given = parser.parse_args()
    try:
        listening = bind(given.host, given.port)
    except OSError as error:
        taken = f"health: cannot listen on {given.host}:{given.port}: {error.strerror}; see who does: ss -ltnp\n"
        sys.stderr.write(taken)
        return EXIT_PORT_TAKEN
    watcher = Watcher(given.run_dir, given.runner_dir)
    watcher.start()
    asyncio.run(_run(watcher, listening))
    return 0


if __name__ == "__main__":
    sys.exit(main())
