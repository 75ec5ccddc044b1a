"""A fleet that is well, to be changed."""

from __future__ import annotations

import pytest

from tests.rollout.view.seen_fleet import SeenFleet


@pytest.fixture
def fleet() -> SeenFleet:
    return SeenFleet()
