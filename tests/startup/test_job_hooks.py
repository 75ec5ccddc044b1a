"""The job hooks under bash, in a process tree like GitHub's: listener, worker, hook."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from fleet.job_policy import job_policy
from fleet.schema.trust_level import TrustSettings
from tests.startup import fake_worker
from tests.startup.vm import Vm, group_alive

SECRETS = {
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "id-token-that-must-not-leak",
    "ACTIONS_RUNTIME_TOKEN": "runtime-token-that-must-not-leak",
    "GITHUB_TOKEN": "github-token-that-must-not-leak",
}
PATIENCE_SECONDS = 20
HOSTILE = (
    "$(touch pwned)",
    "`touch pwned`",
    "a\nb\r::error::c",
    '"};touch pwned;{"',
    "*",
    "'",
    "##[error]x",
    "\x1b[2J",
)


class Runner:
    """One listener with one job; nothing runs before `start`."""

    def __init__(self, vm: Vm, folder: Path) -> None:
        self.vm = vm
        self.folder = folder
        self.background: list[str] = []
        self.hook = vm.bundle.parent / "current/hooks/job-started.sh"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        vm.job_dir.mkdir(exist_ok=True)
        self.work = vm.runner_dir / "_work"
        for part in ("_actions/actions/checkout/v4", "_temp/_github_workflow", "iree"):
            (self.work / part).mkdir(parents=True, exist_ok=True)
            (self.work / part / "file").write_text("x")
        self.event_path = self.work / "_temp/_github_workflow/event.json"
        self.payload: object = {"repository": {"full_name": "iree-org/iree"}}
        self.facts = {
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_EVENT_PATH": str(self.event_path),
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_REPOSITORY": "iree-org/iree",
            "GITHUB_WORKFLOW_REF": "iree-org/iree/.github/workflows/ci.yml@refs/heads/main",
            "GITHUB_ACTOR": "octocat",
            "GITHUB_RUN_ID": "1700000000",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_JOB": "build",
        }
        self.edit("hooks/job-started.sh", "LOG_SECONDS=0.6", "LOG_SECONDS=0.02")

    def edit(self, file: str, old: str, new: str) -> None:
        """Change this VM's copy of a file."""
        path = self.vm.bundle / file
        text = path.read_text()
        if old != "LOG_SECONDS=0.6" or old in text:
            assert old in text
            path.write_text(text.replace(old, new))

    def hang(self) -> None:
        """Let the decider stay at its work; `deciding` tells when it is there."""
        mark = self.folder / "deciding"
        self.edit(
            "lib/job_policy.py",
            "    try:\n        _decide",
            f"    import time\n    open({str(mark)!r}, 'w').close()\n    time.sleep(300)\n    try:\n        _decide",
        )

    def start(self) -> None:
        if isinstance(self.payload, bytes):
            self.event_path.write_bytes(self.payload)
        elif self.payload is not None:
            self.event_path.write_text(json.dumps(self.payload))
        fakes = self.folder / "fakes"
        fakes.mkdir()
        for name in ("python3", "env", "timeout", "find", "mv"):
            (fakes / name).write_text("#!/bin/bash\necho allowed\necho '{}'\n")
            (fakes / name).chmod(0o755)
        environment = self.vm._environment() | SECRETS | self.facts
        environment["PATH"] = f"{fakes}:{environment['PATH']}"
        plan = {"hook": str(self.hook), "environment": environment, "background": self.background}
        (self.folder / "plan.json").write_text(json.dumps(plan))
        self._process = subprocess.Popen(
            [fake_worker.install(self.folder)],
            env=self.vm._environment() | {"TREE_MARK": str(self.folder)},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def end(self) -> None:
        """Wait until the listener has reported and gone, and see that it left nothing running."""
        assert self._process
        assert self._process.wait(PATIENCE_SECONDS) == 0, "the listener itself is left alone"
        wait_until(lambda: not group_alive(self.pid) and not self.marked(), "a process of the job is left")

    def run(self) -> None:
        self.start()
        self.end()

    def stop(self) -> None:
        """Nothing of this test stays, however it ended."""
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            for pid in self.marked():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def marked(self) -> list[int]:
        """Living processes below this listener that kept its environment, whatever their group and parent."""
        mark = f"TREE_MARK={self.folder}".encode()
        return [pid for pid, environ in _read_all("environ") if mark in environ.split(b"\0")]

    def process(self, *words: str) -> int:
        """The one living process of this job whose command line has these words."""
        here = str(self.vm.bundle.parent)
        found = [
            pid
            for pid, line in _read_all("cmdline")
            if here.encode() in line and all(word.encode() in line for word in words)
        ]
        assert len(found) == 1, (words, found)
        return found[0]

    def shell(self) -> int:
        return self.process("bash", "-e", "job-started.sh")

    def decider(self) -> int:
        return self.process("job_hook.py", "--shell-pid")

    def wait_for(self, mark: str) -> None:
        wait_until((self.folder / mark).exists, f"{mark} was never there")

    @property
    def log(self) -> str:
        path = self.folder / "job.log"
        return path.read_text() if path.exists() else ""

    @property
    def reported(self) -> dict:
        return json.loads((self.folder / "reported.json").read_text())

    def record(self, name: str) -> dict:
        return json.loads((self.vm.job_dir / f"{name}.json").read_text())

    def assert_ran(self) -> None:
        assert (self.folder / "step").exists(), self.log
        assert self.reported["status"] == 100
        assert not (self.vm.job_dir / "refused.json").exists()
        self._assert_clean()

    def assert_refused(self, reason: str) -> None:
        assert not (self.folder / "step").exists()
        assert not (self.folder / "always").exists(), self.log
        assert self.reported["status"] == -signal.SIGKILL
        assert reason in self.record("refused")["reason"]
        assert not (self.vm.job_dir / "started.json").exists()
        assert not any((self.work / "_actions").iterdir())
        assert not any((self.work / "_temp").iterdir())
        assert (self.work / "iree/file").exists()
        self._assert_clean()

    def _assert_clean(self) -> None:
        assert not list(self.folder.glob("pwned"))
        names = {path.name for path in self.vm.job_dir.iterdir()}
        assert names <= {"started.json", "refused.json", "completed.json"}
        written = self.log + json.dumps(self.reported) + "".join(p.read_text() for p in self.vm.job_dir.iterdir())
        assert not [secret for secret in SECRETS.values() if secret in written]


def _read_all(name: str) -> Iterator[tuple[int, bytes]]:
    for path in Path("/proc").glob(f"[0-9]*/{name}"):
        with suppress(OSError):
            state = path.with_name("stat").read_text().rpartition(")")[2].split()[0]
            if state not in "ZX":
                yield int(path.parent.name), path.read_bytes()


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < until, otherwise
        time.sleep(0.01)


@pytest.fixture
def level(vm: Vm, prod_files) -> Callable[[str], None]:
    """Gives the VM the policy of a trust level of prod."""

    def give(name: str, **changes: object) -> None:
        settings = TrustSettings.model_validate(prod_files.sections["trust_levels"][name] | changes)
        policy = job_policy(name, settings, prod_files.sections["github"]["organization"])
        (vm.run_dir / "policy.json").write_text(policy.text())

    return give


@pytest.fixture
def runner(vm: Vm, tmp_path: Path, level) -> Iterator[Runner]:
    """A push to main, on a VM of merged code."""
    level("basic")
    runner = Runner(vm, tmp_path / "runner")
    yield runner
    runner.stop()


def pull_request(runner: Runner, *, head: str | None = "iree-org/iree", association: str = "MEMBER") -> None:
    runner.facts |= {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_REF": "refs/pull/7/merge"}
    runner.payload = {
        "repository": {"full_name": "iree-org/iree"},
        "pull_request": {
            "author_association": association,
            "head": {"repo": {"full_name": head} if head else None},
            "base": {"repo": {"full_name": "iree-org/iree"}},
        },
    }


def test_a_job_that_the_policy_allows_runs_and_is_recorded(runner):
    runner.run()
    runner.assert_ran()
    started = runner.record("started")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", started.pop("time"))
    assert started == {
        "event": "push",
        "repository": "iree-org/iree",
        "ref": "refs/heads/main",
        "run_id": "1700000000",
        "attempt": "1",
        "job": "build",
        "workflow": "iree-org/iree/.github/workflows/ci.yml@refs/heads/main",
        "actor": "octocat",
    }
    assert f"job-started: {json.dumps(runner.record('started'))}" in runner.log.splitlines()
    assert (runner.work / "_actions/actions/checkout/v4/file").exists()


@pytest.mark.parametrize("event", ["push", "schedule", "pull_request"])
def test_presubmit_runs_anybodys_code(runner, level, event):
    level("minimal")
    if event == "pull_request":
        pull_request(runner, head="stranger/iree", association="NONE")
    runner.facts["GITHUB_EVENT_NAME"] = event
    runner.run()
    runner.assert_ran()


def test_a_refused_event_never_reaches_a_step_with_always(runner):
    pull_request(runner)
    runner.run()
    runner.assert_refused("event: pull_request is not allowed here; allowed: deployment, ")
    refused = runner.record("refused")
    assert (refused["event"], refused["ref"], refused["run_id"]) == ("pull_request", "refs/pull/7/merge", "1700000000")


def test_the_author_is_told_in_the_log_and_as_an_annotation(runner):
    pull_request(runner)
    runner.run()
    assert "This runner does not run the job. event: pull_request is not allowed here" in runner.log
    assert "use a runner label whose trust level allows this" in runner.log
    assert runner.reported["annotation"].startswith("This runner does not run the job. event: pull_request")


def test_a_refused_job_loses_its_whole_process_tree(runner):
    pull_request(runner)
    runner.background = [
        "sleep 300 & sleep 301",
        "setsid bash -c 'sleep 300 & wait'",
        "trap '' TERM INT HUP; while :; do sleep 300 & sleep 0.02; done",
    ]
    runner.run()
    runner.assert_refused("event")


@pytest.mark.parametrize(
    ("association", "head", "reason"),
    [
        ("NONE", "iree-org/iree", "author of the pull_request, to the repository: NONE is not allowed here"),
        ("MEMBER", "stranger/iree", "the change comes from the fork stranger/iree"),
        ("MEMBER", None, "the change comes from a repository that is gone or not told"),
        ("MEMBER", "iree-org/IREE", ""),
    ],
)
def test_a_level_that_takes_pull_requests_looks_at_their_origin_and_author(runner, level, association, head, reason):
    allowed = {"allowed_events": ["pull_request"], "allowed_refs": ["refs/pull/*"], "workflows": []}
    level("basic", **allowed, actor_associations=["MEMBER", "OWNER"])
    pull_request(runner, head=head, association=association)
    runner.run()
    runner.assert_refused(reason) if reason else runner.assert_ran()


@pytest.mark.parametrize(
    ("fact", "value", "reason"),
    [
        ("GITHUB_REF", "refs/heads/feature", "ref: refs/heads/feature is not allowed here; allowed: refs/heads/main"),
        ("GITHUB_EVENT_NAME", None, "GitHub did not tell the event"),
        ("GITHUB_REF", "x" * 131_000, "the ref is longer than 4096 characters"),
    ],
)
def test_a_fact_that_is_wrong_or_missing_refuses_the_job(runner, fact, value, reason):
    runner.facts.pop(fact)
    if value is not None:
        runner.facts[fact] = value
    runner.run()
    runner.assert_refused(reason)
    assert max(map(len, runner.log.splitlines())) < 2000


def test_hostile_text_is_never_run_and_never_breaks_a_line(runner):
    everything = "".join(HOSTILE)
    for name in ("GITHUB_ACTOR", "GITHUB_JOB", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT"):
        runner.facts[name] = everything
    runner.run()
    runner.assert_ran()
    assert not re.search(r"[^\x20-\x7e\n]|##\[", runner.log)
    assert not [line for line in runner.log.splitlines() if line.lstrip().startswith("::")]


def test_hostile_text_where_it_decides_is_refused_in_short_lines(runner):
    runner.facts["GITHUB_REF"] += "".join(HOSTILE)
    runner.run()
    runner.assert_refused("git knows no such ref: refs/heads/main")
    assert not re.search(r"[^\x20-\x7e\n]|##\[", runner.log + runner.reported["annotation"])


def test_a_large_payload_is_read(runner):
    runner.payload = {"commits": ["x" * 1000] * 10_000}
    runner.run()
    runner.assert_ran()


def test_a_payload_larger_than_github_sends_is_refused(runner):
    runner.payload = b'{"a": "' + b"x" * 26_214_400 + b'"}'
    runner.run()
    runner.assert_refused("the event's payload is larger than 26214400 bytes")


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_a_payload_that_is_no_regular_file_is_refused_and_does_not_hang(runner, kind):
    runner.payload = None
    if kind == "device":
        runner.facts["GITHUB_EVENT_PATH"] = "/dev/zero"
    else:
        os.mkfifo(runner.event_path)
    runner.run()
    runner.assert_refused("the event's payload is no regular file")


def test_without_a_policy_no_job_runs(runner):
    (runner.vm.run_dir / "policy.json").unlink()
    runner.run()
    runner.assert_refused("the job policy cannot be read")


@pytest.mark.parametrize(
    "signals",
    [
        [("shell", signal.SIGKILL)],
        [("shell", signal.SIGTERM)],
        [("shell", signal.SIGINT)],
        [("decider", signal.SIGKILL)],
        [("decider", signal.SIGTERM)],
        [("shell", signal.SIGKILL), ("decider", signal.SIGTERM)],
        [("decider", signal.SIGKILL), ("shell", signal.SIGTERM)],
        [("decider", signal.SIGTERM), ("shell", signal.SIGKILL)],
        [("shell", signal.SIGTERM), ("decider", signal.SIGKILL)],
    ],
    ids=str,
)
def test_a_hook_that_is_killed_half_way_still_ends_the_job(runner, signals: Sequence[tuple[str, signal.Signals]]):
    runner.hang()
    runner.start()
    runner.wait_for("deciding")
    pids = {"shell": runner.shell(), "decider": runner.decider()}
    for name, number in signals:
        with suppress(ProcessLookupError):
            os.kill(pids[name], number)
    runner.end()
    runner.assert_refused("the hook ")


def test_a_shell_killed_while_it_refuses_is_followed_by_the_decider(runner):
    runner.edit("hooks/job-started.sh", "LOG_SECONDS=0.02", "LOG_SECONDS=30")
    pull_request(runner)
    runner.start()
    wait_until(lambda: "the runner ends here" in runner.log, "nothing was said")
    os.kill(runner.shell(), signal.SIGKILL)
    runner.wait_for("reported.json")
    for pid, line in _read_all("cmdline"):  # the pause that the killed shell left behind
        if line == b"sleep\x0030\x00" and group_of(pid) == runner.pid:
            os.kill(pid, signal.SIGKILL)
    runner.end()
    runner.assert_refused("event: pull_request is not allowed here")


def group_of(pid: int) -> int:
    with suppress(ProcessLookupError):
        return os.getpgid(pid)
    return 0


def test_a_shell_killed_before_the_decider_watches_is_noticed(runner):
    runner.edit(
        "lib/job_hook.py",
        "    watch.begin()",
        f"    open({str(runner.folder / 'deciding')!r}, 'w').close(); time.sleep(0.5); watch.begin()",
    )
    runner.start()
    runner.wait_for("deciding")
    os.kill(runner.shell(), signal.SIGKILL)
    runner.end()
    runner.assert_refused("the hook was killed before it had decided")


def test_a_decider_that_hangs_is_not_waited_for(runner):
    runner.hang()
    runner.edit("hooks/job-started.sh", "DECISION_SECONDS=20", "DECISION_SECONDS=1")
    runner.run()
    runner.assert_refused("the hook came to no decision within 1 s, or failed")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("lib/job_hook.py", '"""What', "import no_such_module\nWhat"),
        ("lib/job_hook.py", 'print("allowed"', 'print("ALLOWED"'),
        ("lib/job_hook.py", 'print("allowed", record(os.environ), sep="\\n"', 'print("allowed"'),
        ("lib/job_hook.py", 'sep="\\n", flush=True)  # noqa: T201\n        return', "sep='\\n')\n        sys.exit(1)"),
        ("hooks/job-started.sh", " python3 -IBS ", " no-such-python "),
        ("hooks/job-started.sh", "  DECIDER=$!\n", "  DECIDER=$!\n  false\n"),
        ("hooks/job-started.sh", "  DECIDER=$!\n", "  DECIDER=$!\n  exit 0\n"),
    ],
)
def test_a_broken_hook_lets_no_job_run(runner, file, old, new):
    runner.edit(file, old, new)
    runner.run()
    runner.assert_refused("the hook ")
    assert runner.record("refused")["run_id"] == "1700000000"


def test_a_job_whose_start_cannot_be_recorded_does_not_run(runner):
    runner.vm.job_dir.rmdir()
    runner.run()
    assert runner.reported["status"] == -signal.SIGKILL
    assert not (runner.folder / "always").exists()


def test_a_bundle_without_its_library_refuses(runner):
    (runner.vm.bundle / "lib/common.sh").unlink()
    runner.run()
    assert runner.reported["status"] == -signal.SIGKILL
    assert not (runner.folder / "always").exists()


def test_without_a_worker_above_it_the_hook_records_and_fails(runner):
    vm = runner.vm
    outcome = vm.run("hooks/job-started.sh", **runner.facts)
    assert outcome.status == 1
    assert "the event's payload cannot be read" in runner.record("refused")["reason"]


def test_a_second_run_of_either_hook_is_harmless(runner):
    runner.event_path.write_text("{}")
    for script, record in (("job-started", "started"), ("job-completed", "completed")) * 2:
        outcome = runner.vm.run(f"hooks/{script}.sh", **runner.facts)
        assert outcome.status == 0
        assert runner.record(record)["job"] == "build"


def test_the_end_of_a_job_is_recorded_without_a_guess_at_its_outcome(runner):
    outcome = runner.vm.run("hooks/job-completed.sh", **runner.facts, **SECRETS)
    assert outcome.status == 0
    completed = runner.record("completed")
    assert list(completed) == ["repository", "run_id", "attempt", "job", "time"]
    assert not [secret for secret in SECRETS.values() if secret in json.dumps(completed) + outcome.out]


@pytest.mark.parametrize("trouble", ["hostile", "no library", "no folder", "no python", "hangs"])
def test_the_end_of_a_job_never_fails_it(runner, trouble):
    vm = runner.vm
    facts = dict(runner.facts)
    match trouble:
        case "hostile":
            facts |= dict.fromkeys(("GITHUB_JOB", "GITHUB_RUN_ID"), "".join(HOSTILE)) | {
                "GITHUB_REPOSITORY": "x" * 65_536
            }
        case "no library":
            (vm.bundle / "lib/common.sh").unlink()
        case "no folder":
            vm.job_dir.rmdir()
        case "no python":
            runner.edit("hooks/job-completed.sh", "python3 -IBS", "no-such-python")
        case _:
            runner.edit("lib/job_hook.py", "    print(record(", "    time.sleep(300)\n    print(record(")
            runner.edit("hooks/job-completed.sh", "--kill-after=1 9", "--kill-after=1 0.2")
    assert vm.run("hooks/job-completed.sh", **facts).status == 0
    assert (vm.job_dir / "completed.json").exists() == (trouble == "hostile")


def test_the_hooks_are_programs_that_only_their_owner_changes(root):
    for hook in (root / "startup/hooks").iterdir():
        assert stat.S_IMODE(hook.stat().st_mode) == 0o755
        assert hook.suffix == ".sh", "GitHub's runner takes no other (HostContext.cs, GetDefaultShellForScript)"


def test_the_hooks_need_to_write_nowhere_but_in_their_two_folders(runner):
    if os.geteuid() == 0:
        before = everything_else(runner.vm)
        pull_request(runner)
        runner.run()
        assert everything_else(runner.vm) == before
        return
    for folder in (runner.vm.run_dir, runner.vm.bundle / "lib", runner.vm.bundle / "hooks"):
        folder.chmod(0o555)
    pull_request(runner)
    runner.run()
    runner.assert_refused("event")


def everything_else(vm: Vm) -> dict[Path, float]:
    own = (vm.job_dir, vm.runner_dir)
    return {
        path: path.stat().st_mtime
        for path in vm.root.rglob("*")
        if not any(folder == path or folder in path.parents for folder in own)
    }
