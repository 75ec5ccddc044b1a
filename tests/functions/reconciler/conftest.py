"""What the reconciler's tests share: two clouds on loopback, a fleet in one of them, and the function before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.functions.reconciler.reconciler_world import ReconcilerWorld


@pytest.fixture
def world(tmp_path) -> Iterator[ReconcilerWorld]:
    with ReconcilerWorld(tmp_path) as world:
        yield world
