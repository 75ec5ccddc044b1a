"""What the deleter's tests share: two clouds on loopback, a fleet in one of them, and the function served over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.functions.deleter.deleter_world import DeleterWorld


@pytest.fixture
def world() -> Iterator[DeleterWorld]:
    with DeleterWorld() as world:
        yield world
