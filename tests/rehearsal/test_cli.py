"""scripts/preview from the outside: what it prints where, and how it ends."""

from __future__ import annotations

import json
import re

import pytest


def test_plain_output_starts_by_saying_that_it_is_a_rehearsal(preview):
    done = preview("prod")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("This is a rehearsal")
    for title in ("Pools", "Trust levels", "Services", "Versions", "Resources"):
        assert f"\n{title}\n" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr, "no colours and no progress where nobody watches"
    assert not done.stderr


def test_the_default_stack_is_testing(preview):
    assert "gh-runner-testing" in preview().stdout


def test_json_is_the_contract_and_nothing_else(preview):
    done = preview("prod", "--json")
    data = json.loads(done.stdout)
    assert list(data) == ["environment", "pools", "versions", "capacity", "resources", "faults", "warnings"]
    pool = data["pools"][0]
    assert list(pool) == ["key", "trust_level", "machine_class", "signal", "idle", "labels", "groups"]
    assert list(pool["groups"][0]) == [
        *("name", "region", "zones", "shape", "min", "max", "standby", "rank", "stable", "canary"),
    ]
    assert data["environment"] == "prod"
    assert {"id", "runner", "deadline", "state"} <= data["versions"][0].keys()
    assert data["capacity"]["us-west1"]["gpu"] == {"nvidia-tesla-a100": 2, "nvidia-tesla-t4": 4}
    assert data["capacity"]["us-west1"]["vcpu"] == 2 * (10 * 96 + 2 * 16 + 12)
    assert data["capacity"]["us-east1"]["usd_per_hour"] == 7.81
    assert data["resources"]["gcp:compute/regionInstanceGroupManager:RegionInstanceGroupManager"] == 18
    assert data["faults"] == []
    assert data["warnings"] == []


def test_labels_are_those_that_workflows_of_the_original_fleet_name(preview):
    pools = {pool["key"]: pool for pool in json.loads(preview("prod", "--json").stdout)["pools"]}
    assert pools["presubmit-cpu"]["labels"] == [
        "self-hosted",
        "Linux",
        "X64",
        "os-family=Linux",
        "runner-group=presubmit",
        "trust=minimal",
        "environment=prod",
        "cpu",
        "machine-type=n1-standard-96",
        "gh-runner-presubmit-cpu",
    ]
    assert "ARM64" in pools["postsubmit-arm64"]["labels"]


def test_a_pools_regions_stand_in_the_order_in_which_demand_grows_them(preview):
    lines = preview("prod").stdout.splitlines()
    first = next(number for number, line in enumerate(lines) if line.lstrip().startswith("presubmit-a100 "))
    regions = [re.search(r"us-\w+", line) for line in lines[first : first + 4]]
    assert [region[0] for region in regions if region] == ["us-west1", "us-central1", "us-east1", "us-west4"]
    assert any(re.search(r"presubmit-cpu .* jobs, 1 idle +us-west1 ", line) for line in lines)


def test_a_fleet_at_rest_has_its_idle_vms_and_no_others(preview):
    table = preview("prod").stdout.partition("Capacity, at rest")[2]
    vms = {line.split()[0]: line.split()[1] for line in table.splitlines() if line.startswith("  us-")}
    assert vms == {"us-central1": "0", "us-east1": "0", "us-west1": "2", "us-west4": "0"}


def test_services_say_who_calls_them_and_who_reads_the_key(preview):
    services = preview("prod").stdout
    assert re.search(
        r"function listener .* called by the clock alone \(0,30 \* \* \* \*; 15,45 \* \* \* \*\)", services
    )
    assert re.search(r"function broker .* for runners alone", services)
    assert "readable by gh-runner-listener, gh-runner-broker, gh-runner-reconciler alone" in services


@pytest.mark.usefixtures("committed")
def test_markdown_says_what_changes_first_and_folds_the_fleet_away(preview, edit):
    edit(
        "Pulumi.prod.yaml",
        "us-west1: { zones: [a, b, c], min: 0, max: 10 }",
        "us-west1: { zones: [a, b], min: 0, max: 9 }",
    )
    done = preview("prod", "--markdown", "--against", "HEAD")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("## Fleet `prod`")
    assert done.stdout.index("### Changes against HEAD") < done.stdout.index("<details>")
    assert "groups that go: gh-runner-postsubmit-cpu-us-west1-" in done.stdout
    assert re.search(r"at peak 239\.68 → 230\.10 USD/h", done.stdout)
    assert "| --- |" in done.stdout


def test_all_faults_come_at_once_with_their_file_and_line_and_no_traceback(preview, edit):
    scaling = "      scaling: { signal: jobs, idle: 1, region_order: [us-west1, us-central1] }"
    edit("Pulumi.prod.yaml", scaling, "      scalling: 1")
    edit("Pulumi.prod.yaml", "us-west4: 10.10.48.0/20", "us-west4: 10.10.32.0/20")
    edit(
        "Pulumi.yaml",
        "disk_gb: 1000\n        disk_type: pd-ssd\n        accelerator",
        'disk_gb: "1000GB"\n        disk_type: pd-ssd\n        accelerator',
    )
    done = preview("prod")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert re.match(r"Pulumi\.yaml:\d+: machine_classes\.gpu\.disk_gb: saw \"1000GB\"; .*write 1000", lines[0])
    assert any("pools.presubmit-cpu.scalling" in line and "did you mean scaling?" in line for line in lines)
    assert any("network.regions.us-west4" in line and "us-west1's 10.10.32.0/20" in line for line in lines)
    assert all(": saw " in line and "; allowed: " in line and "; fix: " in line for line in lines[:-1])
    assert lines[-1].endswith("faults; nothing was rehearsed")


def test_faults_as_json_are_still_json(preview, edit):
    edit("Pulumi.prod.yaml", "canary: null", 'canary: "2026-11-25"')
    done = preview("prod", "--json")
    assert done.returncode == 2
    data = json.loads(done.stdout)
    assert len(data["faults"]) == 1
    assert data["pools"] == []


def test_faults_as_markdown_reach_the_pull_request(preview, edit):
    edit("Pulumi.prod.yaml", "canary: null", 'canary: "2026-11-25"')
    done = preview("prod", "--markdown")
    assert done.returncode == 2
    assert "**stack prod: 1 fault; nothing was rehearsed**" in done.stdout
    assert "- `Pulumi.prod.yaml:" in done.stdout


def test_an_edit_of_a_script_asks_for_a_new_version(preview, project):
    with (project / "startup/units/runner.target").open("a") as unit:
        unit.write("# edited\n")
    done = preview("prod")
    assert done.returncode == 2
    assert "scripts/rollout cut" in done.stderr


def test_an_unknown_stack_is_answered_with_the_list(preview):
    done = preview("prd")
    assert done.returncode == 2
    assert "the stacks are: prod, testing; did you mean prod?" in done.stderr


def test_invalid_yaml_is_said_with_its_line(preview, edit):
    edit("Pulumi.prod.yaml", "config:", "config: [")
    done = preview("prod")
    assert done.returncode == 2
    assert re.match(r"Pulumi\.prod\.yaml:\d+: invalid YAML", done.stderr)


def test_a_warning_never_blocks_but_fails_under_strict(preview, edit):
    edit("Pulumi.yaml", '      "2.337.0":', '      "2.338.0": { released: 2026-11-20 }\n      "2.337.0":')
    done = preview("prod", "--on", "2026-12-15")
    assert done.returncode == 0
    assert "must be replaced by 2026-12-20, in 5 days" in done.stdout
    assert preview("prod", "--on", "2026-12-15", "--strict").returncode == 1
    late = json.loads(preview("prod", "--on", "2026-12-21", "--json").stdout)
    assert late["versions"][0]["state"] == "past"
    assert "past its deadline" in late["warnings"][0]


@pytest.mark.parametrize("stack", ["prod", "testing"])
def test_both_stacks_pass_as_ci_asks_for_it(preview, stack):
    done = preview(stack, "--strict")
    assert done.returncode == 0, done.stdout[-500:]


@pytest.mark.usefixtures("committed")
def test_an_edited_version_is_refused_against_its_base(preview, edit):
    edit("Pulumi.yaml", "ubuntu-2404-noble-arm64-v20260807", "ubuntu-2404-noble-arm64-v20260707")
    done = preview("prod", "--against", "HEAD")
    assert done.returncode == 2
    assert re.search(
        r"Pulumi\.yaml:\d+: versions\.2026-11-25\.images\.arm64: .*immutable.*scripts/rollout cut", done.stderr
    )


@pytest.mark.usefixtures("committed")
def test_an_image_for_a_new_class_may_join_a_version(preview, edit):
    edit(
        "Pulumi.yaml",
        "          arm64: { source_image",
        "          extra: { source_image: projects/p-roject/global/images/x }\n          arm64: { source_image",
    )
    assert preview("prod", "--against", "HEAD").returncode == 0


@pytest.mark.usefixtures("committed")
def test_a_base_that_is_neither_stack_nor_revision_is_said(preview):
    done = preview("prod", "--against", "nowhere")
    assert done.returncode == 2
    assert "neither a stack (prod, testing) nor a git revision" in done.stderr


@pytest.mark.usefixtures("committed")
def test_a_base_that_cannot_be_rehearsed_says_why(preview, edit, project):
    import subprocess

    edit("Pulumi.prod.yaml", "max: 10", "max: 0.5")
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, "commit", "--quiet", "-am", "broken"], cwd=project, check=True)
    edit("Pulumi.prod.yaml", "max: 0.5", "max: 10")
    done = preview("prod", "--against", "HEAD")
    assert done.returncode == 2
    assert "cannot be rehearsed" in done.stderr
    assert "Traceback" not in done.stderr


def test_against_another_stack_compares_what_differs(preview):
    done = preview("prod", "--against", "testing")
    assert done.returncode == 0, done.stderr
    assert "≠ differs" in done.stdout


def test_a_command_line_that_makes_no_sense_exits_2(preview):
    assert preview("prod", "--no-such-option").returncode == 2
    assert preview("prod", "--on", "yesterday").returncode == 2


def test_another_stacks_broken_file_is_that_stacks_own_matter(preview, edit):
    edit("Pulumi.testing.yaml", "config:", "config: [")
    assert preview("prod").returncode == 0
    done = preview("prod", "--against", "testing")
    assert done.returncode == 2
    assert "that stack has faults of its own; scripts/preview testing says which" in done.stderr


def test_a_base_stack_with_faults_is_said_without_a_traceback(preview, edit):
    edit("Pulumi.testing.yaml", "canary: null", 'canary: "2026-11-25"')
    done = preview("prod", "--against", "testing")
    assert done.returncode == 2
    assert "scripts/preview testing says which" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_link_among_the_scripts_is_a_fault_and_no_traceback(preview, project):
    (project / "startup/units/runner-link.service").symlink_to("runner.target")
    done = preview("prod")
    assert done.returncode == 2
    assert "runner-link.service" in done.stderr
    assert "Traceback" not in done.stderr
