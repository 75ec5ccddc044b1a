"""A VM's whole life with real processes: rendered bootstrap, units as they are, real scripts, a stand-in of GitHub's
runner, every service on loopback. Waiting alone is faked: `sleep` records and returns almost at once.

`ended` holds for every life: one end record, no process left, nothing secret where others can read, bounded pauses.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emulators.cloud import IDENTITY_MARK, JIT_MARK, TOKEN, Cloud, Reply, Request
from emulators.runner import archive as runner_archive
from emulators.runner.archive import Job, Step
from emulators.runner.vm import RunnerVm
from emulators.systemd.manager import ServiceManager
from fleet.metadata import RunnerMetadata, attribute_name
from startup import bundle, render
from tests.startup.vm import STARTUP

BUCKET = "example-boot-bundles"
POLICY = {
    "events": ["push"],
    "refs": ["refs/heads/*"],
    "repositories": ["iree-org/iree"],
    "workflows": [],
    "forks": False,
    "actor_associations": [],
}
SLEEP = """read -r caller </proc/$PPID/comm
[[ "$caller $1" == "python3 30" ]] && exec /bin/sleep 0.1  # lib/marks.py, as long as the VM is held
printf '%s %s\\n' "$caller" "$1" >>"{pauses}"
[[ $caller == watch-* ]] && exec /bin/sleep 0.1
[[ $caller == preflight ]] && exec /bin/sleep 0.4  # it waits for servers that really have to start
exec /bin/sleep 0.01"""
CURL = 'printf "%s\\n" "$*" >>"{record}"\nexport -p >>"{record}"\nexec /usr/bin/curl "$@"'
MOST_PAUSES_SECONDS = {
    # From the headers of the scripts; `watch-` scripts wait as long as their VM lives.
    "preflight": 80,
    "install": 240,
    "register": 180,
    "report-end": 35,
    "delete-self": 240 + 60 + 120 + 180,
    "end-refused": 30,
    "python3": 300,  # bin/retire becomes it
    "job-started.sh": 6,
}
STEPS = ("provision", "contain", "preflight", "install", "register")
WATCHERS = (
    "runner-boot-deadline.service",
    "runner-health.service",
    "runner-preemption.service",
    "runner-refused.path",
    "runner-retire.timer",
    "runner-warm.service",
)
BLOCKED_BY = {"provision": "sort", "contain": "nft", "preflight": "df", "install": "chown"}
"""A command that this step alone runs, of those that do."""


class PatientCloud(Cloud):
    """Keeps a request that waits for a change until there is one, as the metadata server does."""

    def answer(self, request: Request) -> Reply:
        if "wait_for_change" not in request.path:
            return super().answer(request)
        before = dict(self.metadata)
        while self.metadata == before:
            if self.closing.wait(0.02):
                return Reply(hangs=True)
        return super().answer(request)


class Life:
    """A VM, its services, and what is seen of its processes while it lives."""

    def __init__(self, vm: RunnerVm, script: str) -> None:
        self.vm = vm
        self.cloud = vm.cloud
        self.github = vm.github
        self.script = script
        self.manager: ServiceManager
        self._secrets = [JIT_MARK, TOKEN, IDENTITY_MARK, vm.cloud.jit_config]
        self._leaks: set[str] = set()
        vm.command("sleep", SLEEP.format(pauses=vm.folder / "pauses"))

    def record_curl(self) -> None:
        """Keep every request's arguments and environment; else they are looked at now and then, as of all processes."""
        self.vm.command("curl", CURL.format(record=self.vm.folder / "curl"))

    @contextlib.contextmanager
    def powered(self, *, time_scale: float = 0.1) -> Iterator[ServiceManager]:
        """The machine runs, and its processes are looked at."""
        over = threading.Event()
        with self.vm.services(time_scale=time_scale) as self.manager:
            looking = threading.Thread(target=self._look, args=(over,))
            looking.start()
            try:
                yield self.manager
            finally:
                over.set()
                looking.join()

    def boot(self) -> None:
        done = self.vm.bootstrap(self.script)
        assert done.returncode == 0, done.stderr

    def until(self, true: Any, what: str) -> None:
        assert self.manager.wait_until(true), f"{what} never came\n{self.story()}"

    def boot_to_listener(self) -> None:
        self.boot()
        self.until(lambda: self.github.connected, "the listener")

    def block(self, command: str) -> Path:
        """Let a command hang; returns the file that says that it was called."""
        called = self.vm.folder / f"called-{command}"
        self.vm.command(command, f': >"{called}"\nexec /bin/sleep 60')
        return called

    def run_job(self, *steps: str) -> None:
        self.github.hand(Job(steps=[Step(run=step) for step in steps]))

    def hold_job(self) -> Path:
        """A job that runs until it is stopped or the file it waits for is there."""
        go, began = self.vm.folder / "go", self.vm.folder / "began"
        self.run_job(f'touch "{began}"; until [[ -e "{go}" ]]; do /bin/sleep 0.02; done')
        self.until(began.exists, "the job")
        return go

    def story(self) -> str:
        began = self.manager.events[0][0] if self.manager.events else 0.0
        lines = [f"{at - began:.2f} {unit} {state}" for at, unit, state in self.manager.events]
        for path in sorted(self.manager.journals.iterdir()):
            lines += [f"{path.name}| {line}" for line in path.read_text(errors="replace").splitlines()[-15:]]
        return "\n".join([*lines, *self.manager.faults])

    def ended(self, reason: str, *, deleted: bool = True) -> dict[str, Any]:
        """The VM is off, for this reason, and all that holds for every end holds. Returns the record."""
        self.until(self.manager.powered_off.is_set, "the end")
        self.until(lambda: not self.manager.members(), "the last process's end")
        assert self.manager.faults == []
        assert (self.manager.survivors, self.vm.strangers()) == ([], []), self.story()
        journals = "".join(path.read_text(errors="replace") for path in self.manager.journals.iterdir())
        records = [line for line in journals.splitlines() if line.startswith('{"message": "runner end"')]
        assert len(records) == 1, self.story()
        record: dict[str, Any] = json.loads(records[0])
        assert record["reason"] == reason, self.story()
        assert json.loads((self.vm.run_dir / "end.json").read_text()) == record
        assert bool(self.cloud.asked("delete")) == deleted, self.story()
        self._assert_nothing_secret(journals)
        self._assert_bounded_pauses()
        return record

    def _assert_nothing_secret(self, journals: str) -> None:
        record = self.vm.folder / "curl"
        curl = record.read_text() if record.exists() else ""
        shown = {"journals": journals, "curl": curl, "systemctl": "\n".join(self.manager.calls)}
        leaks = [f"{mark} in {name}" for mark in self._secrets for name, text in shown.items() if mark in text]
        for path in self.vm.root.rglob("*"):
            if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o077:
                text = path.read_text(errors="replace")
                leaks += [f"{mark} in {path}, which others may read" for mark in self._secrets if mark in text]
        assert [*leaks, *self._leaks] == []

    def _assert_bounded_pauses(self) -> None:
        path = self.vm.folder / "pauses"
        total: Counter[str] = Counter()
        for line in path.read_text().splitlines() if path.exists() else []:
            caller, _, seconds = line.rpartition(" ")
            total[caller] += float(seconds)  # pyright: ignore[reportArgumentType]
        unbounded = {
            name: seconds
            for name, seconds in total.items()
            if not name.startswith("watch-") and seconds > MOST_PAUSES_SECONDS.get(name, 0)
        }
        assert unbounded == {}

    def _look(self, over: threading.Event) -> None:
        secrets = [mark.encode() for mark in self._secrets]
        while not over.wait(0.1):
            for pid in self.manager.members():
                for name in ("cmdline", "environ"):
                    try:
                        seen = Path(f"/proc/{pid}/{name}").read_bytes()
                    except OSError:
                        continue
                    self._leaks |= {f"{mark!r} in the {name} of a process" for mark in secrets if mark in seen}


@pytest.fixture(scope="module")
def boot_bundle() -> bundle.Bundle:
    return bundle.build(STARTUP)


@pytest.fixture(scope="module")
def archive() -> runner_archive.Archive:
    return runner_archive.build()


@pytest.fixture
def life(tmp_path: Path, boot_bundle: bundle.Bundle, archive: runner_archive.Archive) -> Iterator[Life]:
    with PatientCloud() as cloud:
        fields = RunnerMetadata.model_fields.items()
        vm = RunnerVm(tmp_path, cloud, {attribute_name(name): (field.examples or [""])[0] for name, field in fields})
        environment = render.job_environment(pool="p", artifact_bucket="a", cache_bucket="", cache_writable=False)
        vm.set_attributes(
            {
                "runner-boot-deadline-seconds": str(uptime_seconds() + 600),
                "runner-max-run-seconds": str(uptime_seconds() + 86400),
                "runner-job-policy": json.dumps(POLICY),
                "runner-job-environment": environment.replace("/opt/runner-fleet", f"{vm.root}/opt/runner-fleet"),
            }
        )
        vm.mirror(archive, BUCKET)
        vm.mark_as_provisioned(boot_bundle.data)
        cloud.objects[BUCKET, boot_bundle.object_name] = boot_bundle.data
        script = render.bootstrap(bundle_bucket=BUCKET, bundle_sha256=boot_bundle.sha256, boot_deadline_seconds=600)
        yield Life(vm, script)


def uptime_seconds() -> int:
    return int(time.clock_gettime(time.CLOCK_BOOTTIME))


def test_a_vm_runs_one_job_and_is_deleted(life: Life) -> None:
    life.record_curl()
    with life.powered() as manager:
        life.boot_to_listener()
        assert (life.vm.runner_dir / ".credentials").stat().st_mode & 0o777 == 0o600
        life.run_job("test -z ${SECRET-}", "setsid /bin/sleep 1000 & echo $! >left")
        record = life.ended("finished")
    assert life.github.result == "succeeded"
    assert (record["exit_status"], record["job_started"]["run_id"]) == ("0", "815")
    runner = manager.loaded("runner.service")
    assert (runner.leftovers, runner.result) == (1, "success"), "what the job left behind was killed, without a wait"
    assert len(life.cloud.asked("jit")) == len(life.cloud.asked("delete")) == 1


def test_a_refused_job_runs_no_step_and_ends_its_vm(life: Life) -> None:
    ran = life.vm.folder / "ran"
    with life.powered():
        life.boot_to_listener()
        steps = [Step(run=f'touch "{ran}"'), Step(run=f'touch "{ran}"', always=True)]
        life.github.hand(Job(steps=steps, github={"EVENT_NAME": "issue_comment"}))
        record = life.ended("refused")
    assert (life.github.result, ran.exists()) == ("failed", False)
    assert "issue_comment" in record["job_refused"]["reason"]


@pytest.mark.parametrize(("status", "reason"), [(7, "version-deprecated"), (1, "listener")])
def test_a_listener_that_ends_at_once_is_a_failed_boot(life: Life, status: int, reason: str) -> None:
    life.github.refuse_session(status)
    with life.powered():
        life.boot()
        assert life.ended(f"boot-failed:{reason}")["exit_status"] == str(status)


def test_a_step_that_fails_is_named_and_no_later_one(life: Life) -> None:
    """systemd triggers OnFailure of the steps that could not start, too."""
    life.vm.command("sort", "exit 3")
    with life.powered():
        life.boot()
        life.ended("boot-failed:provision")
    assert not life.github.connected


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_is_stopped_ends_the_vm(life: Life, step: str) -> None:
    if step == "register":
        life.cloud.replies["jit"].append(Reply(hangs=True))
        begun = life.cloud.hanging.is_set
    else:
        begun = life.block(BLOCKED_BY[step]).exists
    with life.powered() as manager:
        life.boot()
        life.until(begun, step)
        manager.stop(f"runner-{step}.service")
        life.ended(f"boot-failed:{step}")
    assert not life.github.connected
    assert not list(life.vm.run_dir.glob("registration*"))


def test_an_idle_listener_that_is_stopped_ends_the_vm(life: Life) -> None:
    with life.powered() as manager:
        life.boot_to_listener()
        manager.stop("runner.service")
        life.ended("operator")


def test_a_listener_that_is_stopped_gives_up_its_job_and_tells_github(life: Life) -> None:
    with life.powered() as manager:
        life.boot_to_listener()
        life.hold_job()
        manager.stop("runner.service")
        life.ended("operator")
    assert life.github.result == "cancelled"


def test_what_runs_beside_a_job_takes_no_job_with_it(life: Life) -> None:
    metadata_filter = "runner-metadata-filter.service"
    with life.powered(time_scale=0.02) as manager:
        life.boot_to_listener()
        go = life.hold_job()
        killed = manager.loaded(metadata_filter).main
        assert killed is not None
        killed.signal(signal.SIGKILL, everyone=True)
        for unit in WATCHERS:
            manager.stop(unit)
            life.until(lambda unit=unit: manager.is_down(unit), f"the end of {unit}")
        life.until(
            lambda: manager.loaded(metadata_filter).main is not killed and manager.state(metadata_filter) == "active",
            "another filter",
        )
        go.touch()
        life.ended("finished")
    assert life.github.result == "succeeded"


def test_a_rebooted_vm_gets_no_second_configuration_and_leaves(life: Life) -> None:
    with life.powered() as manager:
        life.boot_to_listener()
        manager.cut_power()
    life.vm.forget_boot()
    (life.github.folder / "connected").unlink()
    life.cloud.replies["jit"].append(Reply(status=409))
    with life.powered():
        life.boot()
        record = life.ended("boot-failed:register")
    assert "rebooted" in record["detail"]
    assert not life.github.connected


def test_a_step_that_hangs_meets_the_boot_deadline(life: Life) -> None:
    life.block("nft")
    life.vm.set_attributes({"runner-boot-deadline-seconds": str(uptime_seconds() + 2)})
    with life.powered(time_scale=1):
        life.boot()
        life.ended("boot-failed:deadline")


def test_a_step_that_hangs_meets_the_limit_of_its_unit(life: Life) -> None:
    life.block("nft")
    with life.powered(time_scale=0.01):
        life.boot()
        life.ended("boot-failed:contain")


def test_a_preempted_vm_gives_up_its_job_and_says_why(life: Life) -> None:
    with life.powered():
        life.boot_to_listener()
        life.hold_job()
        life.cloud.metadata["instance/preempted"] = "TRUE"
        life.ended("preempted")
    assert life.github.result == "cancelled"


def test_an_idle_vm_with_a_permit_leaves(life: Life) -> None:
    life.cloud.permit = True
    life.vm.set_attributes({"runner-idle-timeout-seconds": "0"})
    with life.powered() as manager:
        life.boot_to_listener()
        assert manager.fire("runner-retire.timer")
        life.ended("idle")
    assert len(life.cloud.asked("deregister")) == 1


def test_a_drained_vm_leaves_however_short_it_was_idle(life: Life) -> None:
    life.cloud.permit = True
    life.vm.set_attributes({"runner-drain": "2026-11-25T14:10:00Z"})
    with life.powered() as manager:
        life.boot_to_listener()
        assert manager.fire("runner-retire.timer")
        life.ended("idle")
    assert len(life.cloud.asked("deregister")) == 1


def test_a_drain_takes_no_job_along(life: Life) -> None:
    life.cloud.permit = True
    life.vm.set_attributes({"runner-drain": "2026-11-25T14:10:00Z"})
    with life.powered() as manager:
        life.boot_to_listener()
        go = life.hold_job()
        assert manager.fire("runner-retire.timer")
        life.until(lambda: "it has or had a job" in manager.journal("runner-retire.service"), "a look")
        go.touch()
        life.ended("finished")
    assert life.github.result == "succeeded"
    assert life.cloud.asked("retire") == []


def test_a_held_vm_stays_after_its_job_until_it_is_released_and_takes_no_second(life: Life) -> None:
    with life.powered() as manager:
        life.boot_to_listener()
        life.vm.set_attributes({"runner-hold-until": "2999-01-01T00:00:00Z"})
        life.run_job("true")
        life.until(lambda: "holds this VM" in manager.journal("runner-delete.service"), "the hold")
        assert life.cloud.asked("delete") == []
        listener = int((life.vm.run_dir / "listener").read_text().split()[0])
        assert not Path(f"/proc/{listener}").exists()
        del life.cloud.metadata["instance/attributes/runner-hold-until"]
        life.ended("finished")
    assert "nobody holds this VM any more" in manager.journal("runner-delete.service")
    assert len(life.cloud.asked("jit")) == len(life.cloud.asked("delete")) == 1


def test_a_vm_that_failed_to_boot_is_held_as_well(life: Life) -> None:
    life.vm.set_attributes({"runner-hold-until": "2999-01-01T00:00:00Z"})
    life.cloud.replies["jit"].extend([Reply(status=403)] * 10)
    with life.powered() as manager:
        life.boot()
        life.until(lambda: "holds this VM" in manager.journal("runner-delete.service"), "the hold")
        assert life.cloud.asked("delete") == []
        del life.cloud.metadata["instance/attributes/runner-hold-until"]
        life.ended("boot-failed:register")


def test_a_deleter_that_fails_leaves_the_power_button(life: Life) -> None:
    life.cloud.replies["delete"].extend([Reply(status=500)] * 100)
    with life.powered() as manager:
        life.boot_to_listener()
        life.run_job("true")
        life.ended("finished")
    assert "powering off" in manager.journal("runner-delete.service")
    assert len(life.cloud.asked("delete")) > 3


def test_a_machine_that_shuts_down_stops_in_order(life: Life) -> None:
    with life.powered() as manager:
        life.boot_to_listener()
        manager.power_off()
        life.ended("operator", deleted=False)


def test_the_shutdown_of_a_deletion_is_no_failed_deletion(life: Life) -> None:
    life.vm.command("sleep", "[[ $1 != 180 ]] || exec /bin/sleep 60\nexec /bin/sleep 0.05")
    with life.powered() as manager:
        life.boot_to_listener()
        life.run_job("true")
        life.until(lambda: "took this VM" in manager.journal("runner-delete.service"), "the deletion")
        manager.power_off()
        life.ended("finished")
    assert manager.loaded("runner-delete.service").result == "success", "else the power goes before the logs are out"


def test_a_second_run_of_the_bootstrap_disturbs_no_job(life: Life) -> None:
    with life.powered():
        life.boot_to_listener()
        go = life.hold_job()
        life.boot()
        go.touch()
        life.ended("finished")
    assert life.github.result == "succeeded"
    assert len(life.cloud.asked("jit")) == 1


def test_an_image_captured_from_a_runner_boots_afresh(life: Life) -> None:
    vm = life.vm
    units = vm.root / "etc/systemd/system"
    (vm.runner_dir / "_diag").mkdir(parents=True)
    for name in (".runner", ".credentials", "_diag/Worker_20260101-000000-utc.log"):
        (vm.runner_dir / name).write_text("{}")
    (units / "runner.target.wants").mkdir()
    (units / "runner-old.service").write_text("[Service]\nType=exec\nExecStart=/bin/false\n")
    (units / "runner.target.wants/runner-old.service").symlink_to("../runner-old.service")
    old = vm.root / "opt/runner-fleet" / ("0" * 64)
    old.mkdir(parents=True)
    (old.parent / "current").symlink_to(old.name)
    with life.powered() as manager:
        life.boot_to_listener()
        assert json.loads((vm.runner_dir / ".runner").read_text())["agentName"] == "a-runner"
        assert not list(vm.runner_dir.glob("_diag/Worker_*"))
        assert manager.state("runner-old.service") == "inactive"
        life.run_job("true")
        life.ended("finished")
    assert life.github.result == "succeeded"


def test_a_vm_that_ends_takes_no_job_when_it_is_started_again(life: Life) -> None:
    """A second run of the bootstrap starts failed units again, while the VM waits for its deletion."""
    go = life.vm.folder / "go"
    wait = f'[[ $caller != delete-self ]] || until [[ -e "{go}" ]]; do /bin/sleep 0.02; done\n'
    life.vm.command("sleep", SLEEP.format(pauses=life.vm.folder / "pauses").replace("[[", wait + "[[", 1))
    life.cloud.replies["jit"].append(Reply(status=403))
    with life.powered() as manager:
        life.boot()
        life.until((life.vm.run_dir / "end.json").exists, "the record")
        life.until(lambda: manager.is_down("runner-register.service"), "the failure")
        life.boot()
        life.until(lambda: not life.vm.run_dir.joinpath("registration").exists() and run_ended(manager), "the refusal")
        assert not life.github.connected
        go.touch()
        life.ended("boot-failed:register")


def run_ended(manager: ServiceManager) -> bool:
    """Whether runner.service ran and is over."""
    states = [state for _, unit, state in manager.events if unit == "runner.service"]
    return "deactivating" in states and states[-1] in ("inactive", "failed")
