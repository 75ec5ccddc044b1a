"""The pace of one host, on a clock that only pauses move."""

from __future__ import annotations

import asyncio

import pytest

from rollout.cloud.pace import HeldError, Pace


class Clock:
    def __init__(self) -> None:
        self.at = 100.0
        self.pauses: list[float] = []

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.at += seconds


def test_a_pause_that_the_host_asked_for_holds_every_request_back():
    clock = Clock()

    async def main():
        pace = Pace(600, sleep=clock.sleep, clock=clock.now)
        await pace.turn()
        pace.hold(20)
        pace.hold(5)  # the longer one stays
        await pace.turn()

    asyncio.run(main())
    assert clock.pauses == [20]


def test_a_pause_that_grows_while_it_is_waited_for_is_waited_for_to_its_end():
    clock = Clock()

    async def main():
        pace = Pace(600, sleep=sleep, clock=clock.now)
        pace.hold(10)
        again.append(pace)
        await pace.turn()

    again: list[Pace] = []

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        if len(clock.pauses) == 1:
            again[0].hold(30)

    asyncio.run(main())
    assert clock.pauses == [10, 30]


def test_a_long_pause_is_not_sat_out():
    async def main():
        pace = Pace(600, clock=Clock().now)
        pace.hold(61)
        with pytest.raises(HeldError) as caught:
            await pace.turn()
        return caught.value.seconds

    assert asyncio.run(main()) == 61


def test_half_a_minutes_requests_may_leave_at_once_and_the_next_has_to_wait():
    async def main():
        pace = Pace(60)
        for _ in range(6):
            await pace.turn(5)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await pace.turn(5)

    asyncio.run(main())
