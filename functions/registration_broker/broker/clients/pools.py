"""What the demand listener last said of a pool: `pools/POOL.json` in its bucket, which the broker may only read."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from .session import Deadline, Session, UpstreamError


class Pools:
    """The objects about pools."""

    def __init__(self, session: Session, token: Callable[[Deadline], str], url: str, bucket: str) -> None:
        self._session = session
        self._token = token
        self._objects = f"{url}/storage/v1/b/{bucket}/o"

    def read(self, pool: str, deadline: Deadline) -> bytes | None:
        """The object; None where there is none. Raises UpstreamError."""
        name = quote(f"pools/{pool}.json", safe="")
        answer = self._session.call(
            "storage",
            "GET",
            f"{self._objects}/{name}",
            deadline=deadline,
            try_seconds=5.0,
            headers={"Authorization": f"Bearer {self._token(deadline)}"},
            params={"alt": "media"},
        )
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise UpstreamError("storage", answer.status, passing=answer.status == 409)
        return answer.body
