"""Waiting until something outside is so."""

# ruff: noqa: ARG005 - backends, observers and callbacks take what they are called with
from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from engine_world import on_clock

from rollout.engine.backend import Failed, Passed
from rollout.engine.polling import Waiting, until


class Watched:
    """An attempt, as far as waiting needs one."""

    step_id = "a"
    number = 1
    params: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.said = []

    def progress(self, text: str) -> None:
        self.said.append(text)

    def write(self, data: bytes) -> None: ...

    async def attach(self, external_id: str, link: str = "") -> None: ...


def waited(look, **fields):
    """The outcome, the times of all looks, and what was said."""
    attempt = Watched()
    looks = []

    async def main(clock):
        async def noted():
            looks.append(clock.time())
            return look(clock.time())

        return await until(noted, attempt, **fields)

    return on_clock(main), looks, attempt.said


def when(seconds, *, progress=lambda now: "not yet"):
    return lambda now: Passed(message="there") if now >= seconds else Waiting(progress=progress(now))


def test_the_first_look_is_at_once():
    assert waited(when(0.0)) == (Passed(message="there"), [0.0], [])


def test_pauses_grow_up_to_the_longest_as_long_as_nothing_changes():
    outcome, looks, said = waited(when(30.0), first_seconds=2.0, most_seconds=6.0)
    assert outcome == Passed(message="there")
    assert looks == [0.0, 2.0, 5.0, 9.5, 15.5, 21.5, 27.5, 33.5]
    assert said == ["not yet"]


def test_pauses_begin_anew_when_something_changes():
    look = when(20.0, progress=lambda now: f"{int(now // 10)} of 2 VMs")
    _, looks, said = waited(look, first_seconds=2.0, most_seconds=60.0)
    assert looks == [0.0, 2.0, 5.0, 9.5, 16.25, 18.25, 21.25]
    assert said == ["0 of 2 VMs", "1 of 2 VMs"]


def test_a_look_may_say_when_the_next_one_is():
    look = lambda now: Passed() if now else Waiting(progress="rate limited", retry_after_seconds=90.0)  # noqa: E731
    assert waited(look)[1] == [0.0, 90.0]


def test_there_is_one_more_look_at_the_deadline():
    assert waited(when(10.0), deadline=10.0)[0] == Passed(message="there")
    outcome, looks, _ = waited(when(11.0), first_seconds=4.0, deadline=10.0)
    assert outcome == Failed(code="deadline", message="still waiting: not yet", error_class="timeout")
    assert looks == [0.0, 4.0, 10.0]


def test_a_failure_ends_it():
    gone = Failed(code="gone", message="the group is gone")
    assert waited(lambda now: gone)[:2] == (gone, [0.0])


@pytest.mark.parametrize("at", [0.0, 3.0])
def test_a_graceful_end_is_noticed_in_a_pause(at):
    attempt = Watched()
    attempt.cancelled.set()

    async def main(clock):
        attempt.cancelled.clear()
        clock.call_later(at, attempt.cancelled.set)

        async def look():
            return Waiting(progress="2 of 3 VMs")

        return await until(look, attempt, first_seconds=60.0), clock.time()

    outcome, ended = on_clock(main)
    assert (outcome.code, outcome.message) == ("cancelled", "was stopped while it waited: 2 of 3 VMs")
    assert ended == at
