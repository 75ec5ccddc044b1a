"""The way back is always open."""

from __future__ import annotations

import subprocess

import pytest

from rollout.exits import Exit

OLD, STABLE, NEXT = "2026-11-22", "2026-11-25", "2026-11-30"
pytestmark = pytest.mark.usefixtures("unrehearsed")


@pytest.mark.usefixtures("versions")
def test_rollback_goes_back_and_never_forward(rollout):
    done = rollout("rollback", "--to", NEXT, "--stack", "prod", "--yes")
    assert done.exit_code == Exit.FAULT
    assert f"newer than {STABLE}" in done.stderr


def test_rollback_without_a_trial_names_what_was_stable_before(versions, rollout):
    def git(*words):
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *words], cwd=versions, check=True, capture_output=True)

    path = versions / "Pulumi.prod.yaml"
    now = path.read_text()
    git("init", "--quiet")
    for text in (now.replace(STABLE, OLD), now):
        path.write_text(text)
        git("add", path.name)
        git("commit", "--quiet", "--message", "edit")
    done = rollout("rollback", "--stack", "prod")
    assert done.exit_code == Exit.DONE
    assert f"already so: prod runs {STABLE}" in done.stdout
    assert f"scripts/rollout rollback --to {OLD} --stack prod" in done.stdout


def test_a_way_back_stays_open_while_the_tree_has_an_edit_without_a_version(edited_tree, rollout):
    path = edited_tree / "Pulumi.testing.yaml"
    path.write_text(path.read_text().replace("confirm: false", "confirm: false, canary_pools: [presubmit-cpu]"))
    done = rollout("rollback", "--stack", "testing")
    assert done.exit_code == Exit.FAULT, "a key that makes no sense is a fault of its own"
    path.write_text(path.read_text().replace(", canary_pools: [presubmit-cpu]", ""))
    text = (edited_tree / "Pulumi.yaml").read_text()
    entry = text[text.index(f'      "{STABLE}":\n') :]
    (edited_tree / "Pulumi.yaml").write_text(text + entry.replace(STABLE, NEXT))
    path.write_text(path.read_text().replace("canary: null", f'canary: "{NEXT}"'))
    done = rollout("rollback", "--stack", "testing")
    assert done.exit_code == Exit.DONE, done.output
    assert "canary: null" in path.read_text()
    assert "has a fault, as before, and cannot be deployed" in done.stderr
