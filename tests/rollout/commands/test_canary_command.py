"""A trial begins: where, and where not."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from rollout.exits import Exit
from rollout.plans import canary as canary_plan

OLD, STABLE, NEXT = "2026-11-22", "2026-11-25", "2026-11-30"
pytestmark = pytest.mark.usefixtures("unrehearsed")


@pytest.mark.usefixtures("versions")
def test_canary_says_which_region_of_a_balanced_pool_tries_it(rollout):
    done = rollout("canary", NEXT, "--stack", "prod", "--dry-run")
    assert "presubmit-a100: all of region us-central1" in done.stdout
    assert "presubmit-cpu: 1 VM of each group (us-central1, us-west1)" in done.stdout


@pytest.mark.usefixtures("versions")
def test_canary_leaves_no_pool_out_that_nobody_left_out(rollout):
    """The original fleet's pattern for "all but a100" left arm64 out as well."""
    trials = json.loads(rollout("canary", NEXT, "--stack", "prod", "--dry-run", "--json").stdout)["trials"]
    assert len(trials) == 8
    assert trials["presubmit-arm64"] == "1 VM of each group (us-central1)"
    assert not [pool for pool, which in trials.items() if which.startswith("no VM")]


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize("pools", ["[^a]+", "presubmit-cpu|gpu", "presubmit", "presubmit-a10"])
def test_pools_are_named_in_full_and_never_by_a_pattern(rollout, files, pools):
    before = files()
    done = rollout("canary", NEXT, "--stack", "prod", "--yes", "--pools", pools)
    assert done.exit_code == Exit.FAULT
    assert "rollout.canary_pools" in done.stderr
    assert "presubmit-a100" in done.stderr, "the pools that there are"
    assert files() == before


@pytest.mark.usefixtures("trial")
def test_canary_says_whose_place_it_takes_and_when_a_bundle_may_be_missing(rollout):
    done = rollout("canary", OLD, "--stack", "testing", "--dry-run")
    assert f"in place of {NEXT}" in done.stdout
    assert f"warning: {OLD} is not the newest version; its boot bundle is only in the buckets" in done.stderr


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize(
    ("version", "words"), [(STABLE, "is the stable version of prod"), ("2026-11-29", "which lists 2026-11-22")]
)
def test_canary_refuses_what_cannot_be_tried(rollout, version, words):
    done = rollout("canary", version, "--stack", "prod")
    assert done.exit_code == Exit.FAULT
    assert words in done.stderr


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize("words", [("canary", "--stack", "prod"), ("canary", NEXT), ("canary", NEXT, "--stack", "prd")])
def test_what_is_missing_or_misspelt_is_said_without_a_traceback(rollout, words):
    """The original fleet's tool crashed without a version."""
    done = rollout(*words)
    assert done.exit_code == Exit.FAULT
    assert "Traceback" not in done.output
    assert any(word in done.stderr for word in ("Missing argument", "Missing option", "did you mean prod?"))


def test_a_trial_that_no_vm_would_run_is_refused(versions, rollout, files):
    """A BALANCED group holds one version; a pool of one such group tries none."""
    path = versions / "Pulumi.prod.yaml"
    text = path.read_text()
    lone = text[text.index("    presubmit-a100:") : text.index("    presubmit-arm64:")]
    east = next(line for line in lone.splitlines() if line.strip().startswith("us-east1:"))
    new = lone.split("      regions:")[0] + f"      regions:\n{east}\n      scaling: {{ signal: jobs }}\n"
    path.write_text(text.replace(lone, new))
    before = files()
    done = rollout("canary", NEXT, "--stack", "prod", "--yes", "--pools", "presubmit-a100")
    assert done.exit_code == Exit.FAULT, done.output
    assert f"no VM in presubmit-a100 alone would try {NEXT}: no VM: BALANCED, in one region" in done.stderr
    assert files() == before
    told = rollout("canary", NEXT, "--stack", "prod", "--dry-run").stdout
    assert "no VM of presubmit-a100: BALANCED, in one region" in told


@pytest.mark.parametrize(
    ("verdict", "code", "words"),
    [
        ("passed", Exit.DONE, ""),
        ("failed", Exit.REFUSED, "the evidence is against 2026-11-30, or too little; see runs/run-7"),
        ("stopped", Exit.INTERRUPTED, "to go on: scripts/rollout resume run-7"),
    ],
)
@pytest.mark.usefixtures("versions")
def test_canary_with_wait_ends_as_its_run_does(rollout, monkeypatch, project, verdict, code, words):
    waited = []

    async def wait(settings, version, **more):
        waited.append((settings.rollout.canary, version, more["root"], more["thresholds"].jobs, more["stream"].name))
        return SimpleNamespace(verdict=verdict, run_id="run-7")

    monkeypatch.setattr(canary_plan, "wait", wait)
    done = rollout("canary", NEXT, "--stack", "testing", "--wait", "--jobs", "5", "--json")
    assert done.exit_code == code, done.output
    assert words in done.stderr
    assert waited == [(NEXT, NEXT, project, 5, "<stderr>")]
    assert json.loads(done.stdout)["written"] is True


@pytest.mark.usefixtures("versions")
def test_a_dry_run_waits_for_nothing(rollout, monkeypatch):
    monkeypatch.delattr(canary_plan, "wait")
    assert rollout("canary", NEXT, "--stack", "testing", "--wait", "--dry-run").exit_code == Exit.DONE
