"""Looks that many waiting steps share."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from rollout.backends.looks import SharedLooks


class Eyes:
    """Looks on demand: each begins at the next whole second and ends when it is told to."""

    def __init__(self) -> None:
        seconds = itertools.count(1)
        self.looks = SharedLooks(clock=lambda: float(next(seconds)))
        self.under_way: list[asyncio.Future[str]] = []

    async def look(self) -> str:
        self.under_way.append(asyncio.get_running_loop().create_future())
        return await self.under_way[-1]

    def see(self, *, after: float) -> asyncio.Future[tuple[float, str]]:
        return asyncio.ensure_future(self.looks.see("group", self.look, after=after))


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_hundred_waiters_share_one_look():
    async def main():
        eyes = Eyes()
        waiters = [eyes.see(after=0) for _ in range(100)]
        await turns()
        assert len(eyes.under_way) == 1
        eyes.under_way[0].set_result("seen")
        assert set(await asyncio.gather(*waiters)) == {(1.0, "seen")}
        assert await eyes.see(after=0.5) == (1.0, "seen")
        assert len(eyes.under_way) == 1

    asyncio.run(main())


def test_a_look_that_began_before_a_step_is_no_news_to_it():
    async def main():
        eyes = Eyes()
        early = eyes.see(after=0)
        await turns()
        late = [eyes.see(after=1.5) for _ in range(3)]  # the steps that ask began after the look that is under way
        await turns()
        assert len(eyes.under_way) == 1  # one look at a time
        eyes.under_way[0].set_result("old")
        assert await early == (1.0, "old")
        await turns()
        assert len(eyes.under_way) == 2
        eyes.under_way[1].set_result("new")
        assert await asyncio.gather(*late) == [(2.0, "new")] * 3

    asyncio.run(main())


def test_who_has_seen_a_look_waits_for_another():
    async def main():
        eyes = Eyes()
        first = eyes.see(after=0)
        await turns()
        eyes.under_way[0].set_result("first")
        known, _ = await first
        second = eyes.see(after=known)
        await turns()
        eyes.under_way[1].set_result("second")
        assert await second == (2.0, "second")

    asyncio.run(main())


def test_a_look_that_fails_fails_for_all_and_is_not_kept():
    async def main():
        eyes = Eyes()
        waiters = [eyes.see(after=0), eyes.see(after=0)]
        await turns()
        eyes.under_way[0].set_exception(OSError("no answer"))
        assert [type(each) for each in await asyncio.gather(*waiters, return_exceptions=True)] == [OSError, OSError]
        again = eyes.see(after=0)
        await turns()
        eyes.under_way[1].set_result("seen")
        assert await again == (2.0, "seen")

    asyncio.run(main())


def test_a_look_that_fails_is_nothing_to_who_needs_a_later_one():
    async def main():
        eyes = Eyes()
        early, late = eyes.see(after=0), eyes.see(after=1.5)
        await turns()
        eyes.under_way[0].set_exception(OSError("no answer"))
        with pytest.raises(OSError, match="no answer"):
            await early
        await turns()
        eyes.under_way[1].set_result("seen")
        assert await late == (2.0, "seen")

    asyncio.run(main())


def test_one_who_is_cancelled_takes_the_look_from_nobody():
    async def main():
        eyes = Eyes()
        first, second = eyes.see(after=0), eyes.see(after=0)
        await turns()
        first.cancel()
        await turns()
        eyes.under_way[0].set_result("seen")
        assert await second == (1.0, "seen")
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(main())


def test_a_look_that_nobody_waits_for_ends_with_the_backend_and_its_failure_is_nobodys():
    async def main():
        eyes = Eyes()
        left, failed = eyes.see(after=0), asyncio.ensure_future(eyes.looks.see("other", eyes.look, after=0))
        await turns()
        left.cancel()
        failed.cancel()
        eyes.under_way[1].set_exception(OSError("no answer"))
        await turns()
        await eyes.looks.close()
        assert eyes.under_way[0].cancelled()

    asyncio.run(main())
