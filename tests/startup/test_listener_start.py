"""bin/run: the process that systemd started becomes GitHub's listener, with nothing secret around it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.startup.vm import Vm

SECRET = "the-registration-that-must-stay-in-its-files"
FILES = (".runner", ".credentials", ".credentials_rsaparams")


def give_listener(vm: Vm, body: str) -> None:
    """A stand-in for Runner.Listener that notes who it is and then does `body`."""
    path = vm.runner_dir / "bin/Runner.Listener"
    path.parent.mkdir(parents=True, exist_ok=True)
    seen = vm.root.parent
    path.write_text(
        f'#!/bin/bash\necho $$ >{seen}/pid\nprintf \'%s\\n\' "$0" "$@" >{seen}/arguments\n'
        f"/usr/bin/env >{seen}/environment\npwd >{seen}/folder\n"
        f"stat -c %n -- /proc/self/fd/* 2>/dev/null | sed 's/.*[/]//' >{seen}/descriptors\n{body}\n"
    )
    path.chmod(0o755)


def seen(vm: Vm, name: str) -> list[str]:
    return (vm.root.parent / name).read_text().splitlines()


def register(vm: Vm) -> None:
    folder = vm.run_dir / "registration"
    folder.mkdir(mode=0o700)
    for name in FILES:
        (folder / name).write_text(SECRET)


@pytest.fixture
def ready(vm: Vm) -> Vm:
    """A VM that is installed and registered."""
    give_listener(vm, "exit 0")
    (vm.runner_dir / ".env").write_text("LANG=C.UTF-8\n")
    register(vm)
    return vm


def no_new_privs(vm: Vm) -> bool:
    (call,) = vm.record("setpriv")
    return "--no-new-privs" in call.split()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


def test_the_process_that_was_started_is_the_listener(ready: Vm) -> None:
    process = ready.start("bin/run")
    process.communicate(timeout=20)
    assert seen(ready, "pid") == [str(process.pid)]
    pid, since = (ready.run_dir / "listener").read_text().split()
    assert int(pid) == process.pid
    assert 0 <= float(Path("/proc/uptime").read_text().split()[0]) - int(since) < 30
    assert seen(ready, "folder") == [str(ready.runner_dir)]


def test_the_listener_runs_as_the_job_user_and_gains_no_privileges(ready: Vm) -> None:
    assert ready.run("bin/run").status == 0
    (call,) = ready.record("setpriv")
    assert call.startswith("--reuid=runner --regid=runner --init-groups --no-new-privs env -i ")


def test_only_passwordless_root_lets_a_job_gain_privileges(ready: Vm) -> None:
    ready.set_attributes({"passwordless-root": "true"})
    assert ready.run("bin/run").status == 0
    assert not no_new_privs(ready)


@pytest.mark.parametrize("value", ["", "True", "true true"])
def test_whatever_is_not_true_is_no_passwordless_root(ready: Vm, value: str) -> None:
    ready.set_attributes({"passwordless-root": value})
    assert ready.run("bin/run").status == 0
    assert no_new_privs(ready)


def test_nothing_secret_is_in_the_listeners_arguments_and_environment(ready: Vm) -> None:
    outcome = ready.run("bin/run", INVOCATION_ID="x", A_TOKEN="of-the-caller", BASH_FUNC="y", LD_PRELOAD="")
    assert seen(ready, "arguments") == [str(ready.runner_dir / "bin/Runner.Listener"), "run"]
    environment = dict(line.split("=", 1) for line in seen(ready, "environment"))
    assert environment.keys() - {"PWD", "SHLVL", "_", "OLDPWD"} == {
        *("HOME", "USER", "LOGNAME", "SHELL", "LANG", "PATH"),
        "ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE",
    }
    assert (environment["HOME"], environment["USER"]) == (f"{ready.root}/home/runner", "runner")
    texts = [*outcome.log, outcome.out, *ready.record("setpriv"), *seen(ready, "environment")]
    assert SECRET not in "\n".join(texts)
    traced = {"10", "11"} if os.environ.get("RUNNER_FLEET_TRACE") else set[str]()  # where bash's trace goes
    assert set(seen(ready, "descriptors")) <= {"0", "1", "2", "3", "255"} | traced, "ls itself and bash's own script"


def test_the_registration_is_moved_for_the_job_user_alone_and_env_stays(ready: Vm) -> None:
    assert ready.run("bin/run").status == 0
    for name in FILES:
        path = ready.runner_dir / name
        assert (path.read_text(), path.stat().st_mode & 0o777) == (SECRET, 0o600)
        assert f"runner:runner {ready.run_dir}/registration/{name}" in ready.record("chown")
    assert not (ready.run_dir / "registration").exists()
    assert (ready.runner_dir / ".env").read_text() == "LANG=C.UTF-8\n"
    assert {path.name for path in ready.run_dir.iterdir()} == {"attributes", "gate", "listener"}


def test_a_link_that_lies_in_the_way_is_replaced_and_not_followed(ready: Vm, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("whole")
    (ready.runner_dir / ".credentials").symlink_to(tmp_path / "victim")
    assert ready.run("bin/run").status == 0
    assert (tmp_path / "victim").read_text() == "whole"
    assert (ready.runner_dir / ".credentials").read_text() == SECRET


@pytest.mark.parametrize("status", [0, 1, 2, 5, 7])
def test_the_listeners_exit_status_is_the_units(ready: Vm, status: int) -> None:
    give_listener(ready, f"exit {status}")
    assert ready.run("bin/run").status == status


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_a_signal_to_the_main_process_reaches_the_listener_itself(ready: Vm, name: str) -> None:
    ready_file = ready.root.parent / "ready"
    give_listener(ready, f"trap 'echo got {name}; exit 3' {name}\necho yes >{ready_file}\nread -rt 60 <> <(:)")
    process = ready.start("bin/run")
    wait_for(ready_file)
    process.send_signal(signal.Signals[f"SIG{name}"])  # to this one process, as KillMode=mixed does
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (3, f"got {name}\n")


def test_without_a_registration_nothing_listens(ready: Vm) -> None:
    subprocess.run(["rm", "-r", ready.run_dir / "registration"], check=True)
    assert ready.run("bin/run").status == 35
    assert "runner-register.service" in ready.failure()
    assert not (ready.run_dir / "listener").exists()
    assert ready.record("setpriv") == []


@pytest.mark.parametrize("gate", ["deadline", "ended"])
def test_after_the_boot_was_given_up_nothing_listens(ready: Vm, gate: str) -> None:
    (ready.run_dir / "gate").write_text(f"{gate}\n")
    assert ready.run("bin/run").status == 36
    assert ready.failure() == f"run: this boot has been given up ({gate})"
    assert not (ready.run_dir / "listener").exists()
    assert ready.record("setpriv") == []


def test_a_second_run_does_not_listen_again(ready: Vm) -> None:
    assert ready.run("bin/run").status == 0
    assert ready.run("bin/run").status == 35


def test_a_move_that_was_cut_off_is_completed(ready: Vm) -> None:
    (ready.run_dir / "registration/.credentials").rename(ready.runner_dir / ".credentials")
    assert ready.run("bin/run").status == 0
    assert all((ready.runner_dir / name).exists() for name in FILES)


def test_a_metadata_server_that_is_gone_lets_nothing_listen(ready: Vm) -> None:
    ready.environment["GCE_METADATA_HOST"] = "127.0.0.1:9"
    assert ready.run("bin/run").status == 45
    assert ready.record("setpriv") == []
    assert not (ready.run_dir / "gate").exists()


def test_the_listeners_start_and_the_boot_deadline_exclude_each_other(ready: Vm) -> None:
    """At once, again and again: never both, never neither."""
    ready.fake("poweroff", "")
    ready.set_attributes({"boot-deadline-seconds": "1"})
    ready.run("bin/report-end", "boot-failed:nothing")  # so that what is measured is the race alone
    winners: list[str] = []
    for _ in range(6):
        (ready.root.parent / "pid").unlink(missing_ok=True)
        for name in ("gate", "listener"):
            (ready.run_dir / name).unlink(missing_ok=True)
        if not (ready.run_dir / "registration").exists():
            register(ready)
        deleted = len(ready.record("systemctl"))
        processes = [ready.start(script) for script in ("bin/run", "bin/watch-boot")]
        run, _ = [(process.communicate(timeout=30), process.returncode)[1] for process in processes]
        listened, ended = (ready.root.parent / "pid").exists(), len(ready.record("systemctl")) > deleted
        assert listened != ended
        assert run == (0 if listened else 36)
        winners.append((ready.run_dir / "gate").read_text())
    assert set(winners) <= {"listening\n", "deadline\n"}
