"""The YAML is read as the engine reads it, and every key knows its line."""

from __future__ import annotations

import pytest

from rehearsal import stack_files
from rehearsal.stack_files import StackFileError

PROJECT = """\
name: runner-fleet
config:
  runner-fleet:versions:
    value:
      "2026-01-01": { runner: "2.337.0", released: 2026-01-01 }
  runner-fleet:shared:
    value: { from: project }
"""
STACK = """\
config:
  pulumi:disable-default-providers: [gcp]
  runner-fleet:pools:
    one:
      regions:
        us-west1:
          zones: [a, b]
          max: 1
  runner-fleet:shared: { from: stack }
  runner-fleet:day: 2026-01-01
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "Pulumi.yaml").write_text(PROJECT, encoding="utf-8")
    (tmp_path / "Pulumi.dev.yaml").write_text(STACK, encoding="utf-8")
    return tmp_path


def test_a_stacks_own_value_wins_over_the_projects(project):
    assert stack_files.read(project, "dev").sections["shared"] == {"from": "stack"}


def test_other_namespaces_reach_the_program_but_are_no_sections(project):
    files = stack_files.read(project, "dev")
    assert files.config["pulumi:disable-default-providers"] == ["gcp"]
    assert set(files.sections) == {"versions", "shared", "pools", "day"}


def test_an_unquoted_date_is_read_as_the_engine_hands_it_on(project):
    sections = stack_files.read(project, "dev").sections
    assert sections["versions"]["2026-01-01"]["released"] == "2026-01-01T00:00:00Z"
    assert sections["day"] == "2026-01-01 00:00:00 +0000 UTC"


@pytest.mark.parametrize(
    ("path", "where"),
    [
        (("pools", "one", "regions", "us-west1", "max"), "Pulumi.dev.yaml:8"),
        (("pools", "one", "regions", "us-west1", "zones", "1"), "Pulumi.dev.yaml:7"),
        (("pools", "one", "trust"), "Pulumi.dev.yaml:4"),
        (("versions", "2026-01-01", "runner"), "Pulumi.yaml:5"),
        (("shared",), "Pulumi.dev.yaml:9"),
        (("missing",), "Pulumi.dev.yaml"),
    ],
)
def test_every_key_path_has_a_file_and_a_line(project, path, where):
    assert stack_files.read(project, "dev").locate(path) == where


def test_an_unknown_stack_is_answered_with_the_list_of_stacks(project):
    (project / "Pulumi.prod.yaml").write_text(STACK, encoding="utf-8")
    with pytest.raises(StackFileError, match=r"stack prd: .* the stacks are: dev, prod; did you mean prod\?"):
        stack_files.read(project, "prd")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("config:\n  a: [1, 2\n  b: 3\n", "Pulumi.dev.yaml:3"),
        ("config:\n  a: 1\n  a: 2\n", "Pulumi.dev.yaml:3"),
        ("config:\n\ta: 1\n", "Pulumi.dev.yaml:2"),
        ("just text\n", "Pulumi.dev.yaml:1"),
        ("", "Pulumi.dev.yaml:1"),
        ("config: []\n", "Pulumi.dev.yaml:1"),
    ],
)
def test_invalid_yaml_is_said_in_one_line_with_its_line(project, text, where):
    (project / "Pulumi.dev.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(StackFileError) as caught:
        stack_files.read(project, "dev")
    assert str(caught.value).startswith(where)
    assert "\n" not in str(caught.value)


def test_an_object_at_project_level_stands_under_value(project):
    (project / "Pulumi.yaml").write_text("config:\n  runner-fleet:versions: {a: 1}\n", encoding="utf-8")
    with pytest.raises(StackFileError, match=r"Pulumi.yaml:2: .*`value:`"):
        stack_files.read(project, "dev")


def key_tree(node, path=()):
    if isinstance(node, dict):
        for key, value in node.items():
            yield (*path, key)
            yield from key_tree(value, (*path, key))


def test_both_environments_have_the_same_keys_and_other_values(root):
    trees = {}
    for stack in ("prod", "testing"):
        config = stack_files.read(root, stack).config
        trees[stack] = sorted(key_tree({k: v for k, v in config.items() if k not in _SHARED}), key=repr)
    assert trees["prod"] == trees["testing"]


_SHARED = {"runner-fleet:machine_classes", "runner-fleet:runner_releases", "runner-fleet:versions"}


def test_testing_holds_no_vm_until_a_job_asks_for_one(root):
    pools = stack_files.read(root, "testing").sections["pools"]
    assert {(pool["scaling"]["signal"], pool["scaling"].get("idle", 0)) for pool in pools.values()} == {("jobs", 0)}
    sizes = {(region["min"], region["max"]) for pool in pools.values() for region in pool["regions"].values()}
    assert sizes == {(0, 1)}


def test_only_testings_reconciler_acts_before_prods_reports_were_read(root):
    acts = {stack: not stack_files.read(root, stack).sections["reconciler"]["dry_run"] for stack in ("prod", "testing")}
    assert acts == {"prod": False, "testing": True}
