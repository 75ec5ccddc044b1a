"""One whole request: stand by until the lease is to be had, lead until the time is over, pass the lease on.

Cloud Scheduler makes two of these requests overlap, so that one leads and one stands by. `serve` knows no HTTP, no
signals and no thread, and its only clocks are the event loop's and the `now` it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from scaleset import AppCredentials, Transport

from . import lease
from .clients.secret_manager import Secrets
from .clients.storage import Storage
from .clients.token import MetadataToken
from .clients.upstream import Token, UpstreamError
from .leadership import Leadership, Standby
from .records import Log, Records, write_line
from .settings import Settings
from .term import Term

TOLD_SECONDS: Final = 60.0
"""How often a standby that is kept from its work says so."""
LONGEST_PAUSE_SECONDS: Final = 8.0
"""Between two looks of a standby whose looks fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What became of a request."""

    led_seconds: float
    stood_by_seconds: float
    fence: int
    """Of its last term; 0 where it never led."""
    terms: int


async def serve(
    settings: Settings,
    transport: Transport,
    *,
    token: Token | None = None,
    now: Callable[[], float] = time.time,
    log: Log = write_line,
    stop: asyncio.Event | None = None,
    holder: str = "",
    look_seconds: float = lease.LOOK_SECONDS,
) -> Served:
    """Serve for `settings.serve_seconds`, or until `stop` is set. Never raises for what others do.

    `token` gives the function's access token; the metadata server does unless told otherwise. `holder` names this
    request in the lease and to GitHub, and must differ from every other's. A standby reads the lease every
    `look_seconds`.
    """
    stop = stop or asyncio.Event()
    holder = holder or f"listener-{uuid.uuid4().hex[:12]}"
    served = _Request(settings, transport, token or MetadataToken(transport), now, log, stop, holder, look_seconds)
    return await served.run()


class _Request:
    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        token: Token,
        now: Callable[[], float],
        log: Log,
        stop: asyncio.Event,
        holder: str,
        look_seconds: float,
    ) -> None:
        self._look_seconds = look_seconds
        self._settings = settings
        self._transport = transport
        self._token = token
        self._now = now
        self._log = log
        self._stop = stop
        self._holder = holder
        self._end = 0.0
        self._storage = Storage(transport, token, settings.storage_url, settings.bucket)
        self._secrets = Secrets(transport, token, settings.secrets_url)
        self._key = ""
        self._told_at = float("-inf")

    async def run(self) -> Served:
        began = _time()
        self._end = began + self._settings.serve_seconds
        led, fence, terms = 0.0, 0, 0
        while (leadership := await self._stand_by()) is not None:
            terms, fence, taken = terms + 1, leadership.fence, _time()
            await self._lead(leadership)
            led += _time() - taken
        return Served(led_seconds=led, stood_by_seconds=_time() - began - led, fence=fence, terms=terms)

    @property
    def _over(self) -> bool:
        return self._stop.is_set() or _time() >= self._end

    async def _stand_by(self) -> Leadership | None:
        """The lease, once it is to be had; None when the time is over first. Who could not lead does not take it."""
        standby = Standby(self._storage, self._holder, self._now)
        holder, failures = "", 0
        while not self._over:
            try:
                if not self._key:
                    self._key = await self._secrets.text(self._settings.app_key_secret)
                leadership = await standby.step()
            except UpstreamError as error:
                self._kept_from(error)
                failures += 1
            else:
                failures = 0
                if leadership is not None:
                    return leadership
                if standby.seen is not None and standby.seen.holder != holder:
                    holder = standby.seen.holder
                    Records(self._log, standby.seen.fence).say("stands by", holder=holder)
            await self._pause(min(self._look_seconds * 2 ** min(failures, 10), LONGEST_PAUSE_SECONDS))
        return None

    async def _lead(self, leadership: Leadership) -> None:
        records = Records(self._log, leadership.fence)
        records.say("leads", holder=self._holder)
        settings = self._settings
        term = Term(
            settings,
            self._transport,
            token=self._token,
            credentials=AppCredentials(
                app_id=settings.app_id, installation_id=settings.installation_id, private_key_pem=self._key
            ),
            leadership=leadership,
            storage=self._storage,
            records=records,
            now=self._now,
        )
        await term.run([self._stop.wait(), asyncio.sleep(self._end - _time())])
        why = "told to stop" if self._stop.is_set() else "its time is over" if self._over else "the lease is uncertain"
        records.say("hands over", severity="INFO" if self._over else "WARNING", holder=self._holder, because=why)
        # Nothing acts any more. The heartbeat is over, too: what it wrote last is what is passed on.
        await leadership.release()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(seconds, self._end - _time()))):
                await self._stop.wait()

    def _kept_from(self, error: UpstreamError) -> None:
        if _time() - self._told_at >= TOLD_SECONDS:
            self._told_at = _time()
            Records(self._log, 0).say("cannot stand by", severity="ERROR", holder=self._holder, cause=str(error))


def _time() -> float:
    return asyncio.get_running_loop().time()
