"""The two functions share files byte by byte: by contract, not by import, for each is deployed alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

FUNCTIONS = Path(__file__).parents[2] / "functions"
BROKER, DELETER = FUNCTIONS / "registration_broker/broker", FUNCTIONS / "instance_deleter/deleter"
SHARED = ("identity.py", "fleet_table.py", "clients/session.py")


@pytest.mark.parametrize("name", SHARED)
def test_both_functions_hold_the_same_file(name):
    assert (BROKER / name).read_bytes() == (DELETER / name).read_bytes()


@pytest.mark.parametrize("package", [BROKER, DELETER])
def test_a_shared_file_imports_nothing_of_its_function_but_shared_files(package):
    names = {Path(name).stem for name in SHARED}
    for name in SHARED:
        for node in ast.walk(ast.parse((package / name).read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.module in names


@pytest.mark.parametrize("package", [BROKER, DELETER])
def test_a_function_imports_nothing_of_ours_but_its_own_package(package):
    ours = {"broker", "deleter", "fleet", "components", "startup", "emulators", "rehearsal", "rollout"} - {package.name}
    for path in [package.parent / "main.py", *package.rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not {name.name.split(".")[0] for name in node.names} & ours
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                assert node.module.split(".")[0] not in ours


@pytest.mark.parametrize("function", ["registration_broker", "instance_deleter"])
def test_every_direct_dependency_has_a_reason_and_every_locked_one_a_hash(function):
    wanted = [
        line for line in (FUNCTIONS / function / "requirements.in").read_text().splitlines() if line[:1] not in "#"
    ]
    assert wanted
    assert all("# " in line for line in wanted)
    locked = (FUNCTIONS / function / "requirements.txt").read_text()
    pins = [line for line in locked.splitlines() if "==" in line and not line.lstrip().startswith("#")]
    assert len(pins) >= len(wanted)
    assert locked.count("--hash=sha256:") >= len(pins)
    assert "http" not in locked
