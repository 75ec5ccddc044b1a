"""`scripts/rollout status` over the emulators: what it shows, and how it ends where not all can be asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from demo.rollout_fleet import EmulatedFleet
from emulators.site import Site
from rollout.exits import Exit
from rollout.plans.stack_settings import stack_settings
from tests.rollout.commands.conftest import NEXT, STABLE

CPU = "presubmit-cpu"


@pytest.fixture
def fleet(trial, monkeypatch):
    settings = stack_settings(trial, "prod")
    with Site(organization=settings.github.organization, project=settings.google.project) as site:
        for name, value in site.operator_environment().items():
            monkeypatch.setenv(name, value)
        yield EmulatedFleet(site, settings)


def test_a_fleet_that_is_well_is_shown_and_ends_well(fleet, rollout):
    fleet.vm(CPU, "us-west1", version=STABLE)
    fleet.vm(CPU, "us-west1", version=NEXT, runner="idle")
    result = rollout("status", "prod")
    assert result.exit_code == Exit.DONE, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[0].startswith(f"prod: stable {STABLE}, canary {NEXT}; seen ")
    west = lines.index(f"presubmit-cpu us-west1 2/10 {NEXT} * 1 idle 0 run yes")
    assert lines[west + 1] == f"{STABLE} 1 busy"
    assert "Google, GitHub and the configuration agree." in lines
    assert "\x1b" not in result.stdout


def test_the_canarys_evidence_is_judged_by_the_numbers_that_are_given(fleet, rollout):
    fleet.vm(CPU, "us-west1", version=NEXT, runner="idle", age_seconds=7200)
    fleet.ends(2, version=NEXT, pool=CPU)
    more = rollout("status", "prod", "--jobs", "3", "--bake-hours", "1", "--jobs-each", "0")
    assert "still missing: 2 of 3 jobs" in more.stdout
    enough = rollout("status", "prod", "--jobs", "2", "--bake-hours", "1", "--jobs-each", "0", "--json")
    assert json.loads(enough.stdout)["evidence"]["verdict"] == "enough"


def test_without_a_canary_there_is_no_evidence_to_show(fleet, rollout, trial):
    path = trial / "Pulumi.prod.yaml"
    path.write_text(path.read_text().replace(f'canary: "{NEXT}"', "canary: null"))
    fleet.deploy(stack_settings(trial, "prod"))
    result = rollout("status", "prod", "--json")
    assert json.loads(result.stdout)["evidence"] is None
    assert fleet.site.asked("logging.list") == []


@pytest.mark.parametrize("stale", [False, True])
def test_what_disagrees_is_a_line_with_its_remedy_and_no_failure(fleet, rollout, stale):
    if stale:
        fleet.says(CPU, age_seconds=3600)
    result = rollout("status", "prod")
    assert result.exit_code == Exit.DONE
    assert ("disagreement (listener-silent): presubmit-cpu:" in result.stdout) is stale


def test_many_disagreements_of_a_kind_are_one_line_and_json_has_all(fleet, rollout):
    for group in fleet.groups.values():
        fleet.site.google.set_versions(group, [])
    result = rollout("status", "prod")
    assert result.stdout.count("disagreement (not-deployed)") == 1
    assert f"{len(fleet.groups)} of them" in result.stdout
    said = json.loads(rollout("status", "prod", "--json").stdout)
    assert len([each for each in said["disagreements"] if each["kind"] == "not-deployed"]) == len(fleet.groups)


@pytest.mark.parametrize(
    "route", ["github.runners", "github.runner_groups", "compute.managed_instances", "storage.list", "logging.list"]
)
def test_a_source_that_refuses_is_unknown_the_rest_is_shown_and_the_exit_code_says_so(fleet, rollout, route):
    fleet.vm(CPU, "us-west1", version=STABLE)
    fleet.site.faults.script(route, status=403, times=100)
    result = rollout("status", "prod")
    assert result.exit_code == Exit.UNREACHABLE
    assert "unknown:" in result.stdout
    assert "HTTP 403" in result.stdout
    assert "presubmit-arm64" in result.stdout
    assert result.stderr.splitlines()[-1].startswith("status: not all could be asked")


def test_json_is_one_value_also_where_a_source_is_unknown(fleet, rollout):
    fleet.site.faults.script("github.runners", status=403, times=100)
    result = rollout("status", "prod", "--json")
    assert result.exit_code == Exit.UNREACHABLE
    said = json.loads(result.stdout)
    assert (said["complete"], list(said["unknown"])) == (False, ["runners"])


def test_a_refusing_github_hides_no_vm_and_calls_none_stuck(fleet, rollout):
    fleet.vm(CPU, "us-west1", version=STABLE, runner="")
    fleet.site.faults.script("github.runners", status=403, times=100)
    result = rollout("status", "prod")
    assert "1 unknown" in result.stdout
    assert "vm-without-registration" not in result.stdout


def test_testings_groups_are_no_strangers_to_prod(fleet, rollout):
    fleet.site.google.add_group("gh-runner-testing-presubmit-cpu-us-west1-abcd", target_size=0)
    fleet.site.google.add_group("gh-runner-left-behind-us-west1-abcd", target_size=0)
    said = json.loads(rollout("status", "prod", "--json").stdout)
    assert [each["subject"] for each in said["disagreements"]] == ["gh-runner-left-behind-us-west1-abcd"]


@pytest.mark.usefixtures("fleet")
def test_watching_looks_again_until_it_is_interrupted_and_that_is_no_failure(trial):
    command = [sys.executable, "-m", "rollout", "status", "prod", "--watch", "5"]
    with subprocess.Popen(command, cwd=trial, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "configuration agree" in line:
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == Exit.DONE, errors
    assert "Traceback" not in errors


@pytest.mark.usefixtures("fleet")
def test_watching_and_json_exclude_each_other(rollout):
    result = rollout("status", "prod", "--watch", "--json")
    assert result.exit_code == Exit.FAULT


def test_an_unknown_stack_is_a_fault_that_names_those_there_are(rollout):
    result = rollout("status", "prodd")
    assert result.exit_code == Exit.FAULT
    assert "did you mean prod?" in result.stderr


def test_nothing_is_changed_by_looking(fleet, rollout):
    fleet.vm(CPU, "us-west1", version=STABLE)
    rollout("status", "prod")
    changing = {"DELETE", "PUT", "PATCH"}
    asked = fleet.site.requests
    assert not [each for each in asked if each.method in changing]
    posted = {each.route for each in asked if each.method == "POST"}
    assert posted <= {"compute.managed_instances", "logging.list"}
    assert os.environ["ROLLOUT_GITHUB_URL"].startswith("http://127.0.0.1")
