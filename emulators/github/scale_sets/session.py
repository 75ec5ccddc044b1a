"""A listener's session with a scale set: one at a time has the set's messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emulators.github.scale_sets.scale_set import ScaleSet


@dataclass(kw_only=True, eq=False)
class Session:
    """It ends when it is deleted, evicted, or asked for nothing for too long; nobody can take it over."""

    id: str
    owner: str
    scale_set: ScaleSet
    token: str = ""
    expires: float = 0.0
    """When its token does."""
    touched: float = 0.0
    """When it was last asked for anything."""

    def document(self, queue_url: str) -> dict[str, Any]:
        """What opening and refreshing it answer."""
        return {
            "sessionId": self.id,
            "ownerName": self.owner,
            "runnerScaleSet": self.scale_set.document(),
            "messageQueueUrl": queue_url,
            "messageQueueAccessToken": self.token,
            "statistics": self.scale_set.statistics(),
        }
