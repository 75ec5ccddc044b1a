"""Commands as steps: what they get, what they say, and how their end is judged. All of them are real processes."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rollout.backends import local, process_tree
from rollout.backends.local import LocalProcesses
from rollout.backends.output import LINE_BYTES, TAIL_CHARACTERS, TAIL_LINES
from rollout.engine.backend import Busy, Failed, Outcome, Passed
from tests.rollout.backends.attempts import OneTry, living, zombies


def run(cwd: Path, *argv: str, **params) -> tuple[Outcome, OneTry]:
    """One command, in a backend of its own."""

    async def main() -> tuple[Outcome, OneTry]:
        backend = LocalProcesses()
        attempt = OneTry(argv=list(argv), cwd=str(cwd), **params)
        try:
            return await backend.run(attempt), attempt
        finally:
            await backend.close()

    found = asyncio.run(main())
    assert living(cwd) == []
    assert zombies() == []
    return found


def shell(cwd: Path, script: str, **params) -> tuple[Outcome, OneTry]:
    return run(cwd, "/bin/sh", "-c", script, **params)


def python(cwd: Path, script: str, **params) -> tuple[Outcome, OneTry]:
    return run(cwd, sys.executable, "-ISc", script, **params)


def open_files() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


# What it gets


def test_arguments_arrive_as_they_are_since_no_shell_reads_them(tmp_path):
    outcome, attempt = run(tmp_path, "/usr/bin/printf", "%s|", "$HOME", "a b", "*", ";touch x", "'\"\\")
    assert outcome == Passed()
    assert attempt.printed == b"$HOME|a b|*|;touch x|'\"\\|"
    assert list(tmp_path.iterdir()) == []


def test_the_log_begins_with_the_command_line_as_a_shell_would_take_it(tmp_path):
    _, attempt = run(tmp_path, "/bin/echo", "two words")
    assert attempt.log == b"$ /bin/echo 'two words'\ntwo words\n"


def test_a_command_gets_what_it_is_given_and_a_short_list_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("SECRET_TOKEN", "not-for-everybody")
    monkeypatch.setenv("OTHER_TOKEN", "for-this-one")
    outcome, attempt = run(tmp_path, "env", env={"OWN": "1", "LANG": "C"}, pass_env=["OTHER_TOKEN", "NOT_SET"])
    assert outcome == Passed()
    got = dict(line.split("=", 1) for line in attempt.printed.decode().splitlines())
    assert (got.pop("OWN"), got.pop("OTHER_TOKEN"), got["LANG"]) == ("1", "for-this-one", "C")
    assert len(got.pop("ROLLOUT_TRY")) == 32
    assert got.keys() <= {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR"}
    assert got["PATH"] == os.environ["PATH"]


def test_no_variable_is_written_to_any_file(tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    script = "import os; print(os.environ['TOKEN']); open('ran', 'w')"
    monkeypatch.setenv("TOKEN", "the-secret")
    outcome, attempt = python(tmp_path, script, pass_env=["TOKEN"])
    assert (outcome, attempt.printed) == (Passed(), b"the-secret\n")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["ran", "temporary"]


def test_there_is_no_input_to_wait_for_not_even_ours(tmp_path):
    ours, end = os.pipe()
    before = os.dup(0)
    os.dup2(ours, 0)
    try:
        os.write(end, b"for somebody else\n")
        outcome, attempt = shell(tmp_path, "head -1; echo read")
    finally:
        os.dup2(before, 0)
        for descriptor in (before, ours, end):
            os.close(descriptor)
    assert (outcome, attempt.printed) == (Passed(), b"read\n")


def test_a_command_leads_a_session_of_its_own(tmp_path):
    outcome, attempt = python(tmp_path, "import os; print(os.getsid(0) == os.getpid() == os.getpgrp())")
    assert (outcome, attempt.printed) == (Passed(), b"True\n")


def test_it_is_attached_by_id_start_and_boot(tmp_path):
    _, attempt = shell(tmp_path, "echo $$ $(cut -d' ' -f22 /proc/$$/stat) $ROLLOUT_TRY")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    pid, started, mark = attempt.printed.decode().split()
    assert attempt.external_ids == [f"{pid}.{started}.{boot}.{mark}"]


# What it says


def test_both_outputs_are_kept_in_the_order_in_which_they_were_written(tmp_path):
    outcome, attempt = shell(tmp_path, "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done")
    assert outcome == Passed()
    assert attempt.printed.decode().split("\n")[:-1] == [f"{to} {i}" for i in range(1, 6) for to in ("out", "err")]


@pytest.mark.parametrize("end", ["", "\\n"])
def test_a_line_of_a_mebibyte_is_no_trouble(tmp_path, end):
    outcome, attempt = python(tmp_path, f"import sys; sys.stdout.write('x' * 2**20 + '{end}'); open('ran', 'w')")
    assert outcome == Passed()
    assert attempt.printed.rstrip(b"\n") == b"x" * 2**20
    assert (tmp_path / "ran").exists()


def test_bytes_that_are_no_text_reach_the_log_as_they_are_and_the_tail_readable(tmp_path):
    outcome, attempt = python(tmp_path, r"import os; os.write(1, b'\xff\xfe caf\xc3\xa9 \xc3'); raise SystemExit(3)")
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.tail) == ("exit-3", ("\\xff\\xfe café \\xc3",))
    assert attempt.printed == b"\xff\xfe caf\xc3\xa9 \xc3"


def test_a_character_that_comes_in_two_pieces_is_one(tmp_path):
    async def main() -> None:
        attempt = OneTry(
            argv=[
                sys.executable,
                "-ISc",
                r"import os; os.write(1, b'caf\xc3'); open('go').read(); os.write(1, b'\xa9 42')",
            ],
            cwd=str(tmp_path),
            pass_pattern="^café 42$",
        )
        os.mkfifo(tmp_path / "go")
        backend = LocalProcesses()
        running = asyncio.create_task(backend.run(attempt))
        await attempt.said(b"caf\xc3")
        with (tmp_path / "go").open("w"):
            pass
        assert await running == Passed()
        await backend.close()

    asyncio.run(main())


def test_a_command_may_close_its_outputs_and_go_on(tmp_path):
    script = "echo last; exec >&- 2>&-; mkfifo wait; (echo >wait) & read x <wait; touch ran; exit 4"
    outcome, attempt = shell(tmp_path, script)
    assert isinstance(outcome, Failed)
    assert (outcome.code, attempt.printed, (tmp_path / "ran").exists()) == ("exit-4", b"last\n", True)


def test_a_grandchild_that_holds_the_pipe_is_not_waited_for(tmp_path):
    """With asyncio's own subprocesses the step would last as long as the grandchild."""
    outcome, attempt = shell(tmp_path, "sleep 1000 & echo done")
    assert outcome == Passed(message="ended 1 process that it had left behind")
    assert attempt.printed == b"done\n# ended 1 process that it had left behind\n"


def test_what_is_in_the_pipe_when_nobody_is_left_is_read(tmp_path):
    lines = (
        "import fcntl, os",
        "fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 2**20)",
        "print(os.getpid(), flush=True)",
        "open('go').read()",
        "os.write(1, b'x' * 2**20)",
    )

    async def main() -> None:
        os.mkfifo(tmp_path / "go")
        attempt = OneTry(argv=[sys.executable, "-ISc", "\n".join(lines)], cwd=str(tmp_path))
        backend = LocalProcesses()
        running = asyncio.create_task(backend.run(attempt))
        await attempt.said(b"\n")
        (tmp_path / "go").write_text("go")
        os.waitid(os.P_PID, int(attempt.printed), os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - the loop is to read nothing
        outcome = await running
        await backend.close()
        assert (outcome, attempt.printed.count(b"x")) == (Passed(), 2**20)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process_tree.Lookout, "look", at_once)
        asyncio.run(main())


async def at_once(_: process_tree.Lookout) -> process_tree.Census:
    """Without a turn of the loop."""
    return process_tree.Census()


def test_a_pipe_that_somebody_else_holds_is_waited_for_only_so_long(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "DRAIN_SECONDS", 0.05)

    async def main() -> None:
        os.mkfifo(tmp_path / "go")
        attempt = OneTry(argv=["sh", "-c", "echo $$; read x <go; echo done"], cwd=str(tmp_path))
        backend = LocalProcesses()
        running = asyncio.create_task(backend.run(attempt))
        await attempt.said(b"\n")
        held = os.open(f"/proc/{int(attempt.printed)}/fd/1", os.O_WRONLY)
        with (tmp_path / "go").open("w") as go:
            go.write("\n")
        assert await running == Passed()
        assert attempt.log.endswith(b"done\n")
        with pytest.raises(BrokenPipeError):
            os.write(held, b"nobody reads that")
        os.close(held)
        await backend.close()

    asyncio.run(main())


def test_the_last_lines_of_a_failure_are_told_and_each_has_its_limit(tmp_path):
    outcome, _ = python(tmp_path, "for i in range(30): print(i)\nprint('y' * 1000)\nraise SystemExit(1)")
    assert isinstance(outcome, Failed)
    cut = f"{'y' * TAIL_CHARACTERS}… (1000 characters)"
    assert outcome.tail == (*(str(i) for i in range(31 - TAIL_LINES, 30)), cut)


# How its end is judged


@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        ("exit 7", "exit-7", "/bin/sh ended with exit code 7"),
        ("kill -KILL $$", "signal-kill", "/bin/sh was ended by SIGKILL"),
        ("kill -TERM $$", "signal-term", "/bin/sh was ended by SIGTERM"),
        ("kill -40 $$", "signal-40", "/bin/sh was ended by SIG40"),
    ],
)
def test_the_exit_code_is_the_failures_code(tmp_path, script, code, message):
    outcome, _ = shell(tmp_path, f"touch ran; echo said; {script}")
    assert outcome == Failed(code=code, message=message, tail=("said",))
    assert (tmp_path / "ran").exists()


def test_the_class_of_an_error_is_the_steps_choice(tmp_path):
    classes = {"exit-75": "unavailable", "signal-kill": "preempted"}
    found = [shell(tmp_path, script, error_classes=classes)[0] for script in ("exit 75", "kill -9 $$", "exit 1")]
    assert [outcome.error_class for outcome in found if isinstance(outcome, Failed)] == [
        "unavailable",
        "preempted",
        "permanent",
    ]


def test_a_line_that_must_not_be_printed_fails_whatever_the_exit_code_is(tmp_path):
    outcome, _ = shell(tmp_path, "echo all well; echo ERR''OR: no disk; exit 0", fail_pattern="^ERROR")
    assert outcome == Failed(
        code="fail-pattern", message="/bin/sh printed: ERROR: no disk", tail=("all well", "ERROR: no disk")
    )


def test_patterns_do_not_see_the_command_line(tmp_path):
    """The log begins with it; a command with the word in it would fail, or pass, for that alone."""
    outcome, attempt = run(tmp_path, "true", "ERROR", "READY", fail_pattern="ERROR")
    assert (outcome, b"ERROR" in attempt.log) == (Passed(), True)
    outcome, _ = run(tmp_path, "true", "ERROR", "READY", pass_pattern="READY")
    assert isinstance(outcome, Failed)
    assert outcome.code == "no-pass-pattern"


def test_a_line_that_must_be_printed_is_looked_for_in_all_of_the_output(tmp_path):
    script = "echo READ''Y; for i in $(seq 100); do echo more; done"
    assert shell(tmp_path, script, pass_pattern="^READY$")[0] == Passed()
    outcome, _ = shell(tmp_path, script, pass_pattern="^STEADY$")
    assert isinstance(outcome, Failed)
    assert "no line has what must be there: ^STEADY$" in outcome.message


def test_the_last_line_is_the_typed_output(tmp_path):
    script = """echo '{"not": "this"}'; echo '{"image": "cpu-1", "ports": [1, 2]}'; echo; echo '  '"""
    assert shell(tmp_path, script, output="last-line")[0] == Passed(output={"image": "cpu-1", "ports": [1, 2]})


def test_a_file_is_the_typed_output_and_is_gone_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    script = "import os, json; f = os.environ['ROLLOUT_OUTPUT']; json.dump({'n': 1}, open(f, 'w')); print(f)"
    script += "; print(oct(os.stat(os.path.dirname(f)).st_mode))"
    outcome, attempt = python(tmp_path, script, output="file")
    file, mode = attempt.printed.decode().split()
    assert outcome == Passed(output={"n": 1})
    assert (stat.S_IMODE(int(mode, 8)), Path(file).parent.exists()) == (0o700, False)


@pytest.mark.parametrize("said", ["", "no json", "[1]", '{"a": NaN}', "[" * 100_000])
@pytest.mark.parametrize("output", ["last-line", "file"])
def test_an_output_that_is_no_object_fails(tmp_path, said, output):
    (tmp_path / "said").write_text(said)
    outcome, _ = shell(tmp_path, 'cat said; [ -z "$ROLLOUT_OUTPUT" ] || cp said "$ROLLOUT_OUTPUT"', output=output)
    assert isinstance(outcome, Failed)
    assert outcome.code == "output"
    assert "is no JSON object" in outcome.message
    assert len(outcome.message) < 300


@pytest.mark.parametrize(("script", "said"), [("true", "was not written"), (f"truncate -s {LINE_BYTES + 1}", "larger")])
def test_a_file_that_is_missing_or_too_large_fails(tmp_path, script, said):
    outcome, _ = shell(tmp_path, f'{script} "$ROLLOUT_OUTPUT"', output="file")
    assert isinstance(outcome, Failed)
    assert (outcome.code, said in outcome.message) == ("output", True)


# When it does not even start


def test_a_program_that_is_not_there_fails_and_is_told_with_the_path(tmp_path):
    outcome, _ = run(tmp_path, "no-such-program", env={"PATH": "/nowhere"})
    assert outcome == Failed(code="not-found", message="no program no-such-program is there; PATH is /nowhere")


def test_a_program_that_is_no_program_fails(tmp_path):
    (tmp_path / "data").write_text("no program\n")
    not_permitted, _ = run(tmp_path, "./data")
    (tmp_path / "data").chmod(0o755)
    no_format, _ = run(tmp_path, "./data")
    assert isinstance(not_permitted, Failed)
    assert isinstance(no_format, Failed)
    assert (not_permitted.code, no_format.code) == ("not-permitted", "cannot-start")
    assert no_format.message == "./data does not start: Exec format error"


def test_a_folder_that_is_not_there_is_told_from_a_program_that_is_not(tmp_path):
    outcome, _ = run(tmp_path / "gone", "true")
    assert outcome == Failed(code="cwd", message=f"cwd {tmp_path}/gone of true: No such file or directory")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "argv: Field required"),
        ({"argv": []}, "argv: List should have at least 1 item"),
        ({"argv": "ls -l"}, "argv: Input should be a valid list, not 'ls -l'"),
        ({"argv": ["true"], "shell": True}, "shell: Extra inputs are not permitted, not 'True' (there are argv, cwd"),
        ({"argv": ["true"], "fail_pattern": "("}, "fail_pattern: Value error, not a regular expression"),
        ({"argv": ["true"], "output": "xml"}, "'none', 'last-line' or 'file', not 'xml'"),
        (
            {"argv": ["true"], "grace_seconds": -1},
            "grace_seconds: Input should be greater than or equal to 0, not '-1'",
        ),
        ({"argv": ["a\0b"]}, "embedded null byte"),
        ({"argv": ["true"], "env": {"A=B": "c"}}, "illegal environment variable name"),
    ],
)
def test_params_that_make_no_sense_are_told_by_key_value_and_what_there_is(params, said):
    async def main() -> Outcome:
        backend = LocalProcesses()
        try:
            return await backend.run(OneTry(**params))
        finally:
            await backend.close()

    outcome = asyncio.run(main())
    assert isinstance(outcome, Failed)
    assert (outcome.code, said in outcome.message) == ("params", True), outcome.message


def test_no_room_for_one_more_process_is_busy_and_no_failure(tmp_path, monkeypatch):
    def popen(*_args, **_keywords):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", popen)
    before = open_files()
    outcome, _ = run(tmp_path, "true")
    assert outcome == Busy(message="no room for one more process: Resource temporarily unavailable")
    assert open_files() == before


def test_no_file_to_be_had_is_busy_too(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def main() -> tuple[Outcome, Outcome]:
        backend = LocalProcesses()
        attempt = OneTry(argv=["true"], cwd=str(tmp_path))
        held = os.dup(0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (held + 1, hard))
        try:
            busy = await backend.run(attempt)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            os.close(held)
        later = await backend.run(attempt)
        await backend.close()
        return busy, later

    busy, later = asyncio.run(main())
    assert busy == Busy(message="no room for one more process: Too many open files")
    assert later == Passed()


def test_a_process_that_gives_its_children_away_learns_nothing_of_them(tmp_path):
    """subprocess would report that all went well."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        outcome, _ = shell(tmp_path, "exit 5")
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert isinstance(outcome, Failed)
    assert outcome.code == "lost"


def test_elsewhere_than_on_linux_it_is_not_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    outcome, attempt = run(tmp_path, "touch", "ran")
    assert isinstance(outcome, Failed)
    assert (outcome.code, attempt.log, list(tmp_path.iterdir())) == ("unsupported", b"", [])


def test_nothing_stays_open_after_many_commands(tmp_path):
    async def main() -> list[Outcome]:
        backend = LocalProcesses()
        before = open_files()
        scripts = [f"echo {n} >{n}; exit {n % 3}" for n in range(60)]
        tries = [OneTry(f"s{n}", argv=["sh", "-c", script], cwd=str(tmp_path)) for n, script in enumerate(scripts)]
        outcomes = await asyncio.gather(*map(backend.run, tries))
        assert open_files() == before
        await backend.close()
        return outcomes

    outcomes = asyncio.run(main())
    assert [o.code if isinstance(o, Failed) else "" for o in outcomes] == ["", "exit-1", "exit-2"] * 20
    assert len(list(tmp_path.iterdir())) == 60
