"""Cloud Storage: small objects of one bucket, read with their generation and written on the condition of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote

from scaleset import Transport

from .upstream import Token, Upstream, UpstreamError

_TIMEOUT_SECONDS: Final = 5.0
NOTHING: Final = "0"
"""The generation of an object that is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object as it was seen; `data` is None where there was none."""

    generation: str
    data: bytes | None


class Storage:
    """The objects of one bucket."""

    def __init__(self, transport: Transport, token: Token, url: str, bucket: str) -> None:
        self._upstream = Upstream("storage", transport, token)
        self._objects = f"{url}/storage/v1/b/{bucket}/o"
        self._uploads = f"{url}/upload/storage/v1/b/{bucket}/o"

    async def read(self, name: str, *, timeout_seconds: float = _TIMEOUT_SECONDS) -> Stored:
        """An object, or that there is none. One try. Raises UpstreamError."""
        url = f"{self._objects}/{quote(name, safe='')}"
        answer = await self._upstream.once("GET", url, timeout_seconds=timeout_seconds, query={"alt": "media"})
        if answer.status == 404:
            return Stored(generation=NOTHING, data=None)
        generation = answer.header("x-goog-generation")
        if answer.status != 200 or not (generation.isascii() and generation.isdigit()):
            raise self._upstream.failure(answer)
        return Stored(generation=generation, data=answer.body)

    async def write(
        self, name: str, data: bytes, generation: str, *, timeout_seconds: float = _TIMEOUT_SECONDS
    ) -> str | None:
        """Write an object that still has a generation. Its new one; None where it had another by then.

        One try, for a second would find the first one's generation. Raises UpstreamError: not written, or nobody knows.
        """
        query = {"uploadType": "media", "name": name, "ifGenerationMatch": generation}
        answer = await self._upstream.once(
            "POST", self._uploads, timeout_seconds=timeout_seconds, query=query, body=data
        )
        if answer.status == 412:
            return None
        if answer.status != 200:
            raise self._upstream.failure(answer)
        value = answer.json()
        made: Any = cast("dict[str, Any]", value).get("generation") if isinstance(value, dict) else None
        if not isinstance(made, str) or not made.isdigit():
            raise UpstreamError("storage", 200, passing=True)
        return made
