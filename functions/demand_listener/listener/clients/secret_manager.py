"""Secret Manager, read only: the text of one secret version."""

from __future__ import annotations

import base64
from typing import Any, Final, cast

from scaleset import Transport

from .upstream import Token, Upstream, UpstreamError

_TIMEOUT_SECONDS: Final = 10.0


class Secrets:
    """Secret versions that the function's account may read."""

    def __init__(self, transport: Transport, token: Token, url: str) -> None:
        self._upstream = Upstream("secrets", transport, token)
        self._url = url

    async def text(self, version: str) -> str:
        """What a version (projects/P/secrets/S/versions/V) holds. Raises UpstreamError."""
        url = f"{self._url}/v1/{version}:access"
        value = self._upstream.document(await self._upstream.read("GET", url, timeout_seconds=_TIMEOUT_SECONDS))
        payload: Any = value.get("payload")
        data: Any = cast("dict[str, Any]", payload).get("data") if isinstance(payload, dict) else None
        try:
            return base64.b64decode(data if isinstance(data, str) else "?", validate=True).decode("ascii")
        except ValueError:
            raise UpstreamError("secrets", 200, passing=True) from None
