"""Steps that change nothing and look until something is so: a group is deployed, a VM is online, there is evidence.

What a look asks, and what it shares with other looks, is the plan's; this only knows when to look again. Looking has no
name outside, so a resumed run simply looks anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from rollout.cloud.errors import CloudError
from rollout.engine.backend import Attempt, Failed, Outcome, Passed
from rollout.engine.polling import Waiting, until

Look = Callable[[Mapping[str, Any]], Awaitable[Waiting | Passed | Failed]]
"""One look, from a step's params."""

PASSING = frozenset({"unavailable", "rate-limited", "quota", "conflict"})
"""Error classes after which the next look may well give an answer."""


class FleetLooks:
    """A backend whose steps name a look: {"look": NAME, …}."""

    def __init__(
        self,
        looks: Mapping[str, Look],
        *,
        first_seconds: float = 5.0,
        most_seconds: float = 60.0,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`close` frees what the looks share."""
        self._looks = looks
        self._first_seconds = first_seconds
        self._most_seconds = most_seconds
        self._close = close

    async def run(self, attempt: Attempt) -> Outcome:
        """Look until there is an end. A service that cannot be asked is asked again; one that refuses ends it."""
        look = self._looks[attempt.params["look"]]

        async def once() -> Waiting | Passed | Failed:
            try:
                return await look(attempt.params)
            except CloudError as error:
                if error.error_class in PASSING:
                    return Waiting(
                        progress=f"cannot be told now: {error}", retry_after_seconds=error.retry_after_seconds
                    )
                return Failed(code="unreachable", message=str(error), error_class=error.error_class)

        return await until(once, attempt, first_seconds=self._first_seconds, most_seconds=self._most_seconds)

    async def reattach(self, attempt: Attempt, external_id: str) -> Outcome:  # noqa: ARG002 - the protocol's
        """Look anew."""
        return await self.run(attempt)

    async def cancel(self, attempt: Attempt) -> None:
        """Nothing to do: the pause between two looks ends by itself."""

    async def close(self) -> None:
        """Free what the looks share."""
        if self._close is not None:
            await self._close()
