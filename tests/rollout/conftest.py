"""What tests of the operators' commands share: a project of their own, whose files may be edited."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from rollout.cli import main
from startup import bundle

ROOT = Path(__file__).parent.parent.parent
LINKED = ("components", "fleet", "functions", "rehearsal", "rollout", ".venv")


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
    """The VM's files as they are when the tests begin."""
    folder = tmp_path_factory.mktemp("tree") / "startup"
    shutil.copytree(ROOT / "startup", folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def project(tree, tmp_path, monkeypatch) -> Path:
    """The project in a folder of its own, its newest version pinning its tree; also the working directory."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    (folder / "startup").symlink_to(tree)
    shutil.copy(ROOT / "__main__.py", folder)
    digest = bundle.build(tree).digest
    for path in ROOT.glob("Pulumi*.yaml"):
        text = re.sub(r"boot_bundle: sha256:[0-9a-f]{64}", f"boot_bundle: {digest}", path.read_text(encoding="utf-8"))
        (folder / path.name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def edited_tree(project) -> Path:
    """The project after an edit of what VMs run, without a version for it."""
    tree = (project / "startup").resolve()
    (project / "startup").unlink()
    shutil.copytree(tree, project / "startup")
    with (project / "startup/units/runner.target").open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    return project


@pytest.fixture
def rollout(project):  # noqa: ARG001 - the folder that it works in
    """Runs a command of scripts/rollout in the project; nobody is there to be asked."""
    return lambda *words: CliRunner().invoke(main, words)
