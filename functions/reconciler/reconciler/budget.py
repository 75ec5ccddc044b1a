"""A run's budget of requests, by service: a mistake, or a fleet larger than planned, floods nobody.

What is beyond it fails as any other request may, so nothing is concluded from what was not asked.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from .clients.session import Answer, Session, UpstreamError

MOST_REQUESTS: Final[Mapping[str, int]] = {
    "github": 300,
    "compute": 2000,
    "storage": 2000,
    "secrets": 10,
    "metadata": 20,
    "monitoring": 40,
}
"""For 100 pools in three regions each a run asks Compute Engine 600 times and Cloud Storage 700, without suspects;
GitHub twice for each 100 runners, of the 5,000 requests that it allows an installation in an hour."""


class Budget:
    """What is left of it in this run. For many threads."""

    def __init__(self, most: Mapping[str, int] = MOST_REQUESTS) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()

    @property
    def asked(self) -> dict[str, int]:
        """How many requests went to each service since `begin`."""
        with self._lock:
            return dict(self._asked)

    def begin(self) -> None:
        """Start a run's budget."""
        with self._lock:
            self._asked.clear()

    def spend(self, service: str) -> None:
        """Take one request from it. Raises UpstreamError where none is left."""
        with self._lock:
            if self._asked[service] >= self._most[service]:
                raise UpstreamError(service, 0, passing=False)
            self._asked[service] += 1


class BudgetedSession(Session):
    """A session each of whose requests, repeated ones too, comes from a budget."""

    def __init__(self, budget: Budget, **how: Any) -> None:
        super().__init__(**how)
        self._budget = budget

    def once(self, service: str, method: str, url: str, **how: Any) -> Answer:
        """One try. Raises UpstreamError where the budget is spent, else as `Session.once`."""
        self._budget.spend(service)
        return super().once(service, method, url, **how)
