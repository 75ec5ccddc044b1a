"""How a VM ends: one record of the reason (report-end), and then it goes (delete-self, end-refused), whatever fails."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulators.cloud import Reply, Request
from startup.lib import end_record
from startup.lib.end_record import Facts
from tests.startup.vm import Vm

LISTENED = Facts(listened=True)
STOPPED = Facts(listened=True, system_stopping=True, uptime_seconds=5000, max_run_seconds=86400)
POWEROFF = "--no-block poweroff"


@pytest.fixture(autouse=True)
def _no_real_end(request: pytest.FixtureRequest) -> None:
    """The last resort of delete-self is no fake of the machine's own."""
    if "vm" in request.fixturenames:
        request.getfixturevalue("vm").fake("poweroff", "")


# --- the reason


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(LISTENED, job_completed=True), "finished"),
        (replace(LISTENED, had_job=True), "finished"),
        (replace(LISTENED, exit_status="0"), "boot-failed:listener"),
        (replace(LISTENED, exit_status="1"), "boot-failed:listener"),
        (replace(LISTENED, exit_status="7"), "boot-failed:version-deprecated"),
        (replace(LISTENED, job_refused=True, had_job=True), "refused"),
        (replace(LISTENED, deregistered=True), "idle"),
        (replace(LISTENED, deregistered=True, had_job=True), "finished"),
        (Facts(), "boot-failed:run"),
        (Facts(exit_status="36"), "boot-failed:run"),
        (replace(STOPPED, preempted=True), "preempted"),
        (replace(STOPPED, uptime_seconds=86400), "max-age"),
        (replace(STOPPED, uptime_seconds=86280), "max-age"),
        (replace(STOPPED, uptime_seconds=86279), "operator"),
        (replace(STOPPED, max_run_seconds=None, uptime_seconds=10**9), "operator"),
        (STOPPED, "operator"),
        *((replace(LISTENED, asked=asked), asked) for asked in end_record.REASONS),
        *((Facts(given=f"boot-failed:{step}"), f"boot-failed:{step}") for step in ("provision", "deadline", "a-b")),
    ],
)
def test_every_end_has_its_reason(facts: Facts, reason: str) -> None:
    assert end_record.reason(facts) == reason


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(STOPPED, given="boot-failed:x", asked="idle", job_completed=True, preempted=True), "boot-failed:x"),
        (replace(STOPPED, asked="idle", exit_status="7", job_completed=True, preempted=True), "idle"),
        (replace(STOPPED, asked="operator", job_refused=True), "operator"),
        (replace(STOPPED, job_refused=True, job_completed=True, preempted=True), "refused"),
        (replace(STOPPED, deregistered=True, preempted=True), "preempted"),
        (replace(STOPPED, listened=False, job_completed=True, preempted=True), "boot-failed:run"),
        (replace(STOPPED, exit_status="7", job_completed=True), "boot-failed:version-deprecated"),
        (replace(STOPPED, job_completed=True, preempted=True), "finished"),
        (replace(STOPPED, had_job=True, preempted=True), "preempted"),
        (replace(STOPPED, preempted=True, uptime_seconds=86400), "preempted"),
        (replace(LISTENED, asked="none of ours", had_job=True), "finished"),
    ],
)
def test_the_first_reason_that_fits_is_the_one(facts: Facts, reason: str) -> None:
    assert end_record.reason(facts) == reason


@given(
    st.builds(
        Facts,
        given=st.sampled_from(["", "boot-failed:run", "idle", "boot-failed:", "boot-failed:a\n"]) | st.text(),
        asked=st.sampled_from(end_record.REASONS) | st.text(),
        exit_status=st.sampled_from(["0", "7", ""]) | st.text(),
        uptime_seconds=st.integers(),
        max_run_seconds=st.none() | st.integers(),
    )
)
def test_a_reason_is_always_one_of_the_known(facts: Facts) -> None:
    try:
        reason = end_record.reason(facts)
    except ValueError:
        assert facts.given
        return
    step = reason.removeprefix("boot-failed:")
    assert reason in end_record.REASONS or (step != reason and step.replace("-", "").isalpha() and step.islower())


# --- what a job left


@given(st.binary(max_size=300))
def test_no_bytes_of_a_job_stop_the_record(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "job.json"
    path.write_bytes(data)
    told = end_record._job(path)
    assert told is None or json.loads(json.dumps(told, allow_nan=False)) == told


ODD: dict[str, Callable[[Path], object]] = {
    "nothing": Path.exists,
    "a link": lambda path: path.symlink_to("/etc/passwd"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "10 MB": lambda path: path.write_text('{"ref": "' + "x" * 10_000_000 + '"}'),
    "deep lists": lambda path: path.write_text("[" * 60_000),
    "deep objects": lambda path: path.write_text('{"a":' * 990 + "1" + "}" * 990),
    "a list": lambda path: path.write_text("[1]"),
    "a text": lambda path: path.write_text('"refused"'),
    "null": lambda path: path.write_text("null"),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "empty": lambda path: path.write_text(""),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_record_of_a_job_is_left_out(tmp_path: Path, kind: str) -> None:
    ODD[kind](tmp_path / "started.json")
    assert end_record._job(tmp_path / "started.json") in (None, {})


def test_a_pipe_that_somebody_holds_open_does_not_hold_up_the_record(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "started.json")
    holder = os.open(tmp_path / "started.json", os.O_RDWR)
    assert end_record._job(tmp_path / "started.json") is None
    os.write(holder, b'{"ref": "main"}')
    assert end_record._job(tmp_path / "started.json") is None
    os.close(holder)


def test_a_socket_is_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("started.json")
        assert end_record._job(tmp_path / "started.json") is None


def test_only_texts_of_a_jobs_record_are_kept(tmp_path: Path) -> None:
    told = '{"ref": "main", "n": 1e999, "deep": {"reason": "x"}, "nan": NaN, "half": "\\ud800", "esc": "\\u001b[31m"}'
    (tmp_path / "started.json").write_text(told)
    assert end_record._job(tmp_path / "started.json") == {"ref": "main", "half": "\ud800", "esc": "\x1b[31m"}


# --- report-end


def remember(vm: Vm) -> None:
    """As if an earlier step had asked for every attribute: most of a test's time would go into asking."""
    (vm.run_dir / "attributes").mkdir(exist_ok=True)
    for path, value in vm.cloud.metadata.items():
        if "attributes/runner-" in path:
            (vm.run_dir / path.removeprefix("instance/")).write_text(value)


def listened(vm: Vm) -> None:
    remember(vm)
    (vm.run_dir / "listener").write_text("1 1\n")


def job(vm: Vm, name: str, text: str) -> None:
    vm.job_dir.mkdir(exist_ok=True)
    (vm.job_dir / f"{name}.json").write_text(text)


def stopping(vm: Vm) -> None:
    vm.fake("systemctl", "[[ $1 != is-system-running ]] || { echo stopping; exit 1; }")


def test_the_record_says_who_why_and_what_the_job_was(vm: Vm) -> None:
    (vm.run_dir / "listener").write_text("1 1\n")
    job(vm, "started", '{"event": "push", "ref": "refs/heads/\\u001b[31m"}')
    job(vm, "completed", '{"run_id": "1"}')
    outcome = vm.run("bin/report-end", EXIT_STATUS="0")
    assert outcome.status == 0
    record = vm.end_record()
    assert json.loads(outcome.out) == record
    assert outcome.out.count("\n") == 1
    assert "\x1b" not in outcome.out
    assert isinstance(record.pop("uptime_seconds"), int)
    assert record == {
        "message": "runner end",
        "reason": "finished",
        "detail": "",
        "exit_status": "0",
        "environment": "prod",
        "pool": "presubmit-cpu",
        "trust": "minimal",
        "version": "2.337.0",
        "template_version": "2026-11-22",
        "max_run_seconds": "86400",
        "job_started": {"event": "push", "ref": "refs/heads/\x1b[31m"},
        "job_completed": {"run_id": "1"},
    }
    assert {path.name for path in vm.run_dir.iterdir()} == {"attributes", "end.json", "job", "listener"}


def test_the_boot_failure_that_was_told_first_stands_with_its_detail(vm: Vm) -> None:
    remember(vm)
    (vm.run_dir / "failure").write_text("install: unpacking: the disk is full\n")
    assert vm.run("bin/report-end", "boot-failed:install").status == 0
    second = vm.run("bin/report-end", "boot-failed:deadline")
    assert (second.status, second.out) == (0, "")
    assert vm.end_record()["reason"] == "boot-failed:install"
    assert vm.end_record()["detail"] == "install: unpacking: the disk is full"


def test_of_two_at_once_one_is_recorded_and_told(vm: Vm) -> None:
    remember(vm)
    processes = [vm.start("bin/report-end", f"boot-failed:{name}") for name in ("install", "deadline")]
    outs = [process.communicate(timeout=30)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert "".join(outs) == (vm.run_dir / "end.json").read_text()
    assert [path.name for path in vm.run_dir.glob(".*")] == []


@pytest.mark.parametrize("asked", ["refused", "idle"])
def test_who_stopped_the_listener_says_why(vm: Vm, asked: str) -> None:
    listened(vm)
    (vm.run_dir / "reason").write_text(f"{asked}\n")
    vm.run("bin/report-end", EXIT_STATUS="0")
    assert vm.end_record()["reason"] == asked


@pytest.mark.parametrize(
    ("preempted", "max_run_seconds", "reason"),
    [("TRUE", "86400", "preempted"), ("FALSE", "1", "max-age"), ("FALSE", "999999999", "operator")],
)
def test_a_system_that_stops_says_who_stopped_it(vm: Vm, preempted: str, max_run_seconds: str, reason: str) -> None:
    listened(vm)
    stopping(vm)
    vm.cloud.metadata["instance/preempted"] = preempted
    vm.set_attributes({"max-run-seconds": max_run_seconds})
    remember(vm)
    assert vm.run("bin/report-end").status == 0
    assert vm.end_record()["reason"] == reason


@pytest.mark.parametrize("max_run_seconds", ["", "--version", "9" * 5000, "\u0663"])
def test_an_attribute_that_is_odd_stops_no_record(vm: Vm, max_run_seconds: str) -> None:
    listened(vm)
    stopping(vm)
    vm.set_attributes({"max-run-seconds": max_run_seconds, "pool": "-x"})
    remember(vm)
    vm.cloud.metadata["instance/preempted"] = "--help"
    assert vm.run("bin/report-end", EXIT_STATUS="-1").status == 0
    assert (vm.end_record()["reason"], vm.end_record()["pool"]) == ("operator", "-x")


def test_without_a_metadata_server_the_end_is_told_at_once_and_its_detail_kept(vm: Vm) -> None:
    (vm.run_dir / "listener").write_text("1 1\n")
    stopping(vm)
    (vm.run_dir / "failure").write_text("register: the broker refuses\n")
    vm.cut_curl_at(0.05)
    vm.cloud.replies["metadata"].extend([Reply(hangs=True)] * 20)
    assert vm.run("bin/report-end").status == 0
    record = vm.end_record()
    assert record["pool"] == record["trust"] == "unknown"
    assert (record["reason"], record["detail"]) == ("operator", "register: the broker refuses")
    assert len(vm.cloud.asked("metadata")) == 7
    assert vm.pauses_seconds() == []


@pytest.mark.parametrize("reason", ["idle", "boot-failed:", "-h", "--run-dir=/"])
def test_a_reason_that_is_none_is_refused_and_named(vm: Vm, reason: str) -> None:
    outcome = vm.run("bin/report-end", reason)
    assert outcome.status == 2
    assert "boot-failed:STEP" in outcome.log[-1]
    assert not (vm.run_dir / "end.json").exists()


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "deep objects"])
def test_what_a_job_put_in_place_of_its_record_stops_no_end(vm: Vm, kind: str) -> None:
    listened(vm)
    vm.job_dir.mkdir()
    for name in ("started", "completed", "refused"):
        ODD[kind](vm.job_dir / f"{name}.json")
    vm.runner_dir.mkdir(parents=True)
    (vm.runner_dir / "_diag").symlink_to("_diag")
    assert vm.run("bin/report-end", EXIT_STATUS="1", timeout_seconds=20).status == 0
    assert vm.end_record()["exit_status"] == "1"


@pytest.mark.parametrize(("stage", "reason"), [("stopping", "idle"), ("settling", "idle"), ("resting", None)])
def test_a_listener_that_deregistered_itself_was_idle(vm: Vm, stage: str, reason: str | None) -> None:
    listened(vm)
    (vm.run_dir / "retire.json").write_text(json.dumps({"stage": stage}))
    vm.run("bin/report-end", EXIT_STATUS="1")
    assert vm.end_record()["reason"] == (reason or "boot-failed:listener")


def test_a_boot_that_failed_closes_the_gate_for_a_listener(vm: Vm) -> None:
    remember(vm)
    vm.run("bin/report-end", "boot-failed:install")
    assert (vm.run_dir / "gate").read_text() == "ended\n"
    (vm.run_dir / "gate").write_text("listening\n")
    (vm.run_dir / "end.json").unlink()
    vm.run("bin/report-end")
    assert (vm.run_dir / "gate").read_text() == "listening\n"


def test_a_workers_log_is_a_job_too(vm: Vm) -> None:
    listened(vm)
    (vm.runner_dir / "_diag").mkdir(parents=True)
    (vm.runner_dir / "_diag/Worker_2026.log").write_text("")
    vm.run("bin/report-end", EXIT_STATUS="0")
    assert vm.end_record()["reason"] == "finished"


def test_a_record_that_cannot_be_written_is_told_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--run-dir", str(tmp_path / "gone"), "--runner-dir", str(tmp_path), "--uptime-seconds", "1"]
    assert end_record.main([*given, "--reason=boot-failed:install"]) == 1
    assert json.loads(capsys.readouterr().out)["reason"] == "boot-failed:install"


# --- delete-self


def ended(vm: Vm, reason: str, **job: Any) -> None:
    remember(vm)
    record = {"message": "runner end", "reason": reason, **job}
    (vm.run_dir / "end.json").write_text(json.dumps(record) + "\n")


def test_the_deleter_is_asked_and_a_vm_that_stays_powers_off(vm: Vm) -> None:
    ended(vm, "finished")
    outcome = vm.run("bin/delete-self")
    assert outcome.status == 0
    assert len(vm.cloud.asked("delete")) == 1
    assert vm.pauses_seconds() == [180]
    assert vm.record("systemctl") == [POWEROFF]
    assert outcome.log[-1] == "delete-self: powering off"
    assert vm.record("poweroff") == []


@pytest.mark.parametrize("status", [403, 404])
def test_a_vm_that_the_deleter_refuses_powers_off_at_once(vm: Vm, status: int) -> None:
    ended(vm, "finished")
    vm.cloud.replies["delete"].append(Reply(status=status))
    outcome = vm.run("bin/delete-self")
    assert f"did not take this VM: HTTP {status}" in outcome.log[0]
    assert (vm.pauses_seconds(), vm.record("systemctl")) == ([], [POWEROFF])


@pytest.mark.parametrize("reply", [Reply(status=503), Reply(hangs=True)])
def test_a_deleter_that_fails_once_is_asked_again(vm: Vm, reply: Reply) -> None:
    vm.cut_curl_at(0.3)
    vm.cloud.replies["delete"].append(reply)
    vm.run("bin/delete-self")
    assert len(vm.cloud.asked("delete")) == 2
    assert vm.pauses_seconds()[-1] == 180


def test_a_vm_whose_deleter_stays_down_powers_off_within_the_budget(vm: Vm) -> None:
    vm.cloud.replies["delete"].extend([Reply(status=500)] * 60)
    assert vm.run("bin/delete-self").status == 0
    assert 30 < sum(vm.pauses_seconds()) < 120
    assert vm.record("systemctl") == [POWEROFF]


def test_a_vm_without_identity_powers_off(vm: Vm) -> None:
    script = vm.bundle / "bin/delete-self"
    script.write_text(script.read_text().replace("BUDGET_SECONDS=120", "BUDGET_SECONDS=10"))
    vm.cloud.replies["identity"].extend([Reply(status=404)] * 60)
    vm.run("bin/delete-self")
    assert vm.cloud.asked("delete") == []
    assert vm.record("systemctl") == [POWEROFF]


@pytest.mark.parametrize("gone", [False, True])
def test_a_vm_that_cannot_learn_who_deletes_it_powers_off_and_keeps_its_failure(vm: Vm, *, gone: bool) -> None:
    (vm.run_dir / "failure").write_text("why it ended\n")
    del vm.cloud.metadata["instance/attributes/runner-deleter-url"]
    if gone:
        vm.environment["GCE_METADATA_HOST"] = "127.0.0.1:9"
    assert vm.run("bin/delete-self").status == 0
    assert sum(vm.pauses_seconds()) < 30
    assert vm.record("systemctl") == [POWEROFF]
    assert vm.failure() == "why it ended"


@pytest.mark.parametrize(
    ("failing", "calls", "last"),
    [
        ('[[ $* != "--no-block poweroff" ]]', [POWEROFF, "--no-block --force poweroff"], []),
        ("exit 1", [POWEROFF, "--no-block --force poweroff"], ["-f"]),
    ],
)
def test_a_power_off_that_fails_is_forced(vm: Vm, failing: str, calls: list[str], last: list[str]) -> None:
    vm.fake("systemctl", failing)
    vm.cloud.replies["delete"].append(Reply(status=403))
    assert vm.run("bin/delete-self").status == 0
    assert (vm.record("systemctl"), vm.record("poweroff")) == (calls, last)


def test_a_vm_that_cannot_even_power_off_fails_for_its_unit_to_force_it(vm: Vm) -> None:
    vm.fake("systemctl", "exit 1")
    vm.fake("poweroff", "exit 1")
    vm.cloud.replies["delete"].append(Reply(status=403))
    assert vm.run("bin/delete-self").status != 0


def uptime(vm: Vm, seconds: int) -> None:
    common = vm.bundle / "lib/common.sh"
    common.write_text(common.read_text() + f"\nuptime_seconds() {{ printf {seconds}; }}\n")


@pytest.mark.parametrize(("up_seconds", "least"), [(0, 240), (100, 140), (100_000, 0)])
def test_a_vm_that_failed_to_boot_leaves_no_sooner_than_its_pause(vm: Vm, up_seconds: int, least: int) -> None:
    ended(vm, "boot-failed:install")
    uptime(vm, up_seconds)
    vm.cloud.replies["delete"].append(Reply(status=403))
    vm.run("bin/delete-self")
    (pause,) = vm.pauses_seconds()
    assert least <= pause <= least + 60


@pytest.mark.parametrize("reason", ["finished", None])
def test_a_vm_that_listened_leaves_at_once_whatever_its_job_wrote(vm: Vm, reason: str | None) -> None:
    if reason:
        ended(vm, reason, job_started={"reason": "boot-failed:x", "x": '"reason": "boot-failed:y"'})
    vm.cloud.replies["delete"].append(Reply(status=403))
    vm.run("bin/delete-self")
    assert vm.pauses_seconds() == []


def test_a_second_run_asks_again(vm: Vm) -> None:
    vm.run("bin/delete-self")
    assert vm.run("bin/delete-self").status == 0
    assert len(vm.cloud.asked("delete")) == 2


def hold(vm: Vm, until: str = "2999-01-01T00:00:00Z") -> None:
    vm.set_attributes({"hold-until": until})


def release_after(vm: Vm, looks: int) -> None:
    """Take the hold away when it was looked at so often."""
    answer = vm.cloud.answer
    left = [looks]

    def answer_counted(request: Request) -> Reply:
        if request.path.endswith("runner-hold-until"):
            left[0] -= 1
            if not left[0]:
                del vm.cloud.metadata["instance/attributes/runner-hold-until"]
        return answer(request)

    vm.cloud.answer = answer_counted


def test_a_held_vm_is_neither_deleted_nor_powered_off_until_it_is_released(vm: Vm) -> None:
    ended(vm, "finished")
    hold(vm)
    release_after(vm, 4)
    outcome = vm.run("bin/delete-self")
    assert vm.pauses_seconds() == [30, 30, 30, 180]
    assert len(vm.cloud.asked("delete")) == 1
    assert outcome.log[:3] == [
        "marks: an operator holds this VM until 2999-01-01T00:00:00Z",
        "marks: nobody holds this VM any more",
        "delete-self: the deleter took this VM",
    ]


def test_a_hold_that_is_over_delays_nothing(vm: Vm) -> None:
    ended(vm, "finished")
    hold(vm, "2026-01-01T00:00:00Z")
    vm.run("bin/delete-self")
    assert vm.pauses_seconds() == [180]


def test_a_vm_that_the_deleter_takes_for_held_waits_and_asks_again(vm: Vm) -> None:
    ended(vm, "finished")
    vm.cloud.replies["delete"].extend([Reply(status=423)] * 3)
    outcome = vm.run("bin/delete-self")
    assert vm.pauses_seconds() == [30, 30, 30, 180]
    assert len(vm.cloud.asked("delete")) == 4
    assert outcome.log[0] == "delete-self: the deleter did not take this VM: HTTP 423"
    assert vm.record("systemctl") == [POWEROFF]


def test_a_held_vm_that_never_listened_is_kept_by_its_boot_deadline_too(vm: Vm) -> None:
    remember(vm)
    uptime(vm, 100_000)
    hold(vm)
    release_after(vm, 2)
    assert vm.run("bin/watch-boot").status == 0
    assert vm.end_record()["reason"] == "boot-failed:deadline"
    assert vm.pauses_seconds()[1:] == [30, 180]


def test_a_vm_whose_marks_cannot_be_read_at_all_leaves(vm: Vm) -> None:
    ended(vm, "finished")
    (vm.bundle / "lib/marks.py").write_text("raise SystemExit(1)\n")
    outcome = vm.run("bin/delete-self")
    assert outcome.log[0] == "delete-self: whether an operator holds this VM could not be asked"
    assert len(vm.cloud.asked("delete")) == 1


# --- end-refused

STOP = "stop --no-block runner.service"


def test_a_refused_vm_gives_its_living_listener_half_a_minute(vm: Vm) -> None:
    (vm.run_dir / "listener").write_text(f"{os.getpid()} 1\n")
    assert vm.run("bin/end-refused").status == 0
    assert vm.pauses_seconds() == [1] * 30
    assert (vm.run_dir / "reason").read_text() == "refused\n"
    assert vm.record("systemctl") == [STOP]


@pytest.mark.parametrize("text", [None, "", "999999999 1\n"])
def test_a_refused_vm_without_a_living_listener_stops_at_once(vm: Vm, text: str | None) -> None:
    if text is not None:
        (vm.run_dir / "listener").write_text(text)
    assert vm.run("bin/end-refused").status == 0
    assert (vm.pauses_seconds(), vm.record("systemctl")) == ([], [STOP])


def test_a_refusal_does_not_replace_an_earlier_reason(vm: Vm) -> None:
    (vm.run_dir / "reason").write_text("preempted\n")
    assert vm.run("bin/end-refused").status == 0
    assert (vm.run_dir / "reason").read_text() == "preempted\n"
    assert vm.record("systemctl") == [STOP]
