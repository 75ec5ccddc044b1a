"""Fixtures of the startup tests: a cloud on loopback, and a machine that boots against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from emulators.cloud import Cloud
from tests.startup import line_coverage
from tests.startup.machine import Machine
from tests.startup.vm import Vm


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud() as cloud:
        yield cloud


@pytest.fixture
def machine(tmp_path: Path, cloud: Cloud) -> Machine:
    return Machine(tmp_path, cloud)


@pytest.fixture
def vm(tmp_path: Path, cloud: Cloud) -> Vm:
    return Vm(tmp_path, cloud)


@pytest.fixture(autouse=True)
def _measured(pytestconfig: pytest.Config) -> Iterator[None]:
    """Where line coverage is asked for, the VM's Python is measured in this process while these tests run."""
    measured = pytestconfig.stash.get(line_coverage.MEASURED, None)
    if measured:
        measured.start()
    yield
    if measured:
        measured.stop()
