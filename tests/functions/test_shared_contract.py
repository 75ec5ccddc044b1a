"""The functions share files byte by byte: by contract, not by import, for each is deployed alone."""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path

import pytest

FUNCTIONS = Path(__file__).parents[2] / "functions"
BROKER, DELETER = FUNCTIONS / "registration_broker/broker", FUNCTIONS / "instance_deleter/deleter"
LISTENER, RECONCILER = FUNCTIONS / "demand_listener/listener", FUNCTIONS / "reconciler/reconciler"
PACKAGES = {BROKER: {"broker"}, DELETER: {"deleter"}, LISTENER: {"listener", "scaleset"}, RECONCILER: {"reconciler"}}
"""Each function's package, and the names of ours that it may import."""
SHARED = {
    "fleet_table.py": (BROKER, DELETER, LISTENER, RECONCILER),
    "variables.py": (BROKER, DELETER, LISTENER, RECONCILER),
    "clients/session.py": (BROKER, DELETER, RECONCILER),
    "clients/app_token.py": (BROKER, RECONCILER),
    "clients/secrets.py": (BROKER, RECONCILER),
    "identity.py": (BROKER, DELETER),
    "marks.py": (DELETER, RECONCILER),
}
OURS = {name.name for name in FUNCTIONS.parent.iterdir() if (name / "__init__.py").exists()}.union(*PACKAGES.values())


def imports(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """All that a file imports, also within its functions."""
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)]


@pytest.mark.parametrize("name", SHARED)
def test_all_functions_that_share_a_file_hold_the_same(name):
    for one, other in pairwise(SHARED[name]):
        assert (one / name).read_bytes() == (other / name).read_bytes(), f"{one.name} and {other.name}"


@pytest.mark.parametrize("name", SHARED)
def test_no_other_function_has_a_file_of_that_name_that_is_not_the_shared_one(name):
    holders = {package for package in PACKAGES if (package / name).exists()}
    assert holders == set(SHARED[name])


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_shared_file_imports_nothing_of_its_function_but_shared_files(package):
    held = [name for name, packages in SHARED.items() if package in packages]
    stems = {Path(name).stem for name in held}
    for name in held:
        for node in imports(package / name):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.module in stems
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in OURS


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_function_imports_nothing_of_ours_but_its_own_package(package):
    foreign = OURS - PACKAGES[package]
    for path in package.parent.rglob("*.py"):
        for node in imports(path):
            if isinstance(node, ast.Import):
                assert not {name.name.split(".")[0] for name in node.names} & foreign, path
            elif not node.level and node.module:
                assert node.module.split(".")[0] not in foreign, path


@pytest.mark.parametrize("function", sorted({package.parent for package in PACKAGES}), ids=lambda folder: folder.name)
def test_every_direct_dependency_has_a_reason_and_every_locked_one_a_hash(function):
    wanted = [line for line in (function / "requirements.in").read_text().splitlines() if line[:1] not in "#"]
    assert wanted
    assert all("# " in line for line in wanted)
    locked = (function / "requirements.txt").read_text()
    pins = [line for line in locked.splitlines() if "==" in line and not line.lstrip().startswith("#")]
    assert len(pins) >= len(wanted)
    assert locked.count("--hash=sha256:") >= len(pins)
    assert "://" not in locked
