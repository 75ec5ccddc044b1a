"""Secret Manager, read only: the text of one secret version."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, cast

from .session import Deadline, Session, UpstreamError


class Secrets:
    """Secret versions that the function's account may read."""

    def __init__(self, session: Session, token: Callable[[Deadline], str], url: str) -> None:
        self._session = session
        self._token = token
        self._url = url

    def text(self, version: str, deadline: Deadline) -> str:
        """What a version (projects/P/secrets/S/versions/V) holds. Raises UpstreamError."""
        answer = self._session.call(
            "secrets",
            "GET",
            f"{self._url}/v1/{version}:access",
            deadline=deadline,
            try_seconds=5.0,
            headers={"Authorization": f"Bearer {self._token(deadline)}"},
        )
        if answer.status != 200:
            raise UpstreamError("secrets", answer.status, passing=answer.status == 409)
        value = answer.json()
        payload: Any = cast("dict[str, Any]", value).get("payload") if isinstance(value, dict) else None
        data: Any = cast("dict[str, Any]", payload).get("data") if isinstance(payload, dict) else None
        try:
            return base64.b64decode(data if isinstance(data, str) else "?", validate=True).decode("ascii")
        except ValueError:
            raise UpstreamError("secrets", answer.status, passing=True) from None
