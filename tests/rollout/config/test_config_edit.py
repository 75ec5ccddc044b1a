"""The one edit function: checked as data, judged for every stack, written whole or not at all."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys

import pytest

from rollout.config import edit as edits
from rollout.config.edit import Wanted, prepare
from rollout.config.pointers import file_of, point
from rollout.config.version_cut import retire
from rollout.config.yaml_text import set_value
from rollout.exits import Exit, Problem

NEXT = "2026-11-30"


def with_value(path, *, to):
    """An edit that sets one key of a file."""

    def meant(document):
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = to

    return Wanted(change=lambda text: set_value(text, path, to), meant=meant, by_hand=f"set {path[-1]}")


def small(project, name="Pulumi.testing.yaml"):
    """An edit that changes nothing of weight."""
    return prepare(project, name, with_value(("config", "runner-fleet:rollout", "confirm"), to=False))


def left(project):
    return sorted(path.name for path in project.iterdir() if path.name.startswith(".Pulumi"))


def test_an_edit_that_means_something_else_is_refused_and_said_to_a_person(project):
    wrong = Wanted(change=lambda text: text.replace("us-west1", "us-west9"), meant=lambda _: None, by_hand="do it")
    with pytest.raises(Problem, match=r"Pulumi\.prod\.yaml is written in a way.*By hand: do it") as caught:
        prepare(project, "Pulumi.prod.yaml", wrong)
    assert caught.value.code == Exit.FAULT


def test_an_edit_of_a_value_that_an_alias_shares_is_refused(project):
    path = project / "Pulumi.testing.yaml"
    text = path.read_text().replace(
        '{ stable: "2026-11-25", canary: null', '{ stable: &s "2026-11-25", keep: [*s], canary: null'
    )
    path.write_text(text)
    with pytest.raises(Problem, match="cannot edit safely"):
        prepare(project, path.name, with_value(("config", "runner-fleet:rollout", "stable"), to="2026-11-22"))


def test_an_edit_that_brings_a_fault_is_refused_with_its_place(project):
    before = (project / "Pulumi.prod.yaml").read_bytes()
    with pytest.raises(Problem) as caught:
        prepare(project, file_of("prod"), point(stable="2026-11-25", canary="2026-12-24"))
    head, fault = str(caught.value).splitlines()
    assert head.startswith("nothing was written: with this edit stack prod")
    assert fault.startswith("Pulumi.prod.yaml:")
    assert "rollout.canary" in fault
    assert (project / "Pulumi.prod.yaml").read_bytes() == before


def test_an_edit_of_the_shared_file_is_judged_for_every_stack(project):
    edit = prepare(project, "Pulumi.yaml", with_value(("description",), to="Runners"))
    assert [stack.stack for stack in edit.stacks] == ["prod", "testing"]
    shared = project / "Pulumi.yaml"
    shared.write_text(
        shared.read_text().replace(
            "  runner-fleet:versions:\n    value:\n",
            f"""  runner-fleet:versions:
    value:
      "2026-11-22": {{ runner: "2.337.0", boot_bundle: sha256:{"d" * 64}, images: {{}} }}
""",
        )
    )
    testing = project / "Pulumi.testing.yaml"
    testing.write_text(testing.read_text().replace("confirm: false", 'confirm: false, keep: ["2026-11-22"]'))
    with pytest.raises(
        Problem, match=r"stack testing would have a fault.*\nPulumi.testing.yaml:57: rollout.keep: .*2026-11-22"
    ):
        prepare(project, "Pulumi.yaml", retire("2026-11-22"))


def test_a_fault_that_was_there_before_does_not_close_the_way_back(edited_tree):
    edit = prepare(edited_tree, file_of("testing"), point(stable="2026-11-25", canary=None))
    assert not edit.changes
    edit = small(edited_tree, "Pulumi.prod.yaml")
    assert [fault.split(": ")[1] for fault in edit.stacks[0].faults_after] == ["versions.2026-11-25.boot_bundle"]


def test_a_version_that_exists_cannot_be_edited(project):
    path = ("config", "runner-fleet:versions", "value", "2026-11-25", "images", "cpu", "source_image")
    other = "projects/ubuntu-os-cloud/global/images/ubuntu-2404-noble-amd64-v20260906"
    with pytest.raises(Problem, match=r"versions\.2026-11-25\.images\.cpu: a version is immutable"):
        prepare(project, "Pulumi.yaml", with_value(path, to=other))


def test_the_file_keeps_its_mode_its_line_breaks_and_the_link_to_it(project, tmp_path):
    path, elsewhere = project / "Pulumi.testing.yaml", tmp_path / "shared.yaml"
    elsewhere.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    elsewhere.chmod(0o640)
    path.unlink()
    path.symlink_to(elsewhere)
    edit = prepare(project, path.name, with_value(("config", "runner-fleet:rollout", "confirm"), to=True))
    edit.write()
    assert path.is_symlink()
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o640
    data = elsewhere.read_bytes()
    assert data.count(b"\n") == data.count(b"\r\n") > 10
    assert b"confirm: true" in data


def test_a_file_that_somebody_changed_meanwhile_is_left_alone(project):
    edit = prepare(project, "Pulumi.testing.yaml", with_value(("config", "runner-fleet:rollout", "confirm"), to=True))
    path = project / "Pulumi.testing.yaml"
    theirs = path.read_text() + "# theirs\n"
    path.write_text(theirs)
    with pytest.raises(Problem, match="changed by somebody else meanwhile") as caught:
        edit.write()
    assert caught.value.code == Exit.FAILED
    assert path.read_text() == theirs


def test_an_interrupt_before_the_last_moment_leaves_the_old_file_and_nothing_beside_it(project, monkeypatch):
    edit = prepare(project, "Pulumi.testing.yaml", with_value(("config", "runner-fleet:rollout", "confirm"), to=True))
    ran = []

    def interrupted(_):
        ran.append(left(project))
        raise KeyboardInterrupt

    monkeypatch.setattr(edits.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        edit.write()
    assert ran[0], "there was a new file when the interrupt came"
    assert not left(project)
    assert (project / "Pulumi.testing.yaml").read_text() == edit.before


WRITER = """
import sys
from pathlib import Path
from rollout.config.edit import Edit
path, first = Path(sys.argv[1]), Path(sys.argv[1]).read_text()
second = first.replace("confirm: false", "confirm: true")
while True:
    for before, after in ((first, second), (second, first)):
        Edit(path=path, before=before, after=after, stacks=()).write()
        print("written", flush=True)
"""


@pytest.mark.parametrize("count", [1, 2, 7, 20])
def test_a_kill_at_any_moment_leaves_one_whole_file(project, root, count):
    path = project / "Pulumi.testing.yaml"
    first = path.read_text()
    second = first.replace("confirm: false", "confirm: true")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=root)
    assert writer.stdout
    with writer.stdout:
        for _ in range(count):
            assert writer.stdout.readline() == "written\n"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert path.read_text() in {first, second}


def test_a_diff_says_where_a_file_has_no_last_line_break(project):
    path = project / "Pulumi.testing.yaml"
    path.write_text(path.read_text().rstrip("\n") + "\n  runner-fleet:extra: { a: 1 }")
    edit = edits.Edit(path=path, before="a", after="b", stacks=())
    assert edit.diff().splitlines()[-2:] == ["+b", "\\ No newline at end of file"]
