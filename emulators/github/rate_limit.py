"""GitHub's rate limits: the primary one by the hour, the secondary one by points a minute.

Figures: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api (November 2026): at least
5,000 requests an hour for an installation; 900 points a minute for the REST API, a GET costs 1, a change 5. GitHub
answers 403 or 429 when a limit is exceeded. Not played: 100 requests at a time, the limit of registrations.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from emulators.github.reply import SECONDARY, refuse
from emulators.route import Call

HOUR_SECONDS: Final = 3600
MINUTE_SECONDS: Final = 60
CHANGE_POINTS: Final = 5


@dataclass(kw_only=True)
class RateLimit:
    """Counts requests; may be edited by a test at any time."""

    per_hour: int = 5000
    points_per_minute: int = 900
    used: int = 0
    reset: float = 0.0
    """When the hour is over."""
    spent: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])

    def count(self, call: Call, now: float, installation: int) -> dict[str, str]:
        """Count a call; the headers that tell. Raises Refusal when it is one too many."""
        if now >= self.reset:
            self.used, self.reset = 0, now + HOUR_SECONDS
        while self.spent and self.spent[0][0] <= now - MINUTE_SECONDS:
            self.spent.popleft()
        if self.used >= self.per_hour:
            text = f"API rate limit exceeded for installation ID {installation}."
            raise refuse(403, text, self._headers())
        self.used += 1
        points = 1 if call.method in {"GET", "HEAD"} else CHANGE_POINTS
        if sum(spent for _, spent in self.spent) + points > self.points_per_minute:
            raise refuse(403, SECONDARY, {**self._headers(), "Retry-After": str(MINUTE_SECONDS)})
        self.spent.append((now, points))
        return self._headers()

    def exhaust(self, *, reset: float) -> None:
        """Have nothing left until then."""
        self.used, self.reset = self.per_hour, reset

    def _headers(self) -> dict[str, str]:
        left = max(self.per_hour - self.used, 0)
        values = {"limit": self.per_hour, "remaining": left, "used": self.used, "reset": int(self.reset)}
        return {f"X-RateLimit-{name.title()}": str(value) for name, value in values.items()} | {
            "X-RateLimit-Resource": "core"
        }
