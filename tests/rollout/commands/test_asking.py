"""Commands ask where a stack wants that, show the same in a dry run, and may be run twice."""

from __future__ import annotations

import json

import pytest

from rollout.commands import editing, promote, retire_version
from rollout.exits import Exit
from rollout.view.seen import Known

OLD, STABLE, NEXT = "2026-11-22", "2026-11-25", "2026-11-30"
pytestmark = pytest.mark.usefixtures("unrehearsed")


COMMANDS = {
    "canary": ("canary", NEXT, "--stack", "prod"),
    "promote": ("promote", NEXT, "--stack", "prod", "--force"),
    "rollback": ("rollback", "--to", OLD, "--stack", "prod"),
    "retire-version": ("retire-version", OLD),
}


@pytest.fixture
def ready(versions, evidence, monkeypatch):
    evidence("not-enough")
    monkeypatch.setattr(retire_version, "ask_in_use", lambda _settings, _version: Known(()))
    return versions


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_stack_that_asks_is_not_edited_without_an_answer(rollout, files, words):
    before = files()
    done = rollout(*words)
    assert done.exit_code == Exit.DECLINED
    assert "--yes" in done.stderr
    assert files() == before


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_dry_run_shows_the_same_diff_and_writes_nothing(ready, rollout, files, words):
    before = files()
    dry = rollout(*words, "--dry-run")
    assert dry.exit_code == Exit.DONE, dry.output
    assert files() == before
    assert "dry run: " in dry.stdout
    assert "written" not in dry.stdout, "a dry run claims nothing"
    assert not (ready / promote.RECORD).exists()
    real = rollout(*words, "--yes")
    assert dry.stdout.split("dry run: ")[0] == real.stdout.split("written: ")[0]
    assert files() != before


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_the_second_time_it_is_so_already(rollout, files, words):
    assert rollout(*words, "--yes").exit_code == Exit.DONE
    once = files()
    again = rollout(*words)
    assert again.exit_code == Exit.DONE, again.output
    assert again.stdout.startswith("already so: ")
    assert files() == once


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_json_is_all_there_is_on_stdout_whatever_happens(rollout, words):
    refused = json.loads(rollout(*words, "--json").stdout)
    assert refused["exit"] == Exit.DECLINED
    written = json.loads(rollout(*words, "--json", "--yes").stdout)
    assert (written["changes"], written["written"]) == (True, True)
    assert written["diff"].startswith("--- a/Pulumi")
    assert {stack["stack"] for stack in written["stacks"]} <= {"prod", "testing"}
    again = json.loads(rollout(*words, "--json").stdout)
    assert (again["changes"], again["written"]) == (False, False)


@pytest.mark.usefixtures("versions")
def test_a_stack_that_does_not_ask_is_edited_at_once(rollout):
    assert rollout("canary", NEXT, "--stack", "testing").exit_code == Exit.DONE


def test_success_is_said_after_it_is_one(versions, rollout, monkeypatch):
    """The original fleet's tool said that it had succeeded before it had."""
    theirs = versions / "Pulumi.testing.yaml"
    unknown = editing.consequence

    def meanwhile(root, edit, on_register):
        theirs.write_text("config: {}")
        return unknown(root, edit, on_register)

    monkeypatch.setattr(editing, "consequence", meanwhile)
    done = rollout("canary", NEXT, "--stack", "testing")
    assert done.exit_code == Exit.FAILED
    assert "somebody else" in done.stderr
    assert "written: " not in done.stdout
    assert theirs.read_text() == "config: {}"
