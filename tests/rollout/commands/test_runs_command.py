"""`scripts/rollout runs` and `resume`: what lies in runs/, read back."""

from __future__ import annotations

import json

import pytest

from rollout.exits import Exit


def run(project, name, **report):
    folder = project / "runs" / name
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps({"maker": "rollout.plans.canary:made", "arguments": {}}))
    if report:
        whole = {"plan": "canary 2026-11-30 in prod", "started_at": 1764000000, "ended_at": 1764000090, **report}
        (folder / "report.json").write_text(json.dumps(whole))
    return folder


@pytest.fixture
def three(project):
    results = [{"id": "jobs", "state": "failed"}, {"id": "verdict", "state": "skipped"}]
    run(project, "20261125-100000-canary-aaaa", verdict="passed", results=[])
    run(project, "20261125-110000-canary-bbbb", verdict="failed", results=results)
    run(project, "20261125-120000-canary-cccc")
    (project / "runs/latest").symlink_to("20261125-120000-canary-cccc")
    (project / "runs/fault-20261125T000000Z.txt").write_text("a traceback")
    return project


@pytest.mark.usefixtures("three")
def test_runs_are_listed_the_newest_first_with_their_verdicts(rollout):
    said = json.loads(rollout("runs", "--json").stdout)
    assert [(each["run"][-4:], each["standing"]) for each in said["runs"]] == [
        ("cccc", "unfinished"),
        ("bbbb", "failed"),
        ("aaaa", "passed"),
    ]


@pytest.mark.usefixtures("three")
def test_a_run_has_a_line_with_what_ended_badly_and_what_did_not_run_is_not_among_that(rollout):
    lines = [" ".join(line.split()) for line in rollout("runs").stdout.splitlines()]
    assert "20261125-110000-canary-bbbb failed 90 s 2 canary 2026-11-30 in prod jobs" in lines


def test_a_report_that_is_cut_off_leaves_the_others_readable(three, rollout):
    (three / "runs/20261125-110000-canary-bbbb/report.json").write_text('{"verdict": "fai')
    said = json.loads(rollout("runs", "--json").stdout)
    assert [each["standing"] for each in said["runs"]] == ["unfinished", "unfinished", "passed"]


def test_many_runs_are_cut_and_all_shows_them(project, rollout):
    for number in range(25):
        run(project, f"20261125-1000{number:02d}-canary-aaaa", verdict="passed", results=[])
    assert "and 5 older ones: --all" in rollout("runs").stdout
    assert len(json.loads(rollout("runs", "--all", "--json").stdout)["runs"]) == 25


@pytest.mark.usefixtures("project")
def test_no_run_yet_is_said(rollout):
    assert rollout("runs").stdout == "No run was begun here yet.\n"


@pytest.mark.parametrize("name", ["nonsense", "../etc", "20261125-120000-canary-cccc"])
@pytest.mark.usefixtures("three")
def test_what_cannot_be_resumed_is_a_fault_in_a_line(rollout, name):
    result = rollout("resume", name)
    assert result.exit_code == Exit.FAULT
    assert result.stderr.startswith("resume: ")
    assert "Traceback" not in result.stderr
