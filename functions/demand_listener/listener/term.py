"""One term of leading: every pool's listening, growing and writing, between taking the lease and passing it on.

Each pool's work is apart from every other's: what ends by a mistake of ours is recorded and begun again. A term ends
when its time is over, when it is told to stop, or when the lease is no longer certain. Then no poll and no growth goes
on, and all sessions are closed side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

import scaleset
from scaleset import AppCredentials, ScaleSetClient, ScaleSetError, Transport

from .clients.compute import Compute
from .clients.monitoring import Monitoring
from .clients.storage import Storage
from .clients.upstream import Token, UpstreamError
from .leadership import Leadership
from .limiter import Limiter
from .means import Means
from .pool import Pool
from .records import Records, place, rfc3339
from .settings import Settings

SETTLE_SECONDS: Final = 2.0
"""For a resize that is on its way to be answered, when a term ends; then it is given up."""
AGAIN_SECONDS: Final = 5.0
"""Before work that ended by a mistake is begun again."""
GAUGES_SECONDS: Final = 60.0


class Term:
    """What leads. `run` once."""

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        *,
        token: Token,
        credentials: AppCredentials,
        leadership: Leadership,
        storage: Storage,
        records: Records,
        now: Callable[[], float],
    ) -> None:
        self._leadership = leadership
        self._records = records
        self._stop = asyncio.Event()
        fleet = settings.fleet
        self._client = ScaleSetClient(transport, config_url=settings.config_url, credentials=credentials, now=now)
        self._monitoring = Monitoring(
            transport, token, settings.monitoring_url, project=fleet.project, environment=fleet.environment
        )
        limiter = Limiter()
        self._means = Means(
            compute=Compute(transport, token, settings.compute_url, fleet.project, limiter),
            limiter=limiter,
            storage=storage,
            leadership=leadership,
            records=records,
            now=now,
        )
        self.pools = [Pool(name, fleet.pool(name), self._means) for name in fleet.pools("jobs")]

    async def run(self, until: Iterable[Coroutine[Any, Any, Any]]) -> None:
        """Lead until the first of `until` ends, or the lease is uncertain; then end everything."""
        keeping = asyncio.ensure_future(self._leadership.keep())
        ends = [asyncio.ensure_future(each) for each in until]
        listening = [self._start(f"{pool.name}: listening", self._listen(pool)) for pool in self.pools]
        working = [self._start(f"{pool.name}: growing", pool.grower.run) for pool in self.pools]
        working += [self._start(f"{pool.name}: publishing", pool.publish) for pool in self.pools]
        working += [self._start("gauges", self._gauges), self._start("left over", self._left_over)]
        try:
            await asyncio.wait([keeping, *ends], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stop.set()
            for pool in self.pools:
                pool.grower.stop()
            await self._end(listening, working)
            for task in (keeping, *ends):
                task.cancel()
            await asyncio.wait([keeping, *ends])

    async def _end(self, listening: list[asyncio.Task[None]], working: list[asyncio.Task[None]]) -> None:
        """Sessions are closed side by side; `scaleset.listen` bounds each. What grows may finish a call meanwhile."""
        grace = [pool.grower.idle() for pool in self.pools]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                await asyncio.gather(*grace)
        for task in working:
            task.cancel()
        if listening or working:
            await asyncio.wait([*listening, *working])

    def _listen(self, pool: Pool) -> Callable[[], Coroutine[Any, Any, None]]:
        async def listen() -> None:
            await scaleset.listen(self._client, pool.spec, pool, owner=self._leadership.holder, stop=self._stop)

        return listen

    def _start(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        return asyncio.ensure_future(self._again(name, work))

    async def _again(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Work until it ends well. Nothing is to end it badly: that is a bug, and must not stop the others."""
        while not self._stop.is_set():
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the other pools go on
                self._records.say("internal", severity="ERROR", work=name, cause=place(error))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AGAIN_SECONDS):
                        await self._stop.wait()
            else:
                return

    async def _gauges(self) -> None:
        """The numbers of all pools, once a minute. A failure is recorded, and disturbs nobody."""
        while True:
            await asyncio.sleep(GAUGES_SECONDS)
            gauges = [gauge for pool in self.pools for gauge in pool.gauges()]
            moment = rfc3339(self._means.moment())
            try:
                await self._monitoring.write(gauges, moment)
            except UpstreamError as error:
                self._records.say("gauges not written", severity="WARNING", cause=str(error))

    async def _left_over(self) -> None:
        """Record scale sets that have our prefix and no pool any more: a pool was renamed, or removed.

        They are left alone. Jobs that were assigned to one wait there until GitHub gives up on them; once it is
        deleted, by hand, they go back to the queue. GitHub itself deletes a set that nobody listened to for 7 days.
        """
        ours = {pool.spec.name: pool for pool in self.pools}
        prefixes = {name.removesuffix(pool.name) for name, pool in ours.items()}
        for group in sorted({pool.spec.runner_group for pool in self.pools}):
            try:
                found = await self._client.list((await self._client.runner_group(group)).id)
            except ScaleSetError as error:
                self._records.say("scale sets not listed", severity="WARNING", runner_group=group, cause=str(error))
                continue
            for each in found:
                if each.name not in ours and any(prefix and each.name.startswith(prefix) for prefix in prefixes):
                    self._records.say(
                        "scale set left over", severity="WARNING", scale_set=each.name, scale_set_id=each.id
                    )
