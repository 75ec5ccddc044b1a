"""The valid configuration as fixtures: plain, and loaded."""

from __future__ import annotations

from typing import Any

import pytest
from fleet_configuration import settings_of, valid

from fleet.settings import Settings


@pytest.fixture
def raw() -> dict[str, Any]:
    return valid()


@pytest.fixture
def settings(raw: dict[str, Any]) -> Settings:
    return settings_of(raw)
