"""A copy of the project to edit, and the command line in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDERS = ("fleet", "components", "functions", "startup")
PARTS = ("__main__.py", "Pulumi.yaml", "Pulumi.prod.yaml", "Pulumi.testing.yaml", *FOLDERS)


@pytest.fixture
def project(root, tmp_path) -> Path:
    """The project in a folder of its own."""
    folder = tmp_path / "project"
    folder.mkdir()
    for part in (*PARTS, "rehearsal"):
        if (root / part).is_dir():
            shutil.copytree(root / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / part, folder / part)
    return folder


@pytest.fixture
def preview(project):
    """Runs the command line in the copy, as scripts/preview does."""

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rehearsal", *words],
            cwd=project,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def edit(project):
    """Replaces text in a file of the copy; the text must be there."""

    def replace(name: str, old: str, new: str) -> None:
        text = (project / name).read_text(encoding="utf-8")
        assert old in text
        (project / name).write_text(text.replace(old, new), encoding="utf-8")

    return replace


@pytest.fixture
def committed(project):
    """The copy as a git repository with one commit."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    for words in (["init", "--quiet"], ["add", "-A"], [*identity, "commit", "--quiet", "-m", "base"]):
        subprocess.run(["git", *words], cwd=project, check=True)
    return project
