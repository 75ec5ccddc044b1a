"""A project with versions to roll out, and who answers instead of Google."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from rollout.commands import editing, promote
from rollout.config.consequence import Consequence
from rollout.view.evidence import Evidence, Tally

OLD, STABLE, NEXT = "2026-11-22", "2026-11-25", "2026-11-30"


@pytest.fixture
def files(project):
    """What the three files hold, by name."""
    return lambda: {path.name: path.read_text() for path in project.glob("Pulumi*.yaml")}


@pytest.fixture
def lines(files):
    """The lines that went and came since the test began, of all files."""
    before = files()

    def changed():
        found = []
        for name, text in files().items():
            diff = difflib.unified_diff(before[name].splitlines(), text.splitlines(), n=0, lineterm="")
            found += [line for line in diff if not line.startswith(("---", "+++", "@@"))]
        return found

    return changed


@pytest.fixture
def versions(project) -> Path:
    """The project with an older version and a newer one beside the one that is stable, all with the same pins."""
    path = project / "Pulumi.yaml"
    head, pins = path.read_text().split(f'      "{STABLE}":\n')
    path.write_text(head + "".join(f'      "{version}":\n{pins}' for version in (OLD, STABLE, NEXT)))
    return project


@pytest.fixture
def trial(versions) -> Path:
    """Both stacks try the newer version."""
    for path in versions.glob("Pulumi.*.yaml"):
        path.write_text(path.read_text().replace("canary: null", f'canary: "{NEXT}"'))
    return versions


@pytest.fixture
def evidence(monkeypatch):
    """Says which evidence there is, instead of Google; returns what was asked for."""
    asked = []

    def give(verdict, **more):
        def answer(settings, version, thresholds):
            asked.append((settings.environment, version, thresholds))
            tally = Tally(jobs=7, failures=1, streak=3)
            return Evidence(
                version=version, stable=STABLE, verdict=verdict, thresholds=thresholds, canary=tally, hours=5.0, **more
            )

        monkeypatch.setattr(promote, "ask_evidence", answer)
        return asked

    return give


@pytest.fixture
def unrehearsed(monkeypatch):
    """Leaves the rehearsals out, which take a second each, where a test is about something else."""
    monkeypatch.setattr(editing, "consequence", lambda _root, edit, _: Consequence(stack=edit.stack, unknown="not now"))
