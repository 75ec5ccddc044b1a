"""What all commands share: asking, printing, ending. Also under real signals, on a real terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from framed_commands import main as small

from rollout.exits import Exit

PROGRAM = Path(__file__).parent / "framed_commands.py"


@pytest.fixture
def call(project):  # noqa: ARG001 - the folder that it works in
    return lambda *words: CliRunner().invoke(small, words)


@pytest.fixture
def begun(project, root):
    """Starts a command on a terminal; returns its process and the terminal's other end, once it has asked."""
    running = []

    def start(*words, program=(sys.executable, str(PROGRAM)), until="[y/N] "):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*program, *words],
            cwd=project,
            env={**os.environ, "PYTHONPATH": f"{project}:{root}"},
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        os.close(theirs)
        running.append((process, ours))
        assert process.stderr
        said = b""
        while not said.endswith(until.encode()):
            byte = process.stderr.read(1)
            assert byte, said.decode()
            said += byte
        return process, ours

    yield start
    for process, ours in running:
        process.kill()
        process.communicate()
        os.close(ours)


# Asking --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "code", "done"), [("y\n", Exit.DONE, True), ("yes\n", Exit.DONE, True), ("n\n", Exit.DECLINED, False)]
)
def test_an_answer_on_a_terminal_is_taken(project, begun, answer, code, done):
    process, terminal = begun("asks", "--stack", "prod")
    os.write(terminal, answer.encode())
    process.communicate(timeout=60)
    assert process.returncode == code
    assert (project / "done").exists() is done


def test_the_end_of_input_is_no_yes(project, begun):
    process, terminal = begun("asks", "--stack", "prod")
    os.write(terminal, b"\x04")
    _, said = process.communicate(timeout=60)
    assert process.returncode == Exit.DECLINED, said
    assert not (project / "done").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_with_130_and_the_line_to_run_again(project, begun, number):
    process, _ = begun("asks", "--stack", "prod", "--json")
    process.send_signal(number)
    out, said = process.communicate(timeout=60)
    assert process.returncode == Exit.INTERRUPTED
    assert "interrupted; to go on: scripts/rollout asks --stack prod --json" in said.decode()
    assert "Traceback" not in said.decode()
    assert json.loads(out)["exit"] == Exit.INTERRUPTED
    assert not (project / "done").exists()


def test_where_nobody_is_the_flag_is_named(call, project):
    done = call("asks", "--stack", "prod")
    assert done.exit_code == Exit.DECLINED
    assert done.stderr == "asks: nobody is there to answer 'Do it?'; --yes says yes beforehand\n"
    assert not (project / "done").exists()
    assert call("asks", "--stack", "prod", "--yes").exit_code == Exit.DONE
    assert (project / "done").exists()


def test_a_stack_says_whether_it_is_asked_for_and_no_name_does(call, project):
    assert call("asks", "--stack", "testing").exit_code == Exit.DONE
    assert call("asks-always", "--stack", "testing").exit_code == Exit.DECLINED
    path = project / "Pulumi.prod.yaml"
    path.write_text(path.read_text().replace("confirm: true", "confirm: false"))
    assert call("asks", "--stack", "prod").exit_code == Exit.DONE
    path.write_text(path.read_text().replace(", confirm: false", ""))
    assert call("asks", "--stack", "prod").exit_code == Exit.DECLINED, "a stack that says nothing is asked for"


# Ending --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "code", "said"),
    [
        ("problem", Exit.REFUSED, "raises: too little of it\nraises: the second line\n"),
        ("cloud", Exit.UNREACHABLE, "raises: Google: answered HTTP 503 (listing groups); nothing was concluded"),
        ("config", Exit.FAULT, "raises: Pulumi.testing.yaml:57: rollout.canary: saw this; allowed: that; fix: do so"),
        ("interrupt", Exit.INTERRUPTED, "interrupted; to go on: scripts/rollout "),
    ],
)
def test_an_expected_end_is_a_line_and_a_code(call, which, code, said):
    done = call("raises", "testing", which)
    assert done.exit_code == code
    assert said in done.stderr
    assert "Traceback" not in done.output
    assert not done.stdout


def test_a_bug_is_one_line_and_its_traceback_a_file(call, project):
    done = call("raises", "testing", "bug", "--json")
    assert done.exit_code == Exit.FAILED
    assert json.loads(done.stdout)["exit"] == Exit.FAILED
    (path,) = (project / "runs").iterdir()
    assert f"a fault of the program: RuntimeError; the traceback is in runs/{path.name}" in done.stderr
    assert "token" not in done.output
    assert "Traceback" in path.read_text()


def test_json_is_printed_once_though_the_command_fails_after_it(call):
    done = call("fails-late", "--stack", "prod", "--json")
    assert done.exit_code == Exit.FAILED
    assert json.loads(done.stdout) == {"written": True}


def test_progress_is_a_line_on_stderr_where_no_terminal_is(call):
    done = call("works", "--stack", "prod", "--json")
    assert done.stderr == "working …\n"
    assert json.loads(done.stdout) == []


def test_an_unknown_stack_is_a_fault_with_the_nearest_name(call):
    done = call("loads", "prd")
    assert done.exit_code == Exit.FAULT
    assert "did you mean prod?" in done.stderr


def test_an_edit_of_the_tree_keeps_nobody_from_looking(edited_tree, call):
    assert edited_tree.exists()
    assert call("loads", "prod").stdout == "prod\n"
    done = call("loads", "prod", "--of-tree")
    assert done.exit_code == Exit.FAULT
    assert "versions.2026-11-25.boot_bundle" in done.stderr


# The program itself --------------------------------------------------------------------------------------------------


@pytest.fixture
def script(project, root):
    """scripts/rollout in the project, with the environment that is there."""
    folder = project / "scripts"
    folder.mkdir()
    (folder / "rollout").write_bytes((root / "scripts/rollout").read_bytes())
    (folder / "venv").write_text("#!/usr/bin/env bash\n")
    for path in folder.iterdir():
        path.chmod(0o755)
    return folder / "rollout"


def test_the_script_edits_after_a_yes_on_a_terminal(project, script, begun):
    text = (project / "Pulumi.yaml").read_text()
    entry = text[text.index('      "2026-11-25":\n') :]
    (project / "Pulumi.yaml").write_text(text + entry.replace("2026-11-25", "2026-11-30"))
    process, terminal = begun("canary", "2026-11-30", "--stack", "prod", program=(str(script),))
    os.write(terminal, b"y\n")
    out, said = process.communicate(timeout=60)
    assert process.returncode == Exit.DONE, said
    assert b"written: Pulumi.prod.yaml" in out
    assert 'canary: "2026-11-30"' in (project / "Pulumi.prod.yaml").read_text()


def test_the_script_refuses_an_unknown_command_without_a_traceback(script, tmp_path):
    done = subprocess.run([script, "canry"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == Exit.FAULT
    assert "No such command 'canry'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        (("ret",), ["retire-version"]),
        (("canary", "2026"), ["2026-11-25"]),
        (("canary", "2026-11-25", "--stack", ""), ["prod", "testing"]),
        (
            ("canary", "2026-11-25", "--stack", "prod", "--pools", "presubmit-cpu,postsubmit-g"),
            ["presubmit-cpu,postsubmit-gpu"],
        ),
        (("cut", "--runner", "2.33"), ["2.335.1", "2.336.0", "2.337.0"]),
        (("completion", "f"), ["fish"]),
    ],
)
def test_bash_completes_what_is_typed_for_the_script(script, words, completions):
    typed = ("scripts/rollout", *words)
    program = f"""
source <({script} completion bash) || exit 9
complete -p rollout >/dev/null || exit 8
COMP_WORDS=("$@") COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_rollout_completion {script}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "-c", program, "bash", *typed],
        cwd=script.parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == completions


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_ask_the_program_as_it_was_typed(shell):
    from rollout.commands.completion import script as completion

    text = completion(shell)
    assert "commands[rollout]" not in text
    assert "_complete rollout" not in text
    assert {"zsh": "zsh_complete ${words[1]}", "fish": "(commandline -t) (commandline -opc)[1]"}[shell] in text
