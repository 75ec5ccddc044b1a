"""A cut adds one entry, and not one other byte changes."""

from __future__ import annotations

import difflib

import pytest
from click.testing import CliRunner

from rollout import cut_version
from rollout.cut_version import CutError, cut

DIGEST = f"sha256:{'d' * 64}"


@pytest.fixture(scope="module")
def project_text(root):
    return (root / "Pulumi.yaml").read_text(encoding="utf-8")


def added_lines(before, after):
    diff = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    assert not [line for line in diff if line.startswith("- ")], "a cut removes nothing"
    return [line[2:] for line in diff if line.startswith("+ ")]


def test_a_cut_adds_a_copy_of_the_newest_entry_with_the_trees_digest(project_text):
    after = cut(project_text, "2027-01-05", DIGEST)
    lines = added_lines(project_text, after)
    assert lines[0] == '      "2027-01-05":'
    assert f"        boot_bundle: {DIGEST}" in lines
    assert any("stock Ubuntu" in line for line in lines), "the comments of the entry come along"
    assert len(lines) == 7


def test_a_cut_can_name_another_runner_release(project_text):
    release = '      "2.338.0": { released: 2026-11-20, sha256: { x64: abc, arm64: def } }\n'
    text = project_text.replace('      "2.336.0":\n', f'{release}      "2.336.0":\n', 1)
    assert '        runner: "2.338.0"' in added_lines(text, cut(text, "2027-01-05", DIGEST, "2.338.0"))


def test_a_second_cut_starts_from_the_first(project_text):
    once = cut(project_text, "2027-01-05", DIGEST)
    twice = cut(once, "2027-01-05-1", f"sha256:{'e' * 64}")
    assert len(added_lines(once, twice)) == 7


@pytest.mark.parametrize(
    ("version_id", "words"),
    [
        ("2026-11-25", ["exists", "immutable", "2026-11-25-1"]),
        ("2026-11-21", ["sorts before the newest", "2026-11-25-1"]),
        ("next", ["YYYY-MM-DD"]),
        ("2027-1-5", ["YYYY-MM-DD"]),
        ("2027-02-30", ["YYYY-MM-DD"]),
    ],
)
def test_an_id_that_cannot_be_the_newest_is_refused_with_one_that_can(project_text, version_id, words):
    with pytest.raises(CutError) as caught:
        cut(project_text, version_id, DIGEST)
    assert all(word in str(caught.value) for word in words)


def test_a_runner_release_nobody_listed_is_refused(project_text):
    with pytest.raises(CutError, match=r"9\.9\.9: not in runner_releases.*2\.337\.0"):
        cut(project_text, "2027-01-05", DIGEST, "9.9.9")


def test_a_runner_release_without_a_digest_that_the_fleet_needs_is_refused(project_text):
    with pytest.raises(CutError, match=r"2\.335\.1: runner_releases has no digest of it for arm64"):
        cut(project_text, "2027-01-05", DIGEST, "2.335.1")


def test_a_file_written_in_another_way_is_left_alone(project_text):
    head, _, rest = project_text.partition("  runner-fleet:versions:")
    entry = f'{{ runner: "2.337.0", boot_bundle: "sha256:{"0" * 64}", images: {{}} }}'
    flow = f'{head}  runner-fleet:versions: {{ value: {{ "2026-11-25": {entry} }} }}\n'
    assert rest
    with pytest.raises(CutError, match="by hand"):
        cut(flow, "2027-01-05", DIGEST)


def test_a_file_without_a_last_line_break_gets_one(project_text):
    after = cut(project_text.rstrip("\n"), "2027-01-05", DIGEST)
    assert after.startswith(project_text)


def test_the_command_writes_the_file_and_says_what_comes_next(root, tmp_path, monkeypatch, tree_bundle):
    (tmp_path / "Pulumi.yaml").write_bytes((root / "Pulumi.yaml").read_bytes())
    (tmp_path / "startup").symlink_to(root / "startup")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cut_version.main, ["2027-01-05"])
    assert result.exit_code == 0, result.output
    assert "canary" in result.output
    assert (tmp_path / "Pulumi.yaml").read_text(encoding="utf-8").count(tree_bundle) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"Pulumi.yaml", "startup"}, "no temporary file is left"


def test_the_command_exits_2_and_writes_nothing_when_it_refuses(root, tmp_path, monkeypatch):
    before = (root / "Pulumi.yaml").read_bytes()
    (tmp_path / "Pulumi.yaml").write_bytes(before)
    (tmp_path / "startup").symlink_to(root / "startup")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cut_version.main, ["2026-11-25"])
    assert result.exit_code == 2
    assert (tmp_path / "Pulumi.yaml").read_bytes() == before
