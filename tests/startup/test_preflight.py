"""bin/preflight: a VM that could not work is never told to GitHub, and it says what is wrong with it."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from emulators.cloud import Cloud, Reply
from tests.startup.vm import Outcome, Vm

GPU = "echo 'GPU 0: NVIDIA H100 (UUID: GPU-1)'"


@pytest.fixture
def fit(vm: Vm, cloud: Cloud) -> Vm:
    """A VM with everything in order; its health server is the cloud's port, answering whatever has no route."""
    vm.set_attributes({"health-port": cloud.host.rpartition(":")[2]})
    cloud.replies[""].append(Reply())
    (vm.bundle / "lib/containment_probe.sh").write_text("containment_probe() { :; }\n")
    vm.fake("df", "echo Avail; echo 99999999")
    return vm


def fails(vm: Vm, code: int, *words: str) -> Outcome:
    outcome = vm.run("bin/preflight")
    assert outcome.status == code, outcome.log
    failure = vm.failure()
    assert outcome.log[-1] == failure
    assert failure.startswith("preflight: ")
    assert all(word in failure for word in words), failure
    return outcome


def test_a_fit_vm_passes_twice_and_nothing_was_changed(fit: Vm) -> None:
    fit.cloud.replies[""].append(Reply())
    assert [fit.run("bin/preflight").status for _ in range(2)] == [0, 0]
    assert fit.pauses_seconds() == []
    assert {path.name for path in fit.run_dir.iterdir()} == {"attributes"}
    assert not fit.record("systemctl")


def test_a_full_disk_is_named_with_what_is_free_and_what_to_raise(fit: Vm) -> None:
    fit.fake("df", "echo Avail; echo $((3 * 1048576))")
    fails(fit, 20, "3 GB free", "5", "disk_gb")


@pytest.mark.parametrize("body", ["echo Avail; exit 1"])
def test_a_disk_that_cannot_be_asked_is_no_free_disk(fit: Vm, body: str) -> None:
    fit.fake("df", body)
    fails(fit, 20, "disk")


def test_a_disk_that_is_really_full_is_found(fit: Vm) -> None:
    tiny = f"mount -t tmpfs -o size=64k none {fit.root}"
    if subprocess.run(["unshare", "-m", "sh", "-c", tiny], capture_output=True, check=False).returncode != 0:
        reason = "no tiny file system can be mounted here, so the real df saw no full disk"
        print(reason)  # noqa: T201 - a skipped check is said aloud
        pytest.skip(reason)
    fit.fake("df", f'exec unshare -m sh -c \'{tiny} && exec {shutil.which("df")} "$@"\' - "$@"')
    fails(fit, 20, "0 GB free")


@pytest.mark.parametrize("off_seconds", [-7200, 70])
def test_a_clock_that_is_off_either_way_is_found(fit: Vm, cloud: Cloud, off_seconds: int) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=off_seconds), usegmt=True)
    cloud.replies["metadata"].append(Reply(date=date))
    outcome = fails(fit, 21, "clock", "allowed are 60", "chronyc")
    skew = int(outcome.log[-1].split(" s off")[0].rpartition(" ")[2])
    assert abs(skew - off_seconds) < 10


@pytest.mark.parametrize("off_seconds", [45])
def test_a_clock_that_is_nearly_right_will_do(fit: Vm, cloud: Cloud, off_seconds: int) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=off_seconds), usegmt=True)
    cloud.replies["metadata"].append(Reply(date=date))
    assert fit.run("bin/preflight").status == 0


@pytest.mark.parametrize("date", ["tomorrow", " ", "$(id) GMT"])
def test_a_date_that_is_none_is_no_clock(fit: Vm, cloud: Cloud, date: str) -> None:
    cloud.replies["metadata"].append(Reply(date=date))
    fails(fit, 21, "clock", "tells no time")


def test_a_metadata_server_that_is_slow_at_first_is_asked_again(fit: Vm, cloud: Cloud) -> None:
    fit.cut_curl_at(0.3)
    old = format_datetime(datetime(2001, 1, 1, tzinfo=UTC), usegmt=True)
    cloud.replies["metadata"].extend([Reply(hangs=True), Reply(status=500, date=old), Reply(status=404)])
    assert fit.run("bin/preflight").status == 0
    assert len(fit.pauses_seconds()) == 3


def test_a_metadata_server_that_is_gone_is_named_within_the_budget(fit: Vm) -> None:
    fit.environment["GCE_METADATA_HOST"] = "127.0.0.1:9"
    fails(fit, 22, "no answer from http://127.0.0.1:9/")
    assert 5 < sum(fit.pauses_seconds()) < 30


def test_a_vm_without_gpus_needs_no_driver(fit: Vm) -> None:
    fit.fake("nvidia-smi", "exit 9")
    assert fit.run("bin/preflight").status == 0
    assert fit.record("nvidia-smi") == []


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        (f"{GPU}; exit 0", 1),
        (f"{GPU}; echo 'Unable to determine the device handle for GPU 1: Unknown Error'; exit 1", 1),
        ("echo 'No devices were found'; exit 6", 0),
        ('echo "NVIDIA-SMI has failed because it couldn\'t communicate" >&2; exit 9', 0),
        ("kill -SEGV $$", 0),
    ],
)
def test_too_few_gpus_are_counted_and_named(fit: Vm, body: str, seen: int) -> None:
    fit.set_attributes({"gpu-count": "2"})
    fit.fake("nvidia-smi", body)
    fails(fit, 23, f"{seen} of 2", "driver")
    assert 5 < sum(fit.pauses_seconds()) < 30


def test_an_image_without_nvidia_smi_has_no_gpu(fit: Vm) -> None:
    fit.set_attributes({"gpu-count": "1"})
    fails(fit, 23, "0 of 1")


def test_gpus_that_answer_late_are_waited_for(fit: Vm) -> None:
    fit.set_attributes({"gpu-count": "2"})
    fit.fake("nvidia-smi", f'(($(wc -l <"$0.calls" 2>/dev/null || echo 0) > 1)) && {GPU}; {GPU}; echo x >>"$0.calls"')
    assert fit.run("bin/preflight").status == 0
    assert len(fit.pauses_seconds()) == 2


def test_a_gpu_that_hangs_is_given_up_and_killed(fit: Vm) -> None:
    fit.set_attributes({"gpu-count": "1"})
    fit.fake("nvidia-smi", "trap '' TERM\nwhile :; do read -rt 60 <> <(:); done")
    fit.fake("timeout", '[[ $* == *" 30 nvidia-smi"* ]] && exec /usr/bin/timeout --foreground -s KILL 0.05 "${@:5}"')
    fails(fit, 23, "0 of 1")
    assert fit.record("timeout")[0] == "--foreground -s KILL 30 nvidia-smi --list-gpus"


@pytest.mark.parametrize("name", ["gpu-count", "health-port"])
@pytest.mark.parametrize("value", ["", "08", "a[$(touch owned)]"])
def test_a_number_that_is_none_is_refused_before_bash_reckons_with_it(fit: Vm, name: str, value: str) -> None:
    fit.set_attributes({name: value})
    fails(fit, 45, f"runner-{name}", "no number")
    assert list(fit.root.rglob("owned")) == []


def test_a_health_server_that_does_not_answer_is_named_with_its_port(fit: Vm) -> None:
    fit.set_attributes({"health-port": "9"})
    fails(fit, 24, "port 9", "ss -ltnp")
    assert 5 < sum(fit.pauses_seconds()) < 20


def test_a_health_server_that_starts_late_is_waited_for(fit: Vm, cloud: Cloud) -> None:
    cloud.replies[""].clear()
    cloud.replies[""].extend([Reply(status=500), Reply(status=404), Reply()])
    assert fit.run("bin/preflight").status == 0
    assert len(fit.pauses_seconds()) == 2


def test_a_job_that_would_not_be_contained_is_named_with_the_probes_reason(fit: Vm) -> None:
    probe = "containment_probe() { echo 'user runner gets identity tokens' >&2; return 1; }\n"
    (fit.bundle / "lib/containment_probe.sh").write_text(probe)
    fails(fit, 25, "containment: user runner gets identity tokens")


@pytest.mark.parametrize("name", ["gpu-count", "health-port"])
def test_an_attribute_that_is_missing_is_named(fit: Vm, cloud: Cloud, name: str) -> None:
    del cloud.metadata[f"instance/attributes/runner-{name}"]
    fails(fit, 44, f"runner-{name}")
