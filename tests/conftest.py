"""What every area's tests share: the project's root, and what its two stacks register."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import hypothesis
import pytest

from fleet.settings import Settings, load
from rehearsal import stack_files
from rehearsal.inventory import Inventory
from rehearsal.run import rehearse_project
from startup import bundle

ROOT = Path(__file__).parent.parent

# A busy machine is no fault of the code's, and a run that cannot be repeated helps nobody.
hypothesis.settings.register_profile("project", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def _project_as_working_directory():
    """The engine runs the program in the project's folder; so do we."""
    before = Path.cwd()
    os.chdir(ROOT)
    yield
    os.chdir(before)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def tree_bundle() -> str:
    return bundle.build(ROOT / "startup").digest


@pytest.fixture(scope="session")
def prod_files() -> stack_files.StackFiles:
    return stack_files.read(ROOT, "prod")


@pytest.fixture(scope="session")
def prod_settings(prod_files, tree_bundle) -> Settings:
    return load(prod_files.sections, environment="prod", tree_bundle=tree_bundle)


@pytest.fixture(scope="session")
def prod(prod_files) -> Inventory:
    return rehearse_project(ROOT, "prod", prod_files.config)


@pytest.fixture(scope="session")
def testing() -> Inventory:
    return rehearse_project(ROOT, "testing", stack_files.read(ROOT, "testing").config)


@pytest.fixture
def prod_config(prod_files) -> dict:
    """Prod's configuration, to be edited."""
    return copy.deepcopy(dict(prod_files.config))


@pytest.fixture
def rehearse_edited():
    """The inventory of an edited prod configuration."""
    return lambda config: rehearse_project(ROOT, "prod", config)
