"""An idle VM leaves only with a permit, without a registration and without a worker; else it stays as it was.

The listener is a stand-in process that starts a worker when it reads a line, and of course reads nothing while it is
frozen. Waiting costs nothing: `sleep` is a fake that a test may use to let something happen meanwhile.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emulators.cloud import Reply, Request
from startup.lib import retire
from tests.startup.vm import Outcome, Vm, group_alive

SETTLING = retire.retirement.SETTLE_SECONDS // retire.retirement.POLL_SECONDS

LISTENER = """#!/bin/bash
exec 3<>control
>listens
while read -r -u 3; do ./Runner.Worker & done
"""
WORKER = """#!/bin/bash
exec 3<>nothing
>works
read -r -u 3
"""
WAIT_FOR_WORKER = 'until [[ -e "{runner}/works" ]]; do /bin/sleep 0.01; done'


class Listener:
    """GitHub's listener, as far as this VM can tell."""

    def __init__(self, vm: Vm, *, listened_seconds: int = 1000) -> None:
        self._folder = vm.runner_dir
        self._folder.mkdir(parents=True)
        for name, text in (("Runner.Listener", LISTENER), ("Runner.Worker", WORKER)):
            (self._folder / name).write_text(text)
            (self._folder / name).chmod(0o755)
        for name in ("control", "nothing"):
            os.mkfifo(self._folder / name)
        self._process = subprocess.Popen(["./Runner.Listener"], cwd=self._folder, start_new_session=True)
        self.pid = self._process.pid
        self._wait_for("listens")
        (vm.run_dir / "listener").write_text(f"{self.pid} {int(retire.uptime_seconds()) - listened_seconds}\n")

    def take_a_job(self) -> None:
        """Start the worker, and return when it runs."""
        (self._folder / "control").write_text("work\n")
        self._wait_for("works")

    @property
    def state(self) -> str | None:
        return retire.worker.process_state(self.pid)

    @property
    def works(self) -> bool:
        return retire.worker.worker_runs(self.pid)

    def end(self) -> None:
        if group_alive(self.pid):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(10)
        soon(lambda: not group_alive(self.pid), "no process of the listener's group is left")

    def _wait_for(self, name: str) -> None:
        soon((self._folder / name).exists, f"there is {name}")


def soon(true: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 10
    while not true():
        assert time.monotonic() < until, f"not within 10 s: {what}"
        time.sleep(0.002)


@pytest.fixture
def vm(vm: Vm) -> Vm:
    vm.cloud.permit = True
    vm.fake("python3", f'exec "{sys.executable}" "$@"')
    vm.fake("systemctl", f'cp "{vm.run_dir}/reason" "{vm.run_dir}/reason-at-the-stop"')
    return vm


@pytest.fixture
def listener(vm: Vm) -> Iterator[Listener]:
    listener = Listener(vm)
    yield listener
    listener.end()


@pytest.fixture
def in_process(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The run itself, without bash, for what must happen between two of its steps."""
    monkeypatch.setenv("GCE_METADATA_HOST", vm.cloud.host)
    monkeypatch.setenv("PATH", vm._environment()["PATH"])
    this = retire.Vm(
        run_dir=vm.run_dir,
        runner_dir=vm.runner_dir,
        broker_url=vm.cloud.broker_url,
        deleter_url=vm.cloud.deleter_url,
        idle_timeout_seconds=900,
    )
    return lambda **given: retire.run(this, **{"sleep": lambda _: None, **given})


def routes(vm: Vm) -> list[str]:
    """The services' routes that were called, in order."""
    return [request.route for request in vm.cloud.requests if request.route not in ("metadata", "identity")]


def saved(vm: Vm) -> str:
    return json.loads((vm.run_dir / "retire.json").read_text())["stage"]


def save(vm: Vm, stage: str) -> None:
    (vm.run_dir / "retire.json").write_text(json.dumps({"stage": stage}))


def retired(vm: Vm) -> Outcome:
    outcome = vm.run("bin/retire")
    assert outcome.status == 0, outcome.log
    return outcome


def assert_left(vm: Vm, listener: Listener) -> None:
    assert listener.state is None
    assert vm.record("systemctl") == ["stop --no-block runner.service"]
    assert (vm.run_dir / "reason-at-the-stop").read_text() == "idle\n"


def assert_stays(vm: Vm, listener: Listener) -> None:
    assert listener.state not in (None, "T")
    assert vm.record("systemctl") == []
    assert not (vm.run_dir / "reason").exists()


def at_the_call(vm: Vm, route: str, happens: Callable[[], None]) -> None:
    """Let something happen while a service is being asked."""
    answer = vm.cloud.answer

    def answer_after(request: Request) -> Reply:
        if request.route == route:
            happens()
        return answer(request)

    vm.cloud.answer = answer_after


def test_an_idle_vm_with_a_permit_leaves(vm: Vm, listener: Listener) -> None:
    outcome = retired(vm)
    assert_left(vm, listener)
    assert routes(vm) == ["retire", "deregister"]
    assert sum(vm.pauses_seconds()) == 90
    assert outcome.log == [
        "retire: asking: done",
        "retire: deregistering: done",
        "retire: freezing: done",
        "retire: stopping: done",
        "retire: no listener; nothing to retire",
    ]


def test_the_listener_is_frozen_from_the_last_look_to_its_end(
    vm: Vm, listener: Listener, in_process: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str | None]] = []
    for name in ("_look", "_stop", "_write_reason"):
        real = getattr(retire, name)
        monkeypatch.setattr(
            retire, name, lambda *given, name=name, real=real: (seen.append((name, listener.state)), real(*given))[1]
        )
    assert in_process() == 0
    assert seen[-3:] == [("_look", "T"), ("_stop", "T"), ("_write_reason", "T")]
    assert_left(vm, listener)


def test_a_vm_without_a_permit_stays(vm: Vm, listener: Listener) -> None:
    vm.cloud.permit = False
    retired(vm)
    assert_stays(vm, listener)
    assert (routes(vm), saved(vm)) == (["retire"], "resting")


HELD = {"hold-until": "2999-01-01T00:00:00Z"}
DRAINED = {"drain": "2026-11-25T14:10:00Z"}


def test_a_vm_that_an_operator_holds_does_not_ask(vm: Vm, listener: Listener) -> None:
    vm.set_attributes(HELD | DRAINED)
    assert retired(vm).log == ["retire: stays: an operator holds it, or may"]
    assert_stays(vm, listener)
    assert routes(vm) == []


@pytest.mark.parametrize("text", ["2000-01-01T00:00:00Z", "tomorrow"])
def test_a_hold_that_is_over_or_none_keeps_nobody(vm: Vm, listener: Listener, text: str) -> None:
    vm.set_attributes({"hold-until": text})
    retired(vm)
    assert_left(vm, listener)


def test_a_vm_that_cannot_ask_whether_it_is_held_stays(vm: Vm, listener: Listener) -> None:
    for name in ("idle-timeout-seconds", "broker-url", "deleter-url"):
        (vm.run_dir / "attributes").mkdir(exist_ok=True)
        (vm.run_dir / f"attributes/runner-{name}").write_text(vm.cloud.metadata[f"instance/attributes/runner-{name}"])
    vm.cloud.replies["metadata"].append(Reply(status=503))
    assert retired(vm).log == [
        "retire: runner-hold-until: the metadata server did not tell (HTTP 503)",
        "retire: stays: an operator holds it, or may",
    ]
    assert_stays(vm, listener)


def test_a_drained_vm_asks_however_short_it_has_listened(vm: Vm) -> None:
    vm.set_attributes(DRAINED)
    listener = Listener(vm, listened_seconds=1)
    try:
        retired(vm)
        assert_left(vm, listener)
    finally:
        listener.end()
    assert routes(vm) == ["retire", "deregister"]
    assert sum(vm.pauses_seconds()) == 90


def test_a_drained_vm_with_a_job_runs_it_to_its_end(vm: Vm, listener: Listener) -> None:
    vm.set_attributes(DRAINED)
    listener.take_a_job()
    assert retired(vm).log == ["retire: stays: it has or had a job"]
    assert_stays(vm, listener)
    assert (routes(vm), listener.works) == ([], True)


def test_a_drained_vm_that_may_not_leave_yet_stays(vm: Vm, listener: Listener) -> None:
    vm.cloud.permit = False
    vm.set_attributes(DRAINED)
    retired(vm)
    assert_stays(vm, listener)
    assert routes(vm) == ["retire"]


def test_a_hold_that_comes_during_an_attempt_does_not_leave_it_half_done(vm: Vm, listener: Listener) -> None:
    at_the_call(vm, "deregister", lambda: vm.set_attributes(HELD))
    retired(vm)
    assert_left(vm, listener)


def test_a_vm_that_has_not_listened_for_long_does_not_ask(vm: Vm) -> None:
    listener = Listener(vm, listened_seconds=800)
    try:
        assert retired(vm).log == ["retire: stays: it has not listened for 900 s yet"]
    finally:
        listener.end()
    assert routes(vm) == []


def test_a_vm_that_does_not_listen_yet_does_not_ask(vm: Vm) -> None:
    assert retired(vm).log == ["retire: nothing listens yet"]
    assert vm.cloud.requests == []


def test_a_vm_whose_listener_is_gone_does_not_ask(vm: Vm, listener: Listener) -> None:
    listener.end()
    assert retired(vm).log == ["retire: no listener; nothing to retire"]
    assert routes(vm) == []


@pytest.mark.parametrize("had", ["a worker", "a worker's log"])
def test_a_vm_with_a_job_does_not_ask(vm: Vm, listener: Listener, had: str) -> None:
    if had == "a worker":
        listener.take_a_job()
    else:
        (vm.runner_dir / "_diag").mkdir()
        (vm.runner_dir / "_diag/Worker_20261122-103000-utc.log").touch()
    assert retired(vm).log == ["retire: stays: it has or had a job"]
    assert routes(vm) == []
    assert_stays(vm, listener)


@pytest.mark.parametrize("route", ["retire", "deregister"])
def test_a_job_that_comes_during_a_call_is_kept(vm: Vm, listener: Listener, route: str) -> None:
    at_the_call(vm, route, listener.take_a_job)
    retired(vm)
    assert_stays(vm, listener)
    assert listener.works
    assert (routes(vm)[-2:], saved(vm)) == ([route, "return_permit"], "resting")


@pytest.mark.parametrize("poll", [1, SETTLING])
def test_a_job_that_comes_while_settling_is_kept(vm: Vm, listener: Listener, poll: int) -> None:
    count = f'(($(wc -l <"{vm._records}/sleep") == {poll})) || exit 0'
    start = f'echo work >"{vm.runner_dir}/control"'
    vm.fake("sleep", "\n".join([count, start, WAIT_FOR_WORKER.format(runner=vm.runner_dir)]))
    outcome = retired(vm)
    assert_stays(vm, listener)
    assert listener.works
    assert len(vm.pauses_seconds()) == poll
    assert (routes(vm), saved(vm)) == (["retire", "deregister", "return_permit"], "resting")
    assert "retire: a job has come before settling was over; this VM stays" in outcome.log


def test_a_job_that_comes_just_before_the_freeze_is_kept(
    vm: Vm, listener: Listener, in_process: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    freeze = retire._freeze
    monkeypatch.setattr(retire, "_freeze", lambda pid: (listener.take_a_job(), freeze(pid))[1])
    assert in_process() == 0
    assert_stays(vm, listener)
    assert listener.works
    assert (routes(vm), saved(vm)) == (["retire", "deregister", "return_permit"], "resting")


def test_a_job_that_comes_while_the_listener_is_frozen_starts_no_worker(
    vm: Vm, listener: Listener, in_process: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = retire._stop
    tell = (vm.runner_dir / "control").write_text
    monkeypatch.setattr(retire, "_stop", lambda *given: (tell("work\n"), stop(*given))[1])
    assert in_process() == 0
    assert_left(vm, listener)
    assert not (vm.runner_dir / "works").exists()


def test_a_listener_that_cannot_be_frozen_in_time_runs_on_and_keeps_its_permit(
    vm: Vm, listener: Listener, in_process: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = retire.worker.frozen
    monkeypatch.setattr(retire, "SIGNAL_SECONDS", 0.2)
    monkeypatch.setattr(retire.worker, "frozen", lambda _: False)
    assert in_process() == 0
    assert_stays(vm, listener)
    assert (routes(vm), saved(vm)) == (["retire", "deregister"], "freezing")
    monkeypatch.setattr(retire, "SIGNAL_SECONDS", 10)
    monkeypatch.setattr(retire.worker, "frozen", frozen)
    assert in_process() == 0
    assert_left(vm, listener)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429])
def test_a_service_that_says_no_has_given_no_permit(
    vm: Vm, listener: Listener, in_process: Callable[..., int], status: int
) -> None:
    vm.cloud.replies["retire"].append(Reply(status=status, body=b'{"error": "no"}'))
    assert in_process() == 0
    assert_stays(vm, listener)
    assert (routes(vm), saved(vm)) == (["retire"], "resting")


UNCLEAR = {
    "error": Reply(status=500, body=b'{"error": "try later"}'),
    "busy": Reply(status=503),
    "moved": Reply(status=302, location="http://127.0.0.1:9/", body=b'{"permit": true, "deregistered": true}'),
    "empty": Reply(),
    "text": Reply(body=b"true"),
    "list": Reply(body=b"[true]"),
    "not quite true": Reply(body=b'{"permit": "true", "deregistered": 1, "returned": "yes"}'),
    "another's": Reply(body=b'{"ok": true}'),
    "cut short": Reply(body=b'{"permit": true, "deregistered": true, "returned"', promised=100),
    "not text": Reply(body=b"\xff\xfe{"),
}


@pytest.mark.parametrize("reply", UNCLEAR.values(), ids=UNCLEAR)
@pytest.mark.parametrize(
    ("route", "stage"), [("retire", "returning"), ("deregister", "deregistering"), ("return_permit", "returning")]
)
def test_an_answer_in_doubt_ends_a_run(
    vm: Vm, listener: Listener, in_process: Callable[..., int], route: str, stage: str, reply: Reply
) -> None:
    if route == "return_permit":
        save(vm, "returning")
    vm.cloud.replies[route].append(reply)
    assert in_process() == 0
    assert (routes(vm)[-1], saved(vm)) == (route, stage)
    assert_stays(vm, listener)


def test_a_permit_in_doubt_is_given_back_by_the_next_run(
    vm: Vm, listener: Listener, in_process: Callable[..., int]
) -> None:
    vm.cloud.replies["retire"].append(Reply(status=500))
    assert (in_process(), in_process()) == (0, 0)
    assert (routes(vm), saved(vm)) == (["retire", "return_permit"], "resting")
    assert_stays(vm, listener)


def test_a_deregistration_in_doubt_is_done_again_by_the_next_run(
    vm: Vm, listener: Listener, in_process: Callable[..., int]
) -> None:
    vm.cloud.replies["deregister"].append(Reply(status=500))
    assert (in_process(), in_process()) == (0, 0)
    assert routes(vm) == ["retire", "deregister", "deregister"]
    assert_left(vm, listener)


def test_a_return_in_doubt_is_done_again_by_the_next_run(
    vm: Vm, listener: Listener, in_process: Callable[..., int]
) -> None:
    vm.cloud.replies["deregister"].append(Reply(status=409, body=b'{"error": "busy"}'))
    vm.cloud.replies["return_permit"].append(Reply(status=500))
    assert (in_process(), in_process()) == (0, 0)
    assert (routes(vm)[2:], saved(vm)) == (["return_permit", "return_permit"], "resting")
    assert_stays(vm, listener)


@pytest.mark.parametrize(("route", "stage"), [("retire", "returning"), ("deregister", "deregistering")])
def test_no_answer_in_time_is_an_answer_in_doubt(
    vm: Vm,
    listener: Listener,
    in_process: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    route: str,
    stage: str,
) -> None:
    monkeypatch.setattr(retire, "REQUEST_SECONDS", 0.5)
    vm.cloud.replies[route].append(Reply(hangs=True))
    begun = time.monotonic()
    assert in_process() == 0
    assert time.monotonic() - begun < 20
    assert vm.cloud.hanging.is_set()
    assert saved(vm) == stage
    assert_stays(vm, listener)


@pytest.mark.parametrize("status", [500, 404, 200])
def test_without_an_identity_token_nothing_is_asked(
    vm: Vm, listener: Listener, in_process: Callable[..., int], status: int
) -> None:
    vm.cloud.replies["identity"].append(Reply(status=status, body=b"no token at all"))
    assert in_process() == 0
    assert (routes(vm), saved(vm)) == ([], "returning")
    assert_stays(vm, listener)


def test_a_runner_that_github_takes_for_busy_stays(vm: Vm, listener: Listener, in_process: Callable[..., int]) -> None:
    vm.cloud.replies["deregister"].append(Reply(status=409, body=b'{"error": "busy"}'))
    assert in_process() == 0
    assert_stays(vm, listener)
    assert (routes(vm), saved(vm)) == (["retire", "deregister", "return_permit"], "resting")


def test_a_runner_that_github_does_not_know_any_more_is_deregistered(
    vm: Vm, listener: Listener, in_process: Callable[..., int]
) -> None:
    vm.cloud.replies["deregister"].append(Reply(status=404, body=b'{"error": "no such runner"}'))
    assert in_process() == 0
    assert_left(vm, listener)


def test_a_page_that_is_not_found_is_no_answer_of_the_broker(
    vm: Vm, listener: Listener, in_process: Callable[..., int]
) -> None:
    vm.cloud.replies["deregister"].append(Reply(status=404, body=b"<html>Not Found</html>"))
    assert in_process() == 0
    assert_stays(vm, listener)
    assert saved(vm) == "deregistering"


@pytest.mark.parametrize(
    ("moment", "how", "calls"),
    [
        ("retire", signal.SIGKILL, ["retire", "return_permit"]),
        ("deregister", signal.SIGKILL, ["retire", "deregister", "deregister"]),
        ("deregister", signal.SIGTERM, ["retire", "deregister", "deregister"]),
        ("settling", signal.SIGKILL, ["retire", "deregister"]),
        ("settling", signal.SIGTERM, ["retire", "deregister"]),
        ("stopping", signal.SIGKILL, ["retire", "deregister"]),
    ],
)
def test_a_run_that_is_killed_is_completed_by_the_next(
    vm: Vm, listener: Listener, in_process: Callable[..., int], moment: str, how: signal.Signals, calls: list[str]
) -> None:
    command = {"settling": "sleep", "stopping": "systemctl"}.get(moment)
    if command:
        vm.fake(command, f"kill -{how.name[3:]} $PPID")
    else:
        vm.cloud.replies[moment].append(Reply(hangs=True))
    process = vm.start("bin/retire")
    if not command:
        assert vm.cloud.hanging.wait(10)
        process.send_signal(how)
    _, log = process.communicate(timeout=10)
    assert process.returncode == -how, log
    vm.assert_nothing_secret(log)
    if command:
        vm.fake(command, "")
    assert in_process() == 0
    assert routes(vm) == calls
    if moment == "retire":
        assert_stays(vm, listener)
    else:
        assert listener.state is None


@pytest.mark.parametrize("stage", ["freezing", "stopping"])
def test_a_run_that_is_killed_beside_a_frozen_listener_lets_a_job_go_on(
    vm: Vm, listener: Listener, in_process: Callable[..., int], stage: str
) -> None:
    listener.take_a_job()
    os.kill(listener.pid, signal.SIGSTOP)
    save(vm, stage)
    (vm.run_dir / "reason").write_text("idle\n")
    assert in_process() == 0
    assert_stays(vm, listener)
    assert listener.works
    assert (routes(vm), saved(vm)) == (["return_permit"], "resting")


@pytest.mark.parametrize("stage", ["freezing", "stopping"])
def test_a_run_that_is_killed_beside_a_frozen_listener_is_completed(
    vm: Vm, listener: Listener, in_process: Callable[..., int], stage: str
) -> None:
    os.kill(listener.pid, signal.SIGSTOP)
    save(vm, stage)
    assert in_process() == 0
    assert_left(vm, listener)
    assert routes(vm) == []


def test_another_reason_for_the_stop_is_kept(vm: Vm, listener: Listener, in_process: Callable[..., int]) -> None:
    (vm.run_dir / "reason").write_text("preempted\n")
    assert in_process() == 0
    assert (vm.run_dir / "reason").read_text() == "preempted\n"
    assert listener.state is None


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"stage": "leaving"}', b'{"stage": 7}', b"\xff", b"null"])
def test_a_state_that_nobody_saved_gives_everything_back(
    vm: Vm, listener: Listener, in_process: Callable[..., int], text: bytes
) -> None:
    os.kill(listener.pid, signal.SIGSTOP)
    (vm.run_dir / "retire.json").write_bytes(text)
    assert in_process() == 0
    assert_stays(vm, listener)
    assert (routes(vm), saved(vm)) == (["return_permit"], "resting")


def test_two_runs_never_overlap(vm: Vm, listener: Listener) -> None:
    with (vm.run_dir / "retire.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert retired(vm).log == ["retire: another run is under way"]
    assert routes(vm) == []
    assert_stays(vm, listener)


@pytest.mark.usefixtures("listener")
def test_the_lock_is_held_to_the_end_of_a_run_and_no_longer(vm: Vm) -> None:
    vm.cloud.replies["retire"].append(Reply(hangs=True))
    process = vm.start("bin/retire")
    assert vm.cloud.hanging.wait(10)
    assert retired(vm).log == ["retire: another run is under way"]
    process.kill()
    process.communicate(timeout=10)
    assert retired(vm).log == ["retire: returning: done"]


def test_a_stage_that_cannot_be_saved_ends_a_run_before_it_does_anything(vm: Vm, listener: Listener) -> None:
    (vm.run_dir / "retire.partial").mkdir()
    outcome = vm.run("bin/retire")
    assert outcome.status == 75
    assert "cannot go on" in outcome.log[-1]
    assert routes(vm) == []
    assert_stays(vm, listener)


def test_a_listener_is_not_left_frozen_where_a_stage_cannot_be_saved(vm: Vm, listener: Listener) -> None:
    save(vm, "freezing")
    (vm.run_dir / "retire.partial").mkdir()
    assert vm.run("bin/retire").status == 75
    assert_stays(vm, listener)


def test_tokens_go_to_the_service_they_are_for_and_to_no_log(vm: Vm, listener: Listener) -> None:
    at_the_call(vm, "deregister", listener.take_a_job)
    retired(vm)  # asserts that no log, argument list or environment shows a token
    sent = {request.route: request.headers["Authorization"] for request in vm.cloud.requests if request.route in PATHS}
    assert sent == {
        "retire": f"Bearer {vm.cloud.identity(vm.cloud.deleter_url)}",
        "deregister": f"Bearer {vm.cloud.identity(vm.cloud.broker_url)}",
        "return_permit": f"Bearer {vm.cloud.identity(vm.cloud.deleter_url)}",
    }
    files = [path for path in vm.root.rglob("*") if path.is_file()]
    vm.assert_nothing_secret(*(path.read_text(errors="replace") for path in files if Path.home() not in path.parents))


PATHS = ("retire", "deregister", "return_permit")


def test_a_request_of_the_run_is_over_before_the_budget_and_the_budget_before_the_next_run(root: Path) -> None:
    calls = 3 * (retire.METADATA_SECONDS + retire.REQUEST_SECONDS)
    assert calls + retire.retirement.SETTLE_SECONDS + 2 * retire.SIGNAL_SECONDS < retire.BUDGET_SECONDS
    timer = (root / "startup/units/runner-retire.timer").read_text()
    assert "OnUnitInactiveSec=" in timer
    assert "OnUnitActiveSec=" not in timer
