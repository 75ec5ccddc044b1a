"""What runs beside a VM's life: the boot deadline, the watch for preemption, and the images pulled ahead."""

from __future__ import annotations

import pytest

from emulators.cloud import Cloud, Reply
from tests.startup.vm import Vm

STOP = "stop --no-block runner.service"
IMAGE = "docker.io/library/ubuntu:24.04@sha256:" + "a" * 64


@pytest.fixture(autouse=True)
def _no_real_end(vm: Vm) -> None:
    """The last resort of delete-self is no fake of the machine's own."""
    vm.fake("poweroff", "")


# --- watch-boot


def deadline(vm: Vm, value: str) -> None:
    """Set it, as if an earlier step had asked for every attribute: most of a test's time would go into asking."""
    vm.set_attributes({"boot-deadline-seconds": value})
    (vm.run_dir / "attributes").mkdir()
    for path, text in vm.cloud.metadata.items():
        if "attributes/runner-" in path:
            (vm.run_dir / path.removeprefix("instance/")).write_text(text)


def test_a_vm_that_listens_in_time_is_left_alone(vm: Vm) -> None:
    deadline(vm, "999999999")
    vm.fake("sleep", f'(($(wc -l <"{vm.root.parent}/records/sleep") < 3)) || echo listening >"{vm.run_dir}/gate"')
    assert vm.run("bin/watch-boot").status == 0
    assert vm.pauses_seconds() == [5, 5, 5]
    assert not (vm.run_dir / "end.json").exists()
    assert vm.cloud.asked("delete") == []


def test_a_vm_that_does_not_listen_in_time_ends_with_the_reason(vm: Vm) -> None:
    vm.set_attributes({"boot-deadline-seconds": "1"})
    assert vm.run("bin/watch-boot").status == 0
    assert (vm.run_dir / "gate").read_text() == "deadline\n"
    assert vm.end_record()["reason"] == "boot-failed:deadline"
    assert vm.end_record()["detail"] == "watch-boot: not listening 1 s after the start"
    assert len(vm.cloud.asked("delete")) == 1
    assert vm.record("systemctl")[-1] == "--no-block poweroff"


def test_what_a_step_said_before_the_deadline_is_the_detail(vm: Vm) -> None:
    deadline(vm, "1")
    (vm.run_dir / "failure").write_text("install: no source has the archive\n")
    vm.run("bin/watch-boot")
    assert vm.end_record()["detail"] == "install: no source has the archive"


@pytest.mark.parametrize("gate", ["listening", "ended"])
def test_a_vm_that_listens_or_has_ended_is_not_ended_past_the_deadline(vm: Vm, gate: str) -> None:
    deadline(vm, "1")
    (vm.run_dir / "gate").write_text(f"{gate}\n")
    outcome = vm.run("bin/watch-boot")
    assert outcome.status == 0
    assert outcome.log[0].endswith(f" s after the start: {gate}")
    assert not (vm.run_dir / "end.json").exists()


def test_an_end_that_was_cut_off_is_completed_by_the_next_run(vm: Vm) -> None:
    deadline(vm, "999999999")
    (vm.run_dir / "gate").write_text("deadline\n")
    assert vm.run("bin/watch-boot").status == 0
    assert vm.end_record()["reason"] == "boot-failed:deadline"
    assert len(vm.cloud.asked("delete")) == 1


def test_an_end_that_cannot_be_recorded_comes_all_the_same(vm: Vm) -> None:
    deadline(vm, "1")
    (vm.bundle / "bin/report-end").write_text("#!/bin/bash\nexit 1\n")
    assert vm.run("bin/watch-boot").status == 0
    assert len(vm.cloud.asked("delete")) == 1


@pytest.mark.parametrize("value", [None, "", "09", "a[$(touch owned)]"])
def test_without_a_sensible_deadline_the_usual_one_holds(vm: Vm, value: str | None) -> None:
    common = vm.bundle / "lib/common.sh"  # a VM that started 599 s ago, and 600 s after one pause
    common.write_text(
        common.read_text() + "\nuptime_seconds() { [[ -e $RUN_DIR/later ]] && printf 600 || printf 599; }\n"
    )
    vm.fake("sleep", f'[[ $1 != 5 ]] || touch "{vm.run_dir}/later"')
    if value is None:
        del vm.cloud.metadata["instance/attributes/runner-boot-deadline-seconds"]
    else:
        deadline(vm, value)
    assert vm.run("bin/watch-boot").status == 0
    assert vm.pauses_seconds()[0] == 5
    assert vm.end_record()["detail"] == "watch-boot: not listening 600 s after the start"


def test_without_a_metadata_server_the_usual_deadline_holds_and_a_good_boot_has_no_failure(vm: Vm) -> None:
    vm.environment["GCE_METADATA_HOST"] = "127.0.0.1:9"
    (vm.run_dir / "gate").write_text("listening\n")
    assert vm.run("bin/watch-boot").status == 0
    assert sum(vm.pauses_seconds()) < 30
    assert not (vm.run_dir / "failure").exists()


def test_the_deadline_does_not_run_while_the_group_holds_the_vm_in_reserve(vm: Vm) -> None:
    deadline(vm, "20")
    count = f'wc -l <"{vm.root.parent}/records/sleep"'
    (vm.run_dir / "standby").touch()
    vm.fake("sleep", f'(($({count}) != 30)) || rm "{vm.run_dir}/standby"')
    assert vm.run("bin/watch-boot").status == 0
    assert 30 + 3 <= vm.pauses_seconds().count(5) <= 30 + 4, "all of the deadline is left once it is wanted"
    assert vm.end_record()["reason"] == "boot-failed:deadline"


def test_a_watch_that_is_restarted_on_a_vm_in_reserve_does_not_end_it(vm: Vm) -> None:
    deadline(vm, "1")
    (vm.run_dir / "standby").touch()
    vm.fake("sleep", f'echo listening >"{vm.run_dir}/gate"')
    assert vm.run("bin/watch-boot").status == 0
    assert not (vm.run_dir / "end.json").exists()


# --- watch-preemption


def long_polls(cloud: Cloud) -> int:
    return len([request for request in cloud.asked("metadata") if "wait_for_change=true" in request.path])


def give_up_after(vm: Vm, sleeps: int) -> None:
    """Let the watch, which is meant to run for ever, fail once it has slept so often."""
    count = f'wc -l <"{vm.root.parent}/records/sleep"'
    vm.fake("sleep", f"(($({count}) < {sleeps}))")


def assert_left(vm: Vm) -> None:
    assert vm.record("systemctl") == [STOP]
    assert (vm.run_dir / "reason").read_text() == "preempted\n"


def test_a_vm_that_is_preempted_already_stops_its_listener_at_once(vm: Vm, cloud: Cloud) -> None:
    cloud.metadata["instance/preempted"] = "TRUE"
    assert vm.run("bin/watch-preemption").status == 0
    assert_left(vm)
    assert (vm.pauses_seconds(), len(cloud.requests)) == ([], 1)


def test_a_preemption_during_the_long_poll_stops_the_listener_with_no_long_pause(vm: Vm, cloud: Cloud) -> None:
    quiet = [Reply(body=b"FALSE"), Reply(body=b"NONE")]
    cloud.replies["metadata"].extend([*quiet, Reply(hangs=True)])
    process = vm.start("bin/watch-preemption")
    assert cloud.hanging.wait(20)
    assert long_polls(cloud) == 1
    assert "timeout_sec=60" in cloud.requests[-1].path
    cloud.metadata["instance/preempted"] = "TRUE"
    cloud.closing.set()  # the poll ends without an answer
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert_left(vm)
    assert sum(vm.pauses_seconds()) <= 6


def test_a_change_that_the_long_poll_tells_is_acted_on_within_a_second(vm: Vm, cloud: Cloud) -> None:
    replies = [b"FALSE", b"NONE", b"TRUE", b"TRUE"]
    cloud.replies["metadata"].extend(Reply(body=body) for body in replies)
    assert vm.run("bin/watch-preemption").status == 0
    assert_left(vm)
    assert vm.pauses_seconds() == [1]


@pytest.mark.parametrize("reply", [None, Reply(status=500), Reply(status=404)], ids=["answers at once", "500", "404"])
def test_a_server_that_answers_at_once_for_ever_keeps_no_core_busy(vm: Vm, cloud: Cloud, reply: Reply | None) -> None:
    if reply:
        cloud.replies["metadata"].extend([reply] * 200)
    give_up_after(vm, 12)
    assert vm.run("bin/watch-preemption").status == 1
    assert len(cloud.requests) <= 3 * len(vm.pauses_seconds()) + 3
    assert vm.record("systemctl") == []
    assert not (vm.run_dir / "reason").exists()


def test_a_server_that_comes_back_is_heard(vm: Vm, cloud: Cloud) -> None:
    cloud.replies["metadata"].extend([Reply(status=503)] * 15)
    cloud.metadata["instance/preempted"] = "TRUE"
    assert vm.run("bin/watch-preemption").status == 0
    assert_left(vm)


def test_an_idle_vm_leaves_before_host_maintenance(vm: Vm, cloud: Cloud) -> None:
    cloud.metadata["instance/maintenance-event"] = "TERMINATE_ON_HOST_MAINTENANCE"
    assert vm.run("bin/watch-preemption").status == 0
    assert_left(vm)


@pytest.mark.parametrize("evidence", ["hook", "worker"])
def test_a_job_goes_on_through_the_hour_before_host_maintenance(vm: Vm, cloud: Cloud, evidence: str) -> None:
    cloud.metadata["instance/maintenance-event"] = "TERMINATE_ON_HOST_MAINTENANCE"
    path = vm.job_dir / "started.json" if evidence == "hook" else vm.runner_dir / "_diag/Worker_1.log"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    give_up_after(vm, 2)
    assert vm.run("bin/watch-preemption").status == 1
    assert vm.record("systemctl") == []


@pytest.mark.parametrize("event", ["MIGRATE_ON_HOST_MAINTENANCE", ""])
def test_other_events_end_nothing(vm: Vm, cloud: Cloud, event: str) -> None:
    cloud.metadata["instance/maintenance-event"] = event
    give_up_after(vm, 2)
    assert vm.run("bin/watch-preemption").status == 1
    assert vm.record("systemctl") == []


def test_an_earlier_reason_stays_and_a_second_run_stops_again(vm: Vm, cloud: Cloud) -> None:
    cloud.metadata["instance/preempted"] = "TRUE"
    (vm.run_dir / "reason").write_text("idle\n")
    assert [vm.run("bin/watch-preemption").status for _ in range(2)] == [0, 0]
    assert (vm.run_dir / "reason").read_text() == "idle\n"
    assert vm.record("systemctl") == [STOP, STOP]


def test_a_stop_that_systemd_refuses_fails_so_that_the_unit_tries_again(vm: Vm, cloud: Cloud) -> None:
    cloud.metadata["instance/preempted"] = "TRUE"
    vm.fake("systemctl", "exit 1")
    assert vm.run("bin/watch-preemption").status != 0


# --- warm


def test_images_are_pulled_by_digest(vm: Vm) -> None:
    vm.fake("docker", "")
    other = "ghcr.io/iree-org/cpubuilder_ubuntu@sha256:" + "0" * 64
    vm.set_attributes({"warm-images": f"{IMAGE} {other}"})
    outcome = vm.run("bin/warm")
    assert outcome.status == 0
    assert vm.record("docker") == [f"pull --quiet {IMAGE}", f"pull --quiet {other}"]
    assert [line.split(" in ")[0] for line in outcome.log] == [f"warm: pulled {IMAGE}", f"warm: pulled {other}"]


def test_what_names_no_image_by_digest_is_left_out(vm: Vm) -> None:
    vm.fake("docker", "")
    odd = ["ubuntu", "ubuntu:24.04", "ubuntu@sha256:abc", "--all-tags", "$(touch${IFS}owned)", "*", f"-{IMAGE}"]
    odd += [f"{IMAGE}0", IMAGE.upper(), f"{IMAGE};reboot", f"@{IMAGE}"]
    vm.set_attributes({"warm-images": " ".join([*odd, IMAGE])})
    outcome = vm.run("bin/warm")
    assert outcome.status == 0
    assert vm.record("docker") == [f"pull --quiet {IMAGE}"]
    assert outcome.log[:-1] == [f"warm: {text} names no image by digest; left out" for text in odd]


def test_a_pull_that_fails_does_not_keep_the_next_from_being_tried(vm: Vm) -> None:
    vm.fake("docker", "exit 1")
    vm.set_attributes({"warm-images": f"{IMAGE} ubuntu {IMAGE}"})
    outcome = vm.run("bin/warm")
    assert outcome.status == 0
    assert len(vm.record("docker")) == 2
    assert outcome.log[0] == f"warm: could not pull {IMAGE}; a job that needs it pulls it"


def test_a_pull_that_hangs_is_given_up(vm: Vm) -> None:
    vm.fake("docker", "read -rt 60 <> <(:)")
    vm.fake("timeout", 'exec /usr/bin/timeout --foreground 0.1 "${@:3}"')
    vm.set_attributes({"warm-images": IMAGE})
    assert vm.run("bin/warm", timeout_seconds=20).status == 0
    assert vm.record("timeout") == [f"--foreground 600 docker pull --quiet {IMAGE}"]


@pytest.mark.parametrize("fault", ["empty", "missing", "gone"])
def test_without_images_nothing_is_pulled_and_nothing_has_failed(vm: Vm, fault: str) -> None:
    vm.fake("docker", "")
    if fault == "empty":
        vm.set_attributes({"warm-images": ""})
    if fault == "missing":
        del vm.cloud.metadata["instance/attributes/runner-warm-images"]
    if fault == "gone":
        vm.environment["GCE_METADATA_HOST"] = "127.0.0.1:9"
    assert vm.run("bin/warm").status == 0
    assert vm.record("docker") == []
    assert not (vm.run_dir / "failure").exists()
