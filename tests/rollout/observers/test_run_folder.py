"""A run's folder is the owner's alone, has one process at a time, and goes when it is old and nobody's."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.observers.run_folder import RunFolder, RunFolderError, file_name, fresh_id, sweep, write_whole


def mode(path) -> int:
    return path.stat().st_mode & 0o777


def test_a_folder_is_made_for_its_owner_and_latest_names_the_newest(tmp_path):
    runs = tmp_path / "runs"
    with RunFolder.create(runs, "one"), RunFolder.create(runs, "two") as two:
        assert {mode(runs), mode(two.path)} == {0o700}
        assert mode(two.path / "lock") == 0o600
        assert (runs / "latest").readlink().name == "two"
        assert sorted(path.name for path in runs.iterdir()) == ["latest", "one", "two"]


@pytest.mark.parametrize("run_id", ["", "../up", "a/b", ".hidden", "latest", "x" * 101, "a b", "a\n"])
def test_an_id_that_is_no_safe_name_is_refused(tmp_path, run_id):
    with pytest.raises(RunFolderError, match="are allowed"):
        RunFolder.create(tmp_path, run_id)
    assert list(tmp_path.iterdir()) == []


def test_an_id_that_is_taken_is_refused_with_what_helps(tmp_path):
    RunFolder.create(tmp_path, "one").close()
    with pytest.raises(RunFolderError, match="run one is there already; resume it"):
        RunFolder.create(tmp_path, "one")


def test_a_run_is_opened_by_its_id_or_as_the_latest(tmp_path):
    RunFolder.create(tmp_path, "one").close()
    for name in ("one", "latest"):
        with RunFolder.open(tmp_path, name) as folder:
            assert folder.run_id == "one"


def test_an_unknown_run_is_an_error_that_lists_those_there_are(tmp_path):
    RunFolder.create(tmp_path, "one").close()
    with pytest.raises(RunFolderError, match=r"run 'two' is not in .*; there are: one"):
        RunFolder.open(tmp_path, "two")


def test_two_processes_cannot_have_one_run(tmp_path):
    program = "import sys; from rollout.observers.run_folder import *; from pathlib import Path\n"
    program += "f = RunFolder.open(Path(sys.argv[1]), 'one'); print('has it', flush=True); sys.stdin.read()"
    RunFolder.create(tmp_path, "one").close()
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "has it\n"
        with pytest.raises(RunFolderError, match="run one is running in another process"):
            RunFolder.open(tmp_path, "one")
        assert sweep(tmp_path, keep=0) == []
        other.communicate()
    RunFolder.open(tmp_path, "one").close()


def test_old_runs_go_and_the_newest_the_running_and_what_is_no_run_stay(tmp_path):
    running = RunFolder.create(tmp_path, "run-0")
    for i in range(1, 6):
        with RunFolder.create(tmp_path, f"run-{i}") as folder:
            write_whole(folder.report, "{}")
    for i in range(6):
        os.utime(tmp_path / f"run-{i}", (i, i))
    (tmp_path / "notes").mkdir()
    assert sweep(tmp_path, keep=2) == ["run-3", "run-2", "run-1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "notes", "run-0", "run-4", "run-5"]
    running.close()
    assert sweep(tmp_path, keep=2) == ["run-0"]
    assert sweep(tmp_path / "nowhere", keep=2) == []


def test_a_report_is_written_whole_or_not_at_all(tmp_path):
    with RunFolder.create(tmp_path, "one") as folder:
        folder.write_report({"verdict": "passed"})
        assert json.loads(folder.report.read_text()) == {"verdict": "passed"}
        assert mode(folder.report) == 0o600
        with pytest.raises(TypeError):
            folder.write_report({"verdict": object()})
        assert json.loads(folder.report.read_text()) == {"verdict": "passed"}
        assert [path.name for path in folder.path.iterdir() if path.name.startswith(".")] == []


def test_a_fresh_id_sorts_by_time_and_says_what_runs():
    first = fresh_id("canary 2026/11", 1_795_608_000.0)
    assert first.startswith("20261125-120000-canary-2026-11-")
    assert first < fresh_id("a", 1_795_608_001.0)
    assert fresh_id("…", 0).startswith("19700101-000000-run-")
    assert first != fresh_id("canary 2026/11", 1_795_608_000.0)


ids = st.text("abAB./:@-_%~0", min_size=1, max_size=12) | st.text("a/", min_size=190, max_size=260)


@given(st.sets(ids, min_size=2, max_size=6))
def test_names_of_steps_are_safe_files_and_no_two_are_alike(found):
    names = {file_name(step) for step in found}
    assert len(names) == len(found)
    for name in names:
        assert len(name.encode()) <= 255
        assert "/" not in name
        assert not name.startswith(".")
        assert ":" not in name


def test_ids_that_look_like_names_of_others_are_not_taken_for_them():
    long = "a/" * 150
    for one, other in (("a/b", "a%2Fb"), (".a", "%2Ea"), (long + "b", long + "c"), (long, file_name(long))):
        assert file_name(one) != file_name(other)


def test_a_usual_id_can_be_read_in_its_name():
    assert file_name("us-west1/cpu:drain") == "us-west1%2Fcpu%3Adrain"
    assert file_name("..") == "%2E."
