"""The bootstrap, run: by bash, with the real curl and tar, against a cloud on loopback that fails on demand."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from pathlib import Path

import pytest

from emulators.cloud import TOKEN, Reply
from startup.bundle import Bundle, build
from tests.startup.machine import Machine, outcome

STARTED = ["daemon-reload", "start --no-block runner.target"]


def pack(folder: Path, **more: str) -> Bundle:
    """A bundle with a target, a program and whatever `more` says; `__` in a keyword stands for a slash."""
    files = {"bin/serve": "#!/bin/bash\n", "units/runner.target": "[Unit]\n"}
    files |= {name.replace("__", "/"): text for name, text in more.items()}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name.startswith("bin/") else 0o644)
    return build(folder)


@pytest.fixture
def bundle(tmp_path: Path, machine: Machine) -> Bundle:
    bundle = pack(tmp_path / "startup", lib__data="x" * 100_000)
    machine.publish(bundle)
    return bundle


def assert_installed(machine: Machine, bundle: Bundle) -> None:
    """The one right end state, whatever came before."""
    directory = machine.directory(bundle)
    assert build(directory) == bundle, "every file is there with its content and mode"
    assert (machine.base / "current").readlink() == Path(bundle.sha256)
    units = {path.name: path.read_bytes() for path in machine.units.iterdir()}
    assert units == {path.name: path.read_bytes() for path in (directory / "units").iterdir()}
    assert machine.leftovers() == []
    assert machine.systemctl_calls[-2:] == STARTED


def assert_nothing_installed(machine: Machine, bundle: Bundle) -> None:
    assert not machine.directory(bundle).exists()
    assert not os.path.lexists(machine.base / "current")
    assert list(machine.units.iterdir()) == []
    assert machine.leftovers() == []
    assert machine.systemctl_calls == []


def test_a_first_boot_installs_the_bundle_and_starts_the_target(machine: Machine, bundle: Bundle) -> None:
    boot = machine.boot(bundle)
    assert (boot.status, boot.out, boot.log) == (0, "", [f"bootstrap: start: {bundle.digest}"])
    assert_installed(machine, bundle)
    assert machine.systemctl_calls == STARTED
    assert len(machine.cloud.asked("object")) == 1
    assert machine.pauses_seconds == []


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_nobody_but_the_owner_can_write_and_everybody_can_read(machine: Machine, bundle: Bundle, umask: int) -> None:
    assert machine.boot(bundle, umask=umask).status == 0
    installed = [machine.base, *machine.base.rglob("*"), *machine.units.iterdir()]
    for path in (path for path in installed if not path.is_symlink()):
        mode = path.stat().st_mode
        assert mode & 0o022 == 0, f"{path} can be written by others"
        assert mode & 0o044 == 0o044, f"{path} cannot be read by a runner"
        if os.geteuid() == 0:
            assert (path.stat().st_uid, path.stat().st_gid) == (0, 0)


def test_a_unit_with_an_install_section_is_enabled_and_no_other(machine: Machine, tmp_path: Path) -> None:
    texts = {"units/runner-job.service": "[Service]\n[Install]\nWantedBy=runner.target\n"}
    texts["units/runner-plain.service"] = "# [Install] is only mentioned\n[Service]\n"
    bundle = pack(tmp_path / "startup", **texts)
    machine.publish(bundle)
    assert machine.boot(bundle).status == 0
    assert_installed(machine, bundle)
    assert machine.systemctl_calls == ["enable --no-reload runner-job.service", *STARTED]


def test_a_second_run_downloads_nothing(machine: Machine, bundle: Bundle) -> None:
    machine.boot(bundle)
    asked = len(machine.cloud.requests)
    assert machine.boot(bundle).status == 0
    assert len(machine.cloud.requests) == asked, "not even a token was asked for"
    assert_installed(machine, bundle)
    assert machine.systemctl_calls == [*STARTED, *STARTED]


@pytest.mark.parametrize("damage", ["truncated", "missing", "no manifest", "empty manifest"])
def test_a_bundle_that_is_not_whole_is_fetched_again(machine: Machine, bundle: Bundle, damage: str) -> None:
    machine.boot(bundle)
    directory = machine.directory(bundle)
    match damage:
        case "truncated":
            (directory / "lib/data").write_bytes(b"")
        case "missing":
            (directory / "bin/serve").unlink()
        case "no manifest":
            (directory / ".manifest").unlink()
        case _:
            (directory / ".manifest").write_bytes(b"")
    assert machine.boot(bundle).status == 0
    assert len(machine.cloud.asked("object")) == 2
    assert_installed(machine, bundle)


def test_leftovers_of_a_half_finished_run_are_cleared_away(machine: Machine, bundle: Bundle) -> None:
    leftover = machine.base / ".work/tree/bin"
    leftover.mkdir(parents=True)
    (leftover / "stale").touch()
    (machine.base / ".work/bundle.tar").write_bytes(b"half")
    (machine.base / ".work/current").symlink_to("nowhere")
    (machine.directory(bundle) / "bin").mkdir(parents=True)
    (machine.directory(bundle) / "bin/stale").touch()
    assert machine.boot(bundle).status == 0
    assert_installed(machine, bundle)


def test_an_image_captured_from_a_runner_ends_with_its_own_bundle(machine: Machine, tmp_path: Path) -> None:
    old = pack(tmp_path / "old", **{"units/runner-old.service": "[Service]\n[Install]\n"})
    new = pack(tmp_path / "new", **{"units/runner-new.service": "[Service]\n", "lib/new": "new"})
    machine.publish(old)
    machine.publish(new)
    machine.boot(old)
    wants = machine.units / "runner.target.wants"
    wants.mkdir()
    (wants / "runner-old.service").symlink_to("../runner-old.service")
    assert machine.boot(new).status == 0
    assert_installed(machine, new)
    assert build(machine.directory(old)) == old, "an older bundle is left as it is"


def test_units_of_others_are_not_touched(machine: Machine, bundle: Bundle) -> None:
    others = ["docker.service", "runnerd.service", "actions.runner.service"]
    for name in others:
        (machine.units / name).write_text("theirs")
    assert machine.boot(bundle).status == 0
    assert all((machine.units / name).read_text() == "theirs" for name in others)


@pytest.mark.parametrize("current", ["dangling", "older"])
def test_a_stale_current_link_is_replaced_and_not_followed(machine: Machine, bundle: Bundle, current: str) -> None:
    machine.base.mkdir(parents=True)
    (machine.base / "current").symlink_to(current)
    if current == "older":
        (machine.base / current).mkdir()
    assert machine.boot(bundle).status == 0
    assert (machine.base / "current").readlink() == Path(bundle.sha256)
    assert not (machine.base / "older" / "current").is_symlink()


FAILURES = {
    "a server error": Reply(status=500, body=b"error"),
    "a refusal": Reply(status=403, body=b"forbidden"),
    "an empty body": Reply(),
    "a truncated body": Reply(body=b"half of it", promised=1000),
    "wrong bytes": Reply(body=b"something else"),
    "a redirect": Reply(status=302, location="/elsewhere"),
}


@pytest.mark.parametrize("reply", FAILURES.values(), ids=FAILURES)
def test_a_download_that_fails_is_tried_again(machine: Machine, bundle: Bundle, reply: Reply) -> None:
    machine.cloud.replies["object"].extend([reply, reply])
    boot = machine.boot(bundle)
    assert boot.status == 0
    assert_installed(machine, bundle)
    assert len(machine.pauses_seconds) == 2
    assert [line.rpartition("; ")[2] for line in boot.log[:-1]] == [
        f"next try in {s} s" for s in machine.pauses_seconds
    ]


@pytest.mark.parametrize("reply", FAILURES.values(), ids=FAILURES)
def test_a_token_that_fails_is_tried_again(machine: Machine, bundle: Bundle, reply: Reply) -> None:
    machine.cloud.replies["token"].extend([reply, reply])
    assert machine.boot(bundle).status == 0
    assert_installed(machine, bundle)
    assert len(machine.cloud.asked("object")) == 1, "without a token nothing is downloaded"


LASTING = {
    "token: server error": ("token", Reply(status=500), 10, "curl: (22) "),
    "token: refused": ("token", Reply(status=403), 10, "curl: (22) "),
    "token: empty": ("token", Reply(), 10, "no access_token in the reply"),
    "token: hostile": ("token", Reply(body=b'{"access_token":"a\\nb"}'), 10, "no access_token in the reply"),
    "download: server error": ("object", Reply(status=500), 11, "curl: (22) "),
    "download: refused": ("object", Reply(status=403), 11, "curl: (22) "),
    "download: truncated": ("object", Reply(body=b"half", promised=1000), 11, "curl: (18) "),
    "digest: empty": ("object", Reply(), 12, "the object is sha256:e3b0c44298fc1c14"),
    "digest: wrong": ("object", Reply(body=b"something else"), 12, "the object is sha256:"),
    "digest: redirect": ("object", Reply(status=302, location="/elsewhere"), 12, "the object is sha256:e3b0c44298"),
}


@pytest.mark.parametrize(("service", "reply", "status", "reason"), LASTING.values(), ids=LASTING)
def test_a_lasting_failure_ends_in_its_exit_code_and_one_reason(
    machine: Machine,
    bundle: Bundle,
    request: pytest.FixtureRequest,
    service: str,
    reply: Reply,
    status: int,
    reason: str,
) -> None:
    replies = machine.cloud.replies["token"] if service == "token" else machine.cloud.replies["object"]
    replies.extend([reply] * 100)
    boot = machine.boot(bundle, boot_deadline_seconds=20)
    step = request.node.callspec.id.partition(":")[0]
    assert boot.status == status
    assert boot.log[-1].startswith(f"bootstrap: {step}: {reason}")
    assert all("; next try in " in line for line in boot.log[:-1])
    assert_nothing_installed(machine, bundle)


@pytest.mark.parametrize(
    ("variable", "status"), [("GCE_METADATA_HOST", 10), ("STORAGE_EMULATOR_HOST", 11)], ids=["token", "download"]
)
def test_a_refused_connection_is_a_failure_like_any_other(
    machine: Machine, bundle: Bundle, variable: str, status: int
) -> None:
    with socket.socket() as nobody:  # bound but not listening, so nobody else can take the port
        nobody.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{nobody.getsockname()[1]}"
        machine.environment[variable] = host if status == 10 else f"http://{host}"
        boot = machine.boot(bundle, boot_deadline_seconds=20)
    assert boot.status == status
    assert "curl: (7) " in boot.log[-1]
    assert_nothing_installed(machine, bundle)


@pytest.mark.parametrize(("service", "status"), [("token", 10), ("object", 11)])
def test_a_hanging_connection_is_given_up_within_the_budget(
    machine: Machine, bundle: Bundle, service: str, status: int
) -> None:
    replies = machine.cloud.replies["token"] if service == "token" else machine.cloud.replies["object"]
    replies.extend([Reply(hangs=True)] * 10)
    boot = machine.boot(bundle, boot_deadline_seconds=2)
    assert boot.status == status
    assert "curl: (28) " in boot.log[-1]
    assert len(boot.log) == 1, "the budget of one second allows no second try"
    assert_nothing_installed(machine, bundle)


def test_no_request_may_take_longer_than_what_is_left(machine: Machine, bundle: Bundle) -> None:
    machine.cloud.replies["object"].extend([Reply(status=500)] * 100)
    machine.boot(bundle, boot_deadline_seconds=60)
    calls = [line.split() for line in machine.curl_record.splitlines() if line.startswith("-q ")]
    longest = [int(call[call.index("--max-time") + 1]) for call in calls]
    assert longest[:2] == [5, 30]
    left, limits = 30, list(zip(longest[::2], longest[1::2], strict=True))
    for (token, download), pause in zip(limits, [*machine.pauses_seconds, 0], strict=True):
        assert token <= min(5, left)
        assert download <= min(30, left)
        left -= pause
    assert all("--connect-timeout" in call for call in calls)


def test_pauses_grow_with_jitter_and_stay_within_the_budget(machine: Machine, bundle: Bundle) -> None:
    machine.cloud.replies["object"].extend([Reply(status=503)] * 1000)
    assert machine.boot(bundle, boot_deadline_seconds=1200).status == 11
    pauses = machine.pauses_seconds
    steps = [min(2**index, 32) for index in range(len(pauses))]
    assert all(step <= pause <= 2 * step for step, pause in zip(steps, pauses, strict=True))
    assert pauses != steps, "without jitter a fleet that boots together retries together"
    assert sum(pauses) < 600, "half of the boot deadline"
    assert sum(pauses) > 400, "and most of it is used"
    assert len(machine.cloud.asked("object")) == len(pauses) + 1


def test_a_wrong_digest_is_never_unpacked(machine: Machine, bundle: Bundle, tmp_path: Path) -> None:
    evil = pack(tmp_path / "evil", bin__serve="#!/bin/bash\nevil\n")
    machine.cloud.replies["object"].extend([Reply(body=evil.data)] * 100)
    machine.break_command("tar", "tar was called")
    boot = machine.boot(bundle, boot_deadline_seconds=20)
    assert boot.status == 12
    assert boot.log[-1] == f"bootstrap: digest: the object is {evil.digest}"
    assert_nothing_installed(machine, bundle)


def test_the_token_is_in_no_argument_environment_output_or_file(machine: Machine, bundle: Bundle) -> None:
    machine.cloud.replies["object"].append(Reply(status=500))
    boot = machine.boot(bundle)
    assert boot.status == 0
    assert machine.cloud.asked("object")[-1].headers["Authorization"] == f"Bearer {TOKEN}", "it did go to the bucket"
    assert TOKEN not in machine.curl_record
    assert TOKEN not in boot.out + "\n".join(boot.log)
    files = [path for path in machine.root.rglob("*") if path.is_file()]
    assert files
    assert not any(TOKEN.encode() in path.read_bytes() for path in files)


def test_the_token_is_not_written_to_disk_even_for_a_moment(machine: Machine, bundle: Bundle) -> None:
    machine.cloud.replies["object"].append(Reply(hangs=True))
    process = machine.start(bundle)
    assert machine.cloud.hanging.wait(30)
    files = [path for path in machine.root.rglob("*") if path.is_file()]
    assert files
    assert not any(TOKEN.encode() in path.read_bytes() for path in files)
    assert (machine.base / ".work").stat().st_mode & 0o077 == 0, "what is not checked yet is nobody else's"
    process.terminate()
    outcome(process)


def test_a_redirect_takes_the_token_nowhere(machine: Machine, bundle: Bundle) -> None:
    machine.cloud.replies["object"].append(Reply(status=302, location="/elsewhere"))
    machine.boot(bundle)
    assert not any(request.path == "/elsewhere" for request in machine.cloud.requests)


@pytest.mark.parametrize(
    ("command", "step", "status"), [("tar", "unpack", 13), ("cp", "start", 14), ("systemctl", "start", 14)]
)
def test_a_local_failure_ends_in_its_exit_code_and_its_own_words(
    machine: Machine, bundle: Bundle, command: str, step: str, status: int
) -> None:
    machine.break_command(command, f"{command}: broken")
    boot = machine.boot(bundle)
    assert (boot.status, boot.log) == (status, [f"bootstrap: {step}: {command}: broken"])
    assert machine.leftovers() == []
    assert machine.systemctl_calls == []


def test_a_second_run_at_the_same_time_leaves_the_first_alone(machine: Machine, bundle: Bundle) -> None:
    machine.base.mkdir(parents=True)
    (machine.base / ".work").mkdir()
    with (machine.base / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        boot = machine.boot(bundle)
    assert boot.status == 13
    assert boot.log == [f"bootstrap: prepare: cannot lock {machine.base}; is another run under way?"]
    assert (machine.base / ".work").is_dir(), "the other run's work is still there"
    assert machine.cloud.requests == []


@pytest.mark.parametrize("service", ["token", "object"])
def test_term_during_a_request_stops_at_once_and_leaves_nothing(machine: Machine, bundle: Bundle, service: str) -> None:
    replies = machine.cloud.replies["token"] if service == "token" else machine.cloud.replies["object"]
    replies.append(Reply(hangs=True))
    process = machine.start(bundle)
    assert machine.cloud.hanging.wait(30)
    process.terminate()
    boot = outcome(process, timeout_seconds=4)  # curl alone would go on for 5 and 30 seconds
    if service == "object":
        assert machine.cloud.hung_up.wait(10), "no orphan goes on downloading"
    assert boot.status == -signal.SIGTERM
    assert boot.log[-1] == f"bootstrap: {'token' if service == 'token' else 'download'}: interrupted"
    assert_nothing_installed(machine, bundle)
    assert machine.boot(bundle).status == 0
    assert_installed(machine, bundle)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["term", "power-cut"])
@pytest.mark.parametrize("command", ["mkdir", "flock", "sha256sum", "tar", "find", "mv", "ln", "rm", "cp", "grep"])
def test_a_run_cut_off_anywhere_is_completed_by_the_next(
    machine: Machine, bundle: Bundle, command: str, how: signal.Signals, *, after: bool
) -> None:
    machine.cut_off_at(command, how, after=after)
    assert machine.boot(bundle).status != 0
    directory = machine.directory(bundle)
    assert not directory.exists() or build(directory) == bundle, "whole or not at all"
    assert machine.systemctl_calls == [], "what is not whole is not started"
    machine.repair(command)
    assert machine.boot(bundle).status == 0
    assert_installed(machine, bundle)
