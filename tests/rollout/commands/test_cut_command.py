"""A cut, as operators ask for it."""

from __future__ import annotations

import pytest

from rollout.exits import Exit

OLD, STABLE, NEXT = "2026-11-22", "2026-11-25", "2026-11-30"
pytestmark = pytest.mark.usefixtures("unrehearsed")


@pytest.mark.usefixtures("edited_tree")
def test_cut_names_the_next_free_id_and_says_what_comes_next(rollout):
    done = rollout("cut")
    assert done.exit_code == Exit.DONE, done.output
    version = done.stdout.split("add version ")[1].split(":")[0]
    assert f"scripts/rollout canary {version} --stack STACK" in done.stdout
    again = rollout("cut")
    assert again.stdout.startswith(f"already so: version {version} pins just that")


def test_cut_with_an_id_cuts_though_nothing_is_pinned_otherwise(rollout, files):
    assert rollout("cut").stdout.startswith("already so")
    assert rollout("cut", NEXT).exit_code == Exit.DONE
    assert files()["Pulumi.yaml"].count("boot_bundle: ") == 2
    assert rollout("cut", NEXT).stdout.startswith("already so")
    other = rollout("cut", NEXT, "--image", "cpu=projects/p/global/images/i")
    assert other.exit_code == Exit.FAULT
    assert "exists, and versions are immutable; the next free one is 2026-11-30-1" in other.stderr


def test_cut_refuses_a_release_without_a_digest_that_the_fleet_needs(rollout, files):
    before = files()
    done = rollout("cut", NEXT, "--runner", "2.335.1")
    assert done.exit_code == Exit.FAULT
    assert "no digest of it for arm64" in done.stderr
    assert files() == before
