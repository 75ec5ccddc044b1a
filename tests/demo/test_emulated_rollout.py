"""`scripts/rollout --emulated` as a person runs it: real commands, a process each, forty groups, answers that fail."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def play(tmp_path):
    """Plays a rollout; what it printed. Nothing of it may stay, and nothing of the project change."""

    def play(ending: str) -> str:
        before = {path: path.read_bytes() for path in ROOT.glob("Pulumi*.yaml")}
        ran = subprocess.run(
            [ROOT / "scripts/rollout", "--emulated", ending],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=400,
        )
        assert ran.returncode == 0, ran.stdout[-3000:]
        assert {path: path.read_bytes() for path in ROOT.glob("Pulumi*.yaml")} == before
        assert list(tmp_path.iterdir()) == []
        return ran.stdout

    return play


def test_a_good_version_goes_from_its_cut_over_its_evidence_to_its_promotion(play):
    text = play("good")
    assert "Held: 40 groups; the version was promoted; commands ended 6 with 0, 1 with 4;" in text
    assert text.index("still missing: 0 of 20 jobs") < text.index("in prod passed after")


def test_a_bad_version_is_refused_for_what_its_vms_recorded_and_rolled_back(play):
    text = play("bad")
    assert "Held: 40 groups; the version was given up and rolled back; commands ended 5 with 0, 3 with 4;" in text
    assert "4 canary VMs failed to boot, at most 3 may: 4 x boot-failed:install" in text


def test_an_ending_that_there_is_none_of_is_named(tmp_path):
    ran = subprocess.run(
        [ROOT / "scripts/rollout", "--emulated", "ugly"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert ran.returncode == 2
    assert "'good', 'bad'" in ran.stderr
