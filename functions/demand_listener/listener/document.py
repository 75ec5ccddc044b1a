"""One JSON object of the listener's bucket, which only the leader writes.

Each write is on the condition of the generation that was seen last, so what a former leader sent late is refused. The
newest content wins: who waits for a write while another is under way is served by the next one, with all that came
meanwhile. Google allows one write a second to an object of one name ("Cloud Storage quotas and limits", read
2026-11-25), and that is kept.
"""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from .clients.storage import Storage
from .clients.upstream import UpstreamError
from .leadership import Leadership, NotLeadingError
from .records import rfc3339

SPACING_SECONDS: Final = 1.0
EXPIRES_SECONDS: Final = 150.0
"""After this, readers take what is written for stale: a listener that died stops departures within it."""
REFRESH_SECONDS: Final = 60.0
"""How often it is written though nothing changed, at least: twice before it expires."""
_TIMEOUT_SECONDS: Final = 5.0
_TRIES: Final = 3


class Document:
    """The object. `write` it as often as its content may have changed; it is sent when it has, or is to be renewed."""

    def __init__(
        self,
        name: str,
        *,
        storage: Storage,
        leadership: Leadership,
        now: Callable[[], float],
        refresh_seconds: float = REFRESH_SECONDS,
        signed: bool = False,
    ) -> None:
        """`signed` adds the leader's fencing number and the time of writing to the content."""
        self._name = name
        self._storage = storage
        self._leadership = leadership
        self._now = now
        self._refresh_seconds = refresh_seconds
        self._signed = signed
        self._lock = asyncio.Lock()
        self._newest: dict[str, Any] = {}
        self._written: dict[str, Any] | None = None
        self._written_at = float("-inf")
        self._generation = ""

    async def write(self, content: Mapping[str, Any]) -> None:
        """Return once this content, or newer, is stored. Raises UpstreamError and NotLeadingError."""
        self._newest = dict(content)
        if not self._due():
            return
        async with self._lock:
            if not self._due():
                return
            await asyncio.sleep(self._written_at + SPACING_SECONDS - _time())
            newest = self._newest
            await self._store(newest)
            self._written, self._written_at = newest, _time()

    def _due(self) -> bool:
        return self._newest != self._written or _time() - self._written_at >= self._refresh_seconds

    async def _store(self, content: dict[str, Any]) -> None:
        for _ in range(_TRIES):
            if not self._generation:
                await self._look()
            seconds = self._leadership.limit(_TIMEOUT_SECONDS)
            generation, self._generation = self._generation, ""
            made = await self._storage.write(self._name, self._text(content), generation, timeout_seconds=seconds)
            if made is not None:
                self._generation = made
                return
        raise UpstreamError("storage", 412, passing=True)

    async def _look(self) -> None:
        """Its generation. Raises NotLeadingError where a later leader has written it."""
        stored = await self._storage.read(self._name, timeout_seconds=self._leadership.limit(_TIMEOUT_SECONDS))
        if self._signed and _fence(stored.data) > self._leadership.fence:
            raise NotLeadingError
        self._generation = stored.generation

    def _text(self, content: dict[str, Any]) -> bytes:
        now = datetime.datetime.fromtimestamp(self._now(), datetime.UTC)
        said = {**content, "expires": rfc3339(now + datetime.timedelta(seconds=EXPIRES_SECONDS))}
        if self._signed:
            said |= {"fence": self._leadership.fence, "written": rfc3339(now)}
        return json.dumps(said, separators=(",", ":")).encode()


def _fence(data: bytes | None) -> int:
    try:
        said: Any = json.loads(data or b"null")
    except (ValueError, RecursionError):
        return 0
    fence: Any = cast("dict[str, Any]", said).get("fence") if isinstance(said, dict) else None
    return fence if isinstance(fence, int) else 0


def _time() -> float:
    return asyncio.get_running_loop().time()
