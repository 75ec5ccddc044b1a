"""What a deployment of an edit would change is shown with it, by a rehearsal."""

from __future__ import annotations

import subprocess

import pytest

from rollout.exits import Exit

NEXT = "2026-11-30"


@pytest.mark.usefixtures("versions")
def test_a_trial_in_some_pools_changes_the_groups_of_those_alone(rollout):
    done = rollout("canary", NEXT, "--stack", "prod", "--dry-run", "--pools", "presubmit-cpu,presubmit-a100")
    assert done.exit_code == Exit.DONE, done.output
    assert "prod: 3 changed" in done.stdout
    assert "  changed in RunnerPool presubmit-a100: 1 RegionInstanceGroupManager" in done.stdout
    assert "  changed in RunnerPool presubmit-cpu: 2 RegionInstanceGroupManager" in done.stdout
    assert done.stdout.count("→ running VMs finish their job") == 1


def test_a_cut_makes_the_same_in_every_stack(rollout):
    done = rollout("cut", NEXT, "--dry-run")
    assert "prod: 21 created" in done.stdout
    assert "testing: 21 created" in done.stdout


def test_a_cut_after_an_edit_is_compared_with_the_last_commit(edited_tree, rollout):
    (edited_tree / "Pulumi.testing.yaml").unlink()
    assert "prod: nothing to compare with: --against HEAD" in rollout("cut", NEXT, "--dry-run").stdout
    _commit(edited_tree)
    done = rollout("cut", NEXT, "--dry-run")
    assert "prod: 22 created, 1 removed" in done.stdout, "the bundle is another, too"


def _commit(project):
    """Commit the project as it was before the edit of its tree."""
    unit = project / "startup/units/runner.target"
    edited = unit.read_text()
    unit.write_text(edited.removesuffix("# edited\n"))
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    for words in (("init", "--quiet"), ("add", "--all", "--", "."), ("commit", "--quiet", "--message", "all")):
        subprocess.run(["git", *who, *words], cwd=project, check=True, capture_output=True)
    unit.write_text(edited)
