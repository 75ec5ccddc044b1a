"""Each command changes these lines of a stack's configuration, and not one other."""

from __future__ import annotations

import pytest

from rollout.commands import retire_version
from rollout.exits import Exit
from rollout.view.seen import Known

OLD, STABLE, NEXT = "2026-11-22", "2026-11-25", "2026-11-30"
pytestmark = pytest.mark.usefixtures("unrehearsed")


def row(stack, stable, canary, *, pools=""):
    """The line that holds a stack's pointers."""
    confirm = {"testing": "false", "prod": "true"}[stack]
    more = f", canary_pools: [{pools}]" if pools else ""
    return f'  runner-fleet:rollout: {{ stable: "{stable}", canary: {canary}, confirm: {confirm}{more} }}'


def quoted(version):
    return f'"{version}"'


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize("stack", ["testing", "prod"])
def test_canary_changes_one_line(rollout, lines, stack):
    done = rollout("canary", NEXT, "--stack", stack, "--yes")
    assert done.exit_code == Exit.DONE, done.output
    assert lines() == ["-" + row(stack, STABLE, "null"), "+" + row(stack, STABLE, quoted(NEXT))]


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize("stack", ["testing", "prod"])
def test_canary_of_some_pools_names_them_in_the_same_line(rollout, lines, stack):
    done = rollout("canary", NEXT, "--stack", stack, "--yes", "--pools", "presubmit-cpu,presubmit-a100")
    assert done.exit_code == Exit.DONE, done.output
    new = row(stack, STABLE, quoted(NEXT), pools="presubmit-cpu, presubmit-a100")
    assert lines() == ["-" + row(stack, STABLE, "null"), "+" + new]


@pytest.mark.usefixtures("trial")
@pytest.mark.parametrize("stack", ["testing", "prod"])
def test_promote_changes_one_line(rollout, lines, evidence, stack):
    evidence("enough")
    done = rollout("promote", "--stack", stack, "--yes")
    assert done.exit_code == Exit.DONE, done.output
    assert lines() == ["-" + row(stack, STABLE, quoted(NEXT)), "+" + row(stack, NEXT, "null")]


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize("stack", ["testing", "prod"])
def test_rollback_of_a_trial_changes_one_line_and_takes_its_pools_out(rollout, lines, stack):
    rollout("canary", NEXT, "--stack", stack, "--yes", "--pools", "presubmit-cpu")
    done = rollout("rollback", "--stack", stack, "--yes")
    assert done.exit_code == Exit.DONE, done.output
    assert lines() == []


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize("stack", ["testing", "prod"])
def test_rollback_of_a_promotion_changes_one_line(rollout, lines, stack):
    done = rollout("rollback", "--to", OLD, "--stack", stack, "--yes")
    assert done.exit_code == Exit.DONE, done.output
    assert lines() == ["-" + row(stack, STABLE, "null"), "+" + row(stack, OLD, "null")]


def test_cut_adds_seven_lines_for_both_stacks(edited_tree, rollout, lines):
    done = rollout("cut", NEXT)
    assert done.exit_code == Exit.DONE, done.output
    came = lines()
    assert [line[:1] for line in came] == ["+"] * 7
    assert came[:2] == [f'+      "{NEXT}":', '+        runner: "2.337.0"']
    before = edited_tree / "startup/units/runner.target"
    assert before.read_text().endswith("# edited\n"), "there was an edit to be cut"


@pytest.mark.usefixtures("versions")
def test_retire_version_takes_seven_lines_out(rollout, lines, monkeypatch):
    monkeypatch.setattr(retire_version, "ask_in_use", lambda _settings, _version: Known(()))
    done = rollout("retire-version", OLD, "--yes")
    assert done.exit_code == Exit.DONE, done.output
    gone = lines()
    assert [line[:1] for line in gone] == ["-"] * 7
    assert gone[0] == f'-      "{OLD}":'
