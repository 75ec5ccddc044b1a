"""The broker in front of the emulated clouds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functions.broker.broker_service import BrokerService


@pytest.fixture
def service(tmp_path: Path) -> Iterator[BrokerService]:
    """A broker of its own, served over HTTP."""
    with BrokerService(tmp_path) as running:
        yield running
