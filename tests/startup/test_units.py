"""The units that go to a VM, as systemd sees them."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "startup/units"


def test_systemd_accepts_the_target() -> None:
    if not shutil.which("systemd-analyze"):
        reason = "systemd-analyze is not installed, so runner.target was not verified"
        print(reason)  # noqa: T201 - a skipped check is said aloud
        pytest.skip(reason)
    verify = ["systemd-analyze", "verify", str(UNITS / "runner.target")]
    run = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout + run.stderr) == (0, "")


def test_the_target_is_started_by_the_bootstrap_alone() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.read(UNITS / "runner.target")
    assert unit.sections() == ["Unit"], "with [Install] an image captured from a runner would start it unchecked"


def test_every_unit_has_a_name_that_the_bootstrap_clears_away() -> None:
    strangers = [path.name for path in UNITS.iterdir() if not re.match(r"runner[-.]", path.name)]
    assert strangers == [], "the bootstrap removes an older bundle's units by these names"
