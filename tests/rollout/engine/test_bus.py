"""Observers hear everything in order, and harm nobody."""

# ruff: noqa: ARG001, ARG002 - backends, observers and callbacks take what they are called with
from __future__ import annotations

import asyncio

import pytest
from engine_world import Recorder, on_clock

from rollout.engine.bus import Bus
from rollout.engine.events import Kind


class Slow(Recorder):
    """Hears nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def on_event(self, event) -> None:
        await self.go.wait()
        await super().on_event(event)


def heard(slow):
    return [(event.number, event.kind.value, event.data.get("count")) for event in slow.events]


def published(*kinds, most=5, first=1):
    """What a slow observer hears of these, one of which it has already got hold of; and its bus's faults."""
    slow = Slow()

    async def main(clock):
        bus = Bus([slow], wall=clock.wall, most=most)
        for n in range(first):
            bus.publish(Kind.STATE, step=f"first {n}")
        await asyncio.sleep(0)
        for kind in kinds:
            bus.publish(kind)
        slow.go.set()
        return await bus.close()

    return slow, on_clock(main)


def test_events_are_numbered_without_a_gap_and_come_in_order():
    slow, faults = published(*[Kind.STATE] * 4)
    assert heard(slow) == [(n, "state", None) for n in range(1, 6)]
    assert faults == []


def test_a_full_queue_loses_progress_first_and_says_how_much():
    slow, _ = published(Kind.PROGRESS, Kind.STATE, Kind.PROGRESS, Kind.STATE, Kind.STATE, Kind.STATE, Kind.STATE)
    assert heard(slow) == [
        (1, "state", None),
        (2, "missed", 1),
        (3, "state", None),
        (4, "missed", 1),
        (5, "state", None),
        (6, "state", None),
        (7, "state", None),
        (8, "state", None),
    ]


def test_then_it_loses_the_oldest():
    slow, _ = published(*[Kind.STATE] * 9)
    assert heard(slow) == [(1, "state", None), (5, "missed", 4)] + [(n, "state", None) for n in range(6, 11)]


def test_progress_is_left_out_where_there_is_no_room_even_for_the_rest():
    slow, _ = published(*[Kind.STATE] * 5, Kind.PROGRESS, Kind.PROGRESS, Kind.RUN_ENDED)
    assert heard(slow)[0] == (1, "state", None)
    assert [event.kind for event in slow.events if event.kind is Kind.PROGRESS] == []
    assert sum(event.data["count"] for event in slow.events if event.kind is Kind.MISSED) == 3
    assert slow.events[-1].kind is Kind.RUN_ENDED
    assert slow.events[-1].number == 9


def test_one_that_is_slow_costs_another_nothing():
    slow, quick = Slow(), Recorder()

    async def main(clock):
        bus = Bus([slow, quick], wall=clock.wall, most=2)
        for _ in range(50):
            bus.publish(Kind.STATE)
            await asyncio.sleep(0.001)
        slow.go.set()
        return await bus.close()

    assert on_clock(main) == []
    assert [event.number for event in quick.events] == list(range(1, 51))
    assert [event.kind for event in slow.events].count(Kind.MISSED) == 1


def test_nobody_pays_for_events_that_nobody_hears():
    async def main(clock):
        bus = Bus([], wall=lambda: pytest.fail("a time was asked for"))
        bus.publish(Kind.STATE)
        assert len(asyncio.all_tasks()) == 1
        return bus.heard, await bus.close()

    assert on_clock(main) == (False, [])


def test_an_event_has_the_wall_time_and_one_that_never_jumps():
    recorder = Recorder()

    async def main(clock):
        bus = Bus([recorder], wall=iter([1000.0, 500.0]).__next__)
        bus.publish(Kind.STATE)
        await asyncio.sleep(7.0)
        bus.publish(Kind.STATE)
        await bus.close()

    on_clock(main)
    assert [(event.at, event.elapsed_seconds) for event in recorder.events] == [(1000.0, 0.0), (500.0, 7.0)]


def test_one_that_raises_is_closed_at_once_and_its_queue_stays_empty():
    class Raises(Recorder):
        async def on_event(self, event):
            await super().on_event(event)
            raise SystemExit(7)

    raises = Raises()

    async def main(clock):
        bus = Bus([raises], wall=clock.wall)
        bus.publish(Kind.STATE)
        await asyncio.sleep(1.0)
        closed = raises.closed
        for _ in range(10):
            bus.publish(Kind.STATE)
        return closed, await bus.close()

    assert on_clock(main) == (1, ["Raises.on_event raised SystemExit: 7"])
    assert (len(raises.events), raises.closed) == (1, 1)


def test_one_that_will_not_be_cancelled_is_left_behind():
    over = asyncio.Event()

    class Deaf(Recorder):
        async def on_event(self, event):
            while not over.is_set():
                try:
                    await asyncio.sleep(1e6)
                except asyncio.CancelledError:
                    continue

    async def main(clock):
        bus = Bus([Deaf()], wall=clock.wall)
        bus.publish(Kind.STATE)
        faults = await bus.close()
        over.set()
        return faults, clock.time()

    assert on_clock(main) == (["1 observers will not end, and were left behind"], 15.0)
