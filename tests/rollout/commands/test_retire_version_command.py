"""A version goes once nothing is of it."""

from __future__ import annotations

import pytest

from rollout.commands import retire_version
from rollout.exits import Exit
from rollout.view.seen import Known, Unknown

OLD, STABLE, NEXT = "2026-11-22", "2026-11-25", "2026-11-30"
pytestmark = pytest.mark.usefixtures("unrehearsed")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (f'canary: "{OLD}"', "stack testing has it as canary"),
        (f'canary: null, keep: ["{OLD}"]', "stack testing has it as kept"),
    ],
)
def test_a_version_that_a_stack_names_is_not_retired(versions, rollout, files, edit, words):
    path = versions / "Pulumi.testing.yaml"
    path.write_text(path.read_text().replace("canary: null", edit))
    before = files()
    done = rollout("retire-version", OLD, "--yes")
    assert done.exit_code == Exit.REFUSED
    assert words in done.stderr
    assert files() == before


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize(
    ("seen", "code", "words"),
    [
        (Known(tuple(f"vm-{i}" for i in range(7))), Exit.REFUSED, "vm-4 and 2 more"),
        (Unknown("Google gave no answer"), Exit.UNREACHABLE, "is unknown: Google gave no answer"),
    ],
)
def test_a_version_that_vms_run_or_may_run_is_not_retired(rollout, files, monkeypatch, seen, code, words):
    before = files()
    monkeypatch.setattr(retire_version, "ask_in_use", lambda _settings, _version: seen)
    done = rollout("retire-version", OLD, "--yes")
    assert done.exit_code == code
    assert words in done.stderr
    assert files() == before


@pytest.mark.usefixtures("versions")
def test_what_is_no_version_is_no_version(rollout):
    assert rollout("retire-version", "2026-13-01").exit_code == Exit.FAULT
