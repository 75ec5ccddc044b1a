"""The import file and the configuration, against the program itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from existing_fleet import PROJECT, fleet, group
from ruamel.yaml import YAML

from fleet.settings import load
from rehearsal import stack_files
from rehearsal.run import rehearse_project
from rollout.adopt.judge import judge
from rollout.adopt.listing import read
from rollout.adopt.write import configuration, import_file
from rollout.commands.adopt import command
from rollout.exits import Exit
from startup import bundle

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.fixture(scope="module")
def adoption():
    sections = stack_files.read(ROOT, "prod").sections
    pinned = sections["versions"][max(sections["versions"])]["boot_bundle"]
    classes = load(sections, environment="prod", tree_bundle=pinned).machine_classes
    templates, groups = fleet()
    listing = read({"templates.json": json.dumps(templates), "groups.json": json.dumps(groups)})
    return judge(listing, prefix="gh-runner", project=PROJECT, classes=classes)


def rehearsed(adoption):
    """What prod would register with the adopted pools; its newest version pins whatever the tree makes."""
    config = dict(stack_files.read(ROOT, "prod").config) | {"runner-fleet:pools": adoption.pools}
    versions = config["runner-fleet:versions"]
    pinned = {**versions[max(versions)], "boot_bundle": bundle.build(ROOT / "startup").digest}
    return rehearse_project(ROOT, "prod", config | {"runner-fleet:versions": {**versions, max(versions): pinned}})


def test_the_program_registers_each_imported_resource_under_its_name_and_as_it_is_called_at_google(adoption):
    inventory = rehearsed(adoption)
    written = import_file(adoption, "prod")
    assert len(written["resources"]) == 5 + 6  # pools and groups
    for entry in written["resources"]:
        resource = inventory.named(entry["name"])
        assert resource.type == entry["type"]
        if entry.get("component"):
            continue
        assert resource.parent.endswith(f"::{entry['parent']}")
        assert resource.provider.startswith(written["nameTable"][entry["provider"]])
        where = f"projects/{PROJECT}/regions/{resource.inputs['region']}/instanceGroupManagers"
        assert entry["id"] == f"{where}/{resource.inputs['name']}"


def test_what_cannot_be_changed_in_place_is_as_it_was(adoption):
    """Name, zones, shape and VM names: a difference in any of them would replace the group."""
    inventory = rehearsed(adoption)
    for each in adoption.groups:
        inputs = inventory.named(f"{each.pool}-{each.group.region}-group").inputs
        assert inputs["name"] == each.group.name
        assert inputs["baseInstanceName"] == each.group.base_instance_name
        assert inputs["distributionPolicyZones"] == list(each.group.zones)
        assert inputs["distributionPolicyTargetShape"] == each.group.shape


def test_the_configuration_reads_back_as_what_was_decided(adoption):
    document = YAML(typ="safe", pure=True).load(configuration(adoption))
    assert document["config"]["runner-fleet:pools"] == adoption.pools


@pytest.fixture
def lists(tmp_path) -> list[str]:
    templates, groups = fleet()
    for name, content in (
        ("templates.json", templates),
        ("groups.json", [*groups, group("presubmit", "cpu", region="x")]),
    ):
        (tmp_path / name).write_text(json.dumps(content))
    return [str(tmp_path / "templates.json"), str(tmp_path / "groups.json")]


def test_the_command_writes_both_files_and_says_what_it_left_out(lists, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    ran = CliRunner().invoke(command, ["prod", *lists, "--write", str(tmp_path / "adoption")])
    assert ran.exit_code == Exit.DONE, ran.output
    assert "5 pools of 6 groups" in ran.stdout
    assert "left out: gh-runner-presubmit-cpu-x" in ran.stderr
    assert json.loads((tmp_path / "adoption" / "import.json").read_text())["resources"]
    assert "runner-fleet:pools" in (tmp_path / "adoption" / "pools.yaml").read_text()


def test_the_command_answers_json_and_only_json(lists, monkeypatch):
    monkeypatch.chdir(ROOT)
    ran = CliRunner().invoke(command, ["prod", *lists, "--json"])
    assert set(json.loads(ran.stdout)) == {"pools", "machine_classes", "import", "left_out", "notes"}


def test_faults_that_the_rules_find_in_the_adopted_pools_are_notes(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "templates.json").write_text(json.dumps(fleet()[0]))
    (tmp_path / "groups.json").write_text(json.dumps([group("presubmit", "cpu", "europe-west4", "abc")]))
    ran = CliRunner().invoke(command, ["prod", str(tmp_path / "templates.json"), str(tmp_path / "groups.json")])
    assert "as configuration of prod it has a fault: pools.presubmit-cpu.regions.europe-west4" in ran.stderr


def test_a_list_of_which_nothing_can_be_taken_over_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "groups.json").write_text(json.dumps([group("presubmit", "cpu")]))
    ran = CliRunner().invoke(command, ["prod", str(tmp_path / "groups.json")])
    assert ran.exit_code == Exit.REFUSED
    assert "list instance-templates, too" in ran.stderr
