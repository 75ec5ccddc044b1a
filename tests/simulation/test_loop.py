"""The virtual loop: time jumps, order is that of the timers, and nobody waits for ever unnoticed."""

from __future__ import annotations

import asyncio
import time

import pytest

from simulation.loop import DeadlockError, running


def test_a_day_of_waiting_is_over_at_once_and_counted_exactly():
    began = time.monotonic()
    with running(start=10.0) as loop:
        loop.run_until_complete(asyncio.sleep(86_400))
        assert loop.time() == 86_410.0
    assert time.monotonic() - began < 60


def test_timers_fire_in_the_order_of_their_times_and_those_of_one_time_in_the_order_they_were_set():
    fired: list[tuple[float, str]] = []
    with running() as loop:
        for name, delay in (("c", 3.0), ("a", 1.0), ("b", 2.0), ("a2", 1.0)):
            loop.call_later(delay, lambda name=name: fired.append((loop.time(), name)))
        loop.run_until_complete(asyncio.sleep(5))
    assert fired == [(1.0, "a"), (1.0, "a2"), (2.0, "b"), (3.0, "c")]


def test_no_time_passes_while_anybody_is_ready():
    async def busy() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    with running() as loop:
        loop.call_later(1, lambda: None)
        assert loop.run_until_complete(busy()) == 0.0


def test_when_all_wait_for_each_other_the_error_names_who_and_where():
    async def stuck() -> None:
        await asyncio.get_running_loop().create_task(asyncio.Event().wait(), name="the one that waits")

    with running() as loop, pytest.raises(DeadlockError, match=r"at 0\.000 s everybody waits[\s\S]*the one that waits"):
        loop.run_until_complete(stuck())


def test_a_deadline_ends_a_wait_that_nobody_else_would():
    async def late() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    with running() as loop:
        assert loop.run_until_complete(late()) == 7.0


def test_threads_are_refused_because_their_time_is_another():
    async def leave() -> None:
        await asyncio.to_thread(time.time)

    with running() as loop, pytest.raises(RuntimeError, match="virtual clock"):
        loop.run_until_complete(leave())


def test_whatever_still_runs_at_the_end_is_cancelled_and_may_clear_up():
    cleared: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleared.append("up")

    with running() as loop:
        task = loop.create_task(forever())
        loop.run_until_complete(asyncio.sleep(1))
    assert (cleared, task.cancelled(), loop.is_closed()) == (["up"], True, True)
