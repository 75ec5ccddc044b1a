"""The function's own access token, from the metadata server, kept until shortly before its end.

The metadata server hands out the same token until five minutes before it ends; google-auth asks again 225 s before
(google.auth._helpers.REFRESH_THRESHOLD, google-auth 2.x, read 2026-11-25), and so does this.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final, cast

from scaleset import Transport, TransportError

from .upstream import UpstreamError

MARGIN_SECONDS: Final = 225.0
_TIMEOUT_SECONDS: Final = 5.0
_PATH: Final = "computeMetadata/v1/instance/service-accounts/default/token"


class MetadataToken:
    """Call it for a token. For all tasks of one event loop; one fetches, the others wait for it."""

    def __init__(self, transport: Transport) -> None:
        """The host is that of Google's own libraries: GCE_METADATA_HOST where it is set."""
        host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
        self._url = f"http://{host}/{_PATH}"
        self._transport = transport
        self._lock = asyncio.Lock()
        self._token = ""
        self._until = 0.0

    async def __call__(self) -> str:
        """A token that is valid. Raises UpstreamError."""
        if self._usable():
            return self._token
        async with self._lock:
            if not self._usable():
                await self._fetch()
            return self._token

    def _usable(self) -> bool:
        return asyncio.get_running_loop().time() < self._until

    async def _fetch(self) -> None:
        asked = asyncio.get_running_loop().time()
        headers = {"Metadata-Flavor": "Google"}
        try:
            answer = await self._transport.send("GET", self._url, headers=headers, timeout_seconds=_TIMEOUT_SECONDS)
        except TransportError:
            raise UpstreamError("metadata", 0, passing=True) from None
        value = answer.json()
        fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        token, seconds = fields.get("access_token"), fields.get("expires_in")
        known = isinstance(token, str) and token.isascii() and token.isprintable() and token
        if answer.status != 200 or not known or not isinstance(seconds, int | float):
            raise UpstreamError("metadata", answer.status, passing=True)
        self._token, self._until = str(token), asked + max(seconds - MARGIN_SECONDS, seconds / 2)
