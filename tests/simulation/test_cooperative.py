"""Synchronous code on the virtual clock: its waits interleave, its locks pass on in turn, its errors come through."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from simulation import cooperative
from simulation.loop import running


def pause(seconds: float) -> None:
    cooperative.wait(asyncio.sleep(seconds))


def now() -> float:
    return asyncio.get_running_loop().time()


def play(work: Any) -> Any:
    with running() as loop:
        return loop.run_until_complete(work)


def test_two_callers_wait_beside_each_other():
    def slow(seconds: float) -> float:
        pause(seconds)
        pause(seconds)
        return now()

    async def both() -> list[float]:
        return list(await asyncio.gather(cooperative.call(slow, 5), cooperative.call(slow, 3)))

    assert play(both()) == [10.0, 6.0]


def test_what_an_awaitable_raises_is_raised_where_the_code_waits_and_what_the_code_raises_is_awaited():
    async def fail() -> None:
        raise KeyError("inside")

    def caught() -> str:
        try:
            cooperative.wait(fail())
        except KeyError:
            raise ValueError("outside") from None
        return "not reached"

    with pytest.raises(ValueError, match="outside"):
        play(cooperative.call(caught))


def test_a_cancelled_call_clears_up_and_ends():
    cleared: list[float] = []

    def slow() -> None:
        try:
            pause(100)
        finally:
            cleared.append(now())

    async def impatient() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await cooperative.call(slow)

    play(impatient())
    assert cleared == [2.0]


def test_waiting_outside_of_a_call_is_a_mistake_that_is_told():
    async def nothing() -> None:
        """Never awaited by anybody else."""

    work = nothing()
    with pytest.raises(RuntimeError, match="only code that"):
        cooperative.wait(work)
    work.close()


def test_a_lock_is_held_by_one_and_passed_on_in_turn():
    lock = cooperative.Lock()
    order: list[tuple[int, float]] = []

    def hold(number: int) -> None:
        with lock:
            pause(10)
            order.append((number, now()))

    async def three() -> None:
        await asyncio.gather(*(cooperative.call(hold, number) for number in range(3)))

    play(three())
    assert order == [(0, 10.0), (1, 20.0), (2, 30.0)]
    assert not lock.locked()


def test_who_waits_too_long_for_a_lock_goes_without_and_leaves_it_to_others():
    lock = cooperative.Lock()
    got: list[tuple[str, bool, float]] = []

    def hold() -> None:
        with lock:
            pause(10)

    def ask(name: str, seconds: float) -> None:
        held = lock.acquire(timeout=seconds)
        got.append((name, held, now()))
        if held:
            lock.release()

    async def all_of_them() -> None:
        await asyncio.gather(
            cooperative.call(hold), cooperative.call(ask, "hasty", 3), cooperative.call(ask, "patient", 30)
        )

    play(all_of_them())
    assert got == [("hasty", False, 3.0), ("patient", True, 10.0)]
    assert lock.acquire(blocking=False)
    assert not lock.acquire(blocking=False)


def test_every_lock_that_an_object_holds_is_replaced_also_behind_methods_and_other_objects():
    class Inner:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def token(self) -> str:
            return "t"

    class Outer:
        def __init__(self) -> None:
            self.first = threading.Lock()
            inner = Inner()
            self.method = inner.token
            self.inner, self.itself = inner, self

    outer = Outer()
    assert cooperative.replace_locks(outer) == 2
    assert isinstance(outer.first, cooperative.Lock)
    assert isinstance(outer.inner.lock, cooperative.Lock)
