"""The health server: what it says about a VM, and that nothing keeps it from saying so."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.metadata import HEALTH_PORT
from fleet.schema.project import Lifecycle
from startup.lib import health
from startup.lib.health import Facts, HealthServer, Watcher, answer, judge
from tests.startup.raw_http import ask, free_port, parse, read_all, talk, wait_for_port
from tests.startup.vm import Vm

BOOTING = Facts(
    uptime_seconds=30,
    boot_deadline_seconds=600,
    listened=False,
    listener_pid=None,
    worker_runs=False,
    had_job=False,
    stop_reason=None,
    end_recorded=False,
    failure=None,
    gone_seconds=0,
)
IDLE = replace(BOOTING, listened=True, listener_pid=7)
GONE = replace(BOOTING, listened=True, gone_seconds=1)
WEDGED = replace(GONE, gone_seconds=health.GRACE_SECONDS + 1)
LATE = replace(BOOTING, uptime_seconds=600 + health.GRACE_SECONDS + 1)

ANY_FACTS = st.builds(
    Facts,
    uptime_seconds=st.floats(0, 1e7),
    boot_deadline_seconds=st.floats(60, 3000),
    listened=st.booleans(),
    listener_pid=st.none() | st.integers(1, 2**22),
    worker_runs=st.booleans(),
    had_job=st.booleans(),
    stop_reason=st.none() | st.sampled_from(["idle", "preempted", "operator", "refused", "max-age"]),
    end_recorded=st.booleans(),
    failure=st.none() | st.just("install: why"),
    gone_seconds=st.floats(0, 1e7),
)


@pytest.mark.parametrize(
    ("facts", "state", "healthy"),
    [
        (BOOTING, "starting", True),
        (replace(BOOTING, failure="register: HTTP 503"), "starting", True),
        (replace(BOOTING, end_recorded=True), "draining", True),
        (IDLE, "idle", True),
        (replace(IDLE, uptime_seconds=86_400), "idle", True),
        (replace(IDLE, worker_runs=True, had_job=True), "active", True),
        (replace(IDLE, worker_runs=True, had_job=True, stop_reason="preempted"), "active", True),
        (replace(IDLE, stop_reason="idle"), "draining", True),
        (replace(IDLE, had_job=True), "finished", True),
        (GONE, "draining", True),
        (replace(GONE, had_job=True), "finished", True),
        (replace(GONE, had_job=True, end_recorded=True), "finished", True),
        (WEDGED, "draining", False),
        (replace(WEDGED, had_job=True), "finished", False),
        (replace(WEDGED, end_recorded=True), "draining", False),
        (LATE, "starting", False),
        (replace(LATE, end_recorded=True), "draining", False),
        (replace(LATE, had_job=True), "starting", True),
        (replace(WEDGED, held=True), "draining", True),
        (replace(LATE, held=True), "starting", True),
    ],
)
def test_the_state_follows_from_the_facts(facts: Facts, state: str, healthy: bool) -> None:  # noqa: FBT001
    assert judge(facts) == (state, healthy)


@given(ANY_FACTS)
def test_no_fact_makes_a_vm_unhealthy_while_a_worker_runs(facts: Facts) -> None:
    assert judge(replace(facts, worker_runs=True)) == ("active", True)


@given(ANY_FACTS)
def test_a_vm_that_listens_is_never_unhealthy(facts: Facts) -> None:
    assert judge(replace(facts, listener_pid=7))[1]


@given(ANY_FACTS)
def test_every_wedged_vm_is_unhealthy_in_the_end(facts: Facts) -> None:
    forever = replace(facts, uptime_seconds=1e6, gone_seconds=1e6 if facts.listened else 0)
    lost = replace(forever, worker_runs=False, listener_pid=None)
    assert not judge(lost)[1] or (facts.had_job and not facts.listened)


@given(ANY_FACTS)
def test_a_vm_that_an_operator_holds_is_never_unhealthy_and_says_what_it_does(facts: Facts) -> None:
    assert judge(replace(facts, held=True)) == (judge(facts)[0], True)


def test_a_boot_is_ended_by_the_vm_itself_before_the_probe_may_say_so() -> None:
    defaults = Lifecycle()
    last_healthy_seconds = defaults.boot_deadline_seconds + health.GRACE_SECONDS
    assert last_healthy_seconds > defaults.healing_initial_delay_seconds
    longest = Lifecycle.model_fields["boot_deadline_seconds"].metadata
    assert f"Le(le={health.LONGEST_BOOT_SECONDS})" in [str(bound) for bound in longest]


def test_the_port_is_the_one_that_is_probed() -> None:
    assert health.PORT == HEALTH_PORT


@dataclass
class Machine:
    """The folders that the server looks at, and a /proc of our own."""

    folder: Path

    def __post_init__(self) -> None:
        for path in (self.run_dir, self.runner_dir / "_diag", self.proc):
            path.mkdir(parents=True)

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    @property
    def runner_dir(self) -> Path:
        return self.folder / "runner"

    @property
    def proc(self) -> Path:
        return self.folder / "proc"

    def process(self, pid: int, name: str, *, parent: int = 1) -> None:
        (self.proc / str(pid)).mkdir()
        (self.proc / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} {pid} {pid} 0")
        (self.proc / str(pid) / "comm").write_text(f"{name}\n")

    def listen(self, pid: int = 100) -> None:
        (self.run_dir / "listener").write_text(f"{pid} 42\n")

    def kill(self, pid: int) -> None:
        (self.proc / str(pid) / "stat").unlink()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


def facts_now(watcher: Watcher) -> Facts:
    watcher.look()
    facts = watcher.latest()[0]
    assert facts is not None
    return facts


def test_a_vms_whole_life_is_seen(machine: Machine) -> None:
    now = [10.0]
    watcher = Watcher(machine.run_dir, machine.runner_dir, proc=machine.proc, clock=lambda: now[0])

    def seen() -> tuple[str, bool]:
        return judge(facts_now(watcher))

    assert seen() == ("starting", True)
    machine.process(100, "Runner.Listener")
    machine.listen()
    assert seen() == ("idle", True)
    machine.process(101, "Runner.Worker", parent=100)
    (machine.runner_dir / "_diag/Worker_1.log").touch()
    assert seen() == ("active", True)
    machine.kill(101)
    assert seen() == ("finished", True)
    machine.kill(100)
    assert seen() == ("finished", True)
    now[0] += health.GRACE_SECONDS
    assert seen() == ("finished", True)
    now[0] += 1
    assert seen() == ("finished", False)


def test_a_listener_that_is_back_starts_the_grace_anew(machine: Machine) -> None:
    now = [10.0]
    watcher = Watcher(machine.run_dir, machine.runner_dir, proc=machine.proc, clock=lambda: now[0])
    machine.listen()
    facts_now(watcher)
    now[0] += 500
    assert facts_now(watcher).gone_seconds == 500
    machine.process(100, "Runner.Listener")
    assert facts_now(watcher).gone_seconds == 0
    machine.kill(100)
    assert facts_now(watcher).gone_seconds == 0


class Hold:
    """A hold and two clocks that go together."""

    def __init__(self, machine: Machine) -> None:
        self.until: float | None = None
        self.asked = 0
        self.seconds = 0.0
        self.told = True
        machine.listen()
        self._watcher = Watcher(
            machine.run_dir,
            machine.runner_dir,
            proc=machine.proc,
            clock=lambda: self.seconds,
            hold_until=self._ask,
            now=lambda: self.seconds,
        )

    def healthy_at(self, seconds: float) -> bool:
        """Whether the VM, whose listener has been gone since the first look, is healthy then."""
        self.seconds = seconds
        return judge(facts_now(self._watcher))[1]

    def _ask(self) -> float | None:
        self.asked += 1
        if not self.told:
            raise health.marks.UnknownError("not told")
        return self.until


def test_an_operators_hold_is_asked_for_only_where_a_vm_would_be_unhealthy(machine: Machine) -> None:
    hold = Hold(machine)
    assert hold.healthy_at(0)
    assert hold.healthy_at(600)
    assert hold.asked == 0
    assert not hold.healthy_at(601)
    assert not hold.healthy_at(630)
    assert hold.asked == 1
    assert not hold.healthy_at(631)
    assert hold.asked == 2


def test_a_held_vm_is_healthy_for_its_hold_and_for_as_long_as_a_deletion_takes(machine: Machine) -> None:
    hold = Hold(machine)
    hold.until = 5000.0
    assert hold.healthy_at(0)
    assert hold.healthy_at(4999)
    assert hold.healthy_at(5599)
    assert not hold.healthy_at(5600)


def test_a_vm_that_is_released_early_has_the_time_of_a_deletion(machine: Machine) -> None:
    hold = Hold(machine)
    hold.until = 50_000.0
    assert hold.healthy_at(0)
    assert hold.healthy_at(1000)
    hold.until = None
    assert hold.healthy_at(1600)
    assert not hold.healthy_at(1601)


def test_a_metadata_server_that_tells_nothing_changes_nothing_about_a_hold(machine: Machine) -> None:
    hold = Hold(machine)
    hold.until = 5000.0
    assert hold.healthy_at(0)
    assert hold.healthy_at(700)
    hold.told = False
    assert hold.healthy_at(4000)
    assert not hold.healthy_at(5701)


def test_time_in_reserve_is_not_held_against_a_vm(machine: Machine) -> None:
    now = [10.0]
    watcher = Watcher(machine.run_dir, machine.runner_dir, proc=machine.proc, clock=lambda: now[0])
    (machine.run_dir / "standby").touch()
    now[0] += 100_000
    assert judge(facts_now(watcher)) == ("starting", True)
    (machine.run_dir / "standby").unlink()
    now[0] += 60
    assert facts_now(watcher).uptime_seconds == 60
    now[0] += 100_000
    assert judge(facts_now(watcher)) == ("starting", False)


def test_the_boot_deadline_is_the_templates_once_it_is_known(machine: Machine) -> None:
    watcher = Watcher(machine.run_dir, machine.runner_dir, proc=machine.proc)
    assert facts_now(watcher).boot_deadline_seconds == health.LONGEST_BOOT_SECONDS
    (machine.run_dir / "attributes").mkdir()
    (machine.run_dir / "attributes/runner-boot-deadline-seconds").write_text("900")
    assert facts_now(watcher).boot_deadline_seconds == 900
    (machine.run_dir / "attributes/runner-boot-deadline-seconds").write_text("nine²")
    assert facts_now(watcher).boot_deadline_seconds == health.LONGEST_BOOT_SECONDS


def test_what_cannot_be_read_leaves_the_last_word_standing(machine: Machine) -> None:
    watcher = Watcher(machine.run_dir, machine.runner_dir, proc=machine.proc)
    machine.process(100, "Runner.Listener")
    machine.listen()
    assert judge(facts_now(watcher)) == ("idle", True)
    (machine.run_dir / "reason").mkdir()  # opens, and cannot be read
    assert judge(facts_now(watcher)) == ("idle", True)


def test_a_listeners_record_that_cannot_be_read_is_no_boot_that_failed(machine: Machine) -> None:
    now = [10.0]
    watcher = Watcher(machine.run_dir, machine.runner_dir, proc=machine.proc, clock=lambda: now[0])
    assert judge(facts_now(watcher)) == ("starting", True)
    (machine.run_dir / "listener").write_text("")
    now[0] += 1e6
    assert judge(facts_now(watcher)) == ("starting", True)


@contextmanager
def serving(watcher: Watcher, *, connection_seconds: float = 5) -> Iterator[int]:
    """The server in a thread of this process; its port."""
    listening = health.bind("127.0.0.1", 0)
    port: int = listening.getsockname()[1]
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    server = HealthServer(watcher, connection_seconds=connection_seconds)
    faults: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _loop, context: faults.append(context))
    thread = threading.Thread(target=loop.run_until_complete, args=(server.serve(listening, stop),))
    thread.start()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.run_until_complete(asyncio.sleep(0.02))  # what was accepted at the last moment
        for connection in list(server._open):
            connection.drop()
        loop.run_until_complete(asyncio.sleep(0.02))
        loop.close()
    assert faults == []


@pytest.fixture
def watcher(machine: Machine) -> Watcher:
    """Has looked once, at an idle VM."""
    machine.process(100, "Runner.Listener")
    machine.listen()
    watcher = Watcher(machine.run_dir, machine.runner_dir, proc=machine.proc)
    watcher.look()
    return watcher


@pytest.fixture
def port(watcher: Watcher) -> Iterator[int]:
    with serving(watcher) as port:
        yield port


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        ("GET /healthz HTTP/1.1", 200, "idle\n"),
        ("GET /healthz?from=probe HTTP/1.0", 200, "idle\n"),
        ("HEAD /healthz HTTP/1.1", 200, ""),
        ("POST /healthz HTTP/1.1", 405, "only GET and HEAD\n"),
        ("DELETE /status HTTP/1.1", 405, "only GET and HEAD\n"),
        ("GET / HTTP/1.1", 404, "only /healthz and /status\n"),
        ("GET /healthz/ HTTP/1.1", 404, "only /healthz and /status\n"),
        ("GET /../status HTTP/1.1", 404, "only /healthz and /status\n"),
        ("GET http://x/healthz HTTP/1.1", 404, "only /healthz and /status\n"),
        ("GET /healthz", 400, "not an HTTP/1 request\n"),
        ("GET /healthz HTTP/2", 400, "not an HTTP/1 request\n"),
        ("\x16\x03\x01 \x00\x01", 400, "not an HTTP/1 request\n"),
    ],
)
def test_every_request_has_its_answer(port: int, request_line: str, status: int, body: str) -> None:
    reply = parse(talk(port, f"{request_line}\r\nHost: x\r\n\r\n".encode()))
    assert (reply.status, reply.text) == (status, body)


def test_head_tells_the_length_that_get_would_have(port: int) -> None:
    assert ask(port, "/healthz", method="HEAD").headers["content-length"] == "5"


def test_an_unhealthy_vm_answers_503_with_its_state() -> None:
    reply = answer(b"GET /healthz HTTP/1.1\r\n\r\n", loopback=False, facts=WEDGED, age_seconds=0)
    assert (reply.status, reply.body) == (503, "draining\n")


def test_before_the_first_look_a_vm_is_starting() -> None:
    reply = answer(b"GET /healthz HTTP/1.1\r\n\r\n", loopback=False, facts=None, age_seconds=0)
    assert (reply.status, reply.body) == (200, "starting\n")


def test_the_status_page_tells_the_facts_on_loopback(port: int) -> None:
    reply = ask(port, "/status")
    detail = json.loads(reply.body)
    assert reply.headers["content-type"] == "application/json"
    assert (detail["state"], detail["healthy"], detail["facts"]["listener_pid"]) == ("idle", True, 100)


@pytest.mark.parametrize("peer", [("10.0.0.2", 1), ("35.191.0.9", 1), ("169.254.169.254", 80), None])
def test_the_status_page_is_refused_to_others(peer: tuple[str, int] | None) -> None:
    loopback = health.is_loopback(peer)
    reply = answer(b"GET /status HTTP/1.1\r\n\r\n", loopback=loopback, facts=IDLE, age_seconds=0)
    assert (reply.status, "facts" in reply.body) == (403, False)


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_break_an_answer(head: bytes, loopback: bool) -> None:  # noqa: FBT001
    reply = answer(head, loopback=loopback, facts=IDLE, age_seconds=0)
    assert reply.encode().startswith(b"HTTP/1.1 ")


def test_no_bytes_break_the_server(port: int) -> None:
    for length in (1, 100, 5000, 9000, 100_000):
        talk(port, os.urandom(length) + b"\r\n\r\n")
        talk(port, b"GET /healthz HTTP/1.1\r\n" + os.urandom(length) + b"\r\n\r\n")
    assert ask(port, "/healthz").status == 200


def test_headers_without_an_end_are_cut_off(port: int) -> None:
    assert parse(talk(port, b"GET /healthz HTTP/1.1\r\nX: " + b"x" * health.MAX_HEAD_BYTES)).status == 431


def test_a_client_that_never_finishes_is_dropped_at_its_deadline(watcher: Watcher) -> None:
    with serving(watcher, connection_seconds=0.1) as port:
        assert talk(port, b"GET /healthz HTTP/1.1\r\n") == b""
        with socket.create_connection(("127.0.0.1", port), timeout=5) as silent:
            assert read_all(silent) == b""


def test_a_thousand_slow_clients_starve_no_probe(port: int) -> None:
    slow: list[socket.socket] = []
    try:
        for number in range(1000):
            peer = socket.create_connection(("127.0.0.1", port), timeout=5)
            peer.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
            slow.append(peer)
            if number % 100 == 99:
                assert ask(port, "/healthz").status == 200
                # What was dropped is closed on this side too: a test process has few descriptors.
                gone, _, _ = select.select(slow, [], [], 0)
                slow = [peer for peer in slow if peer not in gone or peer.close()]
        assert len(slow) <= health.MAX_CONNECTIONS + 100, "the server keeps more than it should"
    finally:
        for peer in slow:
            peer.close()


def test_a_flood_beside_it_starves_no_probe(port: int) -> None:
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
                peer.sendall(b"GET /hea")

    floods = [threading.Thread(target=flood) for _ in range(4)]
    for thread in floods:
        thread.start()
    try:
        assert [ask(port, "/healthz").status for _ in range(100)] == [200] * 100
    finally:
        stop.set()
        for thread in floods:
            thread.join()


def test_a_stalled_look_at_the_machine_delays_no_probe(machine: Machine) -> None:
    os.mkfifo(machine.run_dir / "reason")  # opening it for reading waits for a writer
    watcher = Watcher(machine.run_dir, machine.runner_dir, proc=machine.proc)
    watcher.start()
    with serving(watcher) as port:
        reply = ask(port, "/healthz")
    (machine.run_dir / "reason").open("wb").close()
    assert (reply.status, reply.text) == (200, "starting\n")


def test_the_script_serves_follows_the_files_and_stops_at_once(vm: Vm) -> None:
    port = free_port()
    process = vm.start("bin/health", "--host", "127.0.0.1", "--port", str(port))
    try:
        wait_for_port(port, process)
        assert ask(port, "/healthz").text == "starting\n"
        (vm.run_dir / "listener").write_text(f"{os.getpid()} 42\n")
        (vm.run_dir / "reason").write_text("idle\n")
        deadline = time.monotonic() + 10
        while ask(port, "/healthz").text != "draining\n":
            assert time.monotonic() < deadline, "what the files say is answered within a second or two"
        open_connection = socket.create_connection(("127.0.0.1", port), timeout=5)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
        open_connection.close()
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "")


def test_a_taken_port_ends_the_script_with_a_line_that_helps(vm: Vm) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = vm.run("bin/health", "--host", "127.0.0.1", "--port", str(port))
    wanted = f"health: cannot listen on 127.0.0.1:{port}: Address already in use; see who does: ss -ltnp"
    assert (outcome.status, outcome.log) == (71, [wanted])
