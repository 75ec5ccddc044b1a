"""A promotion needs evidence, or force that is on record."""

from __future__ import annotations

import json

import pytest

from rollout.commands import promote
from rollout.exits import Exit
from rollout.view.evidence import Thresholds

OLD, STABLE, NEXT = "2026-11-22", "2026-11-25", "2026-11-30"
pytestmark = pytest.mark.usefixtures("unrehearsed")


@pytest.mark.usefixtures("trial")
def test_promote_asks_for_evidence_with_the_thresholds_given(rollout, evidence):
    asked = evidence("enough")
    rollout("promote", "--stack", "prod", "--dry-run", "--jobs", "50", "--bake-hours", "48")
    assert asked == [("prod", NEXT, Thresholds(jobs=50, bake_hours=48.0))]


@pytest.mark.usefixtures("trial")
@pytest.mark.parametrize(
    ("verdict", "code", "words"),
    [
        ("not-enough", Exit.REFUSED, "too little evidence"),
        ("against", Exit.REFUSED, "the evidence is against it"),
        ("unknown", Exit.UNREACHABLE, "could not be found out"),
    ],
)
def test_promote_refuses_without_enough_evidence_and_says_the_numbers(rollout, files, evidence, verdict, code, words):
    before = files()
    evidence(verdict, missing=("3 of 20 jobs since the last failed boot",), unknown=("logs",) * (verdict == "unknown"))
    done = rollout("promote", "--stack", "prod", "--yes")
    assert done.exit_code == code
    assert words in done.stderr
    assert "3 of 20 jobs" in done.stderr
    assert files() == before


def test_promote_by_force_is_on_record(trial, rollout, evidence):
    evidence("not-enough")
    done = rollout("promote", "--stack", "prod", "--yes", "--force")
    assert done.exit_code == Exit.DONE, done.output
    assert 'trailer "Rollout-Evidence: forced; not-enough"' in done.stdout
    recorded = [json.loads(line) for line in (trial / promote.RECORD).read_text().splitlines()]
    assert [(line["stack"], line["version"], line["forced"]) for line in recorded] == [("prod", NEXT, True)]
    assert recorded[0]["evidence"]["verdict"] == "not-enough"


@pytest.mark.usefixtures("versions")
def test_promote_wants_a_trial_first(rollout, evidence):
    asked = evidence("enough")
    done = rollout("promote", NEXT, "--stack", "prod", "--yes")
    assert done.exit_code == Exit.REFUSED
    assert f"scripts/rollout canary {NEXT} --stack prod comes first" in done.stderr
    assert not asked


@pytest.mark.usefixtures("trial")
def test_promote_of_what_is_stable_while_another_is_under_trial_is_a_fault(rollout):
    done = rollout("promote", STABLE, "--stack", "prod", "--yes")
    assert done.exit_code == Exit.FAULT
    assert f"{NEXT} under trial" in done.stderr


@pytest.mark.usefixtures("trial")
def test_promote_says_the_way_back(rollout, evidence):
    evidence("enough")
    assert (
        f"scripts/rollout rollback --to {STABLE} --stack prod" in rollout("promote", "--stack", "prod", "--yes").stdout
    )
