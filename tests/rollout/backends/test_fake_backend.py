"""The scripted backend does what its script says, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from rollout.backends.fake import Act, Call, Fake, fails, passes
from rollout.engine.backend import Busy, Failed, Outcome, Passed
from tests.rollout.backends.attempts import OneTry


class Clock:
    """Sleeps that end when they are told to, in order."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        wake = asyncio.Event()
        self._sleepers.append((seconds, wake))
        await wake.wait()

    async def wake(self) -> None:
        """End the shortest sleep."""
        first = min(self._sleepers, key=lambda sleeper: sleeper[0])
        self._sleepers.remove(first)
        first[1].set()
        await settle()


async def settle() -> None:
    """Let everybody go on until all wait."""
    for _ in range(20):
        await asyncio.sleep(0)


def outcomes(fake: Fake, *tries: OneTry) -> list[Outcome]:
    async def main() -> list[Outcome]:
        return [await fake.run(attempt) for attempt in tries]

    return asyncio.run(main())


def played(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


def test_a_step_without_an_act_passes_at_once():
    assert outcomes(Fake(), OneTry()) == [Passed()]


def test_an_id_goes_before_patterns_and_patterns_in_their_order():
    fake = Fake({"*/west": fails("a"), "cut/*": fails("b"), "cut/west": passes(n=1), "*": passes(n=2)})
    steps = ["cut/west", "cut/east", "roll/west", "other"]
    found = outcomes(fake, *map(OneTry, steps))
    assert found[0] == Passed(output={"n": 1})
    assert [outcome.error_class for outcome in found[1:3] if isinstance(outcome, Failed)] == ["b", "a"]
    assert found[3] == Passed(output={"n": 2})
    assert fake.order() == steps


def test_acts_are_played_in_order_and_the_last_one_again_and_again():
    fake = Fake({"a": [Act(outcome=Busy(message="full")), fails("quota"), passes()]})
    found = outcomes(fake, OneTry("a", 1), OneTry("a", 1), OneTry("a", 2), OneTry("a", 3))
    assert [type(outcome) for outcome in found] == [Busy, Failed, Passed, Passed]


def test_a_script_without_acts_is_refused():
    with pytest.raises(ValueError, match="script of 'a' has no act"):
        Fake({"a": []})


def test_an_exception_of_the_script_is_raised():
    fake = Fake({"a": Act(outcome=ZeroDivisionError("scripted"))})
    with pytest.raises(ZeroDivisionError, match="scripted"):
        outcomes(fake, OneTry("a"))
    assert fake.running.total() == 0


def test_what_is_asked_is_recorded():
    async def main() -> None:
        fake = Fake()
        attempt = OneTry("a", 2, size=3)
        await fake.run(attempt)
        await fake.cancel(attempt)
        await fake.reattach(attempt, "op-1")
        await fake.close()
        about = {"step_id": "a", "number": 2, "params": {"size": 3}}
        assert fake.calls == [
            Call(kind="run", **about),
            Call(kind="cancel", **about),
            Call(kind="reattach", external_id="op-1", **about),
            Call(kind="close"),
        ]

    played(main)


def test_it_attaches_speaks_and_writes_at_its_beginning():
    attempt = OneTry("a", 2)
    act = Act(external_id="op-{step}-{try}", progress=("begun", "half"), writes=b"log\n")
    outcomes(Fake({"a": act}), attempt)
    assert (attempt.external_ids, attempt.progressed, attempt.log) == (["op-a-2"], ["begun", "half"], b"log\n")


def test_delays_pass_on_the_clock_that_is_given():
    async def main() -> None:
        clock = Clock()
        fake = Fake({"slow": Act(seconds=9), "fast": Act(seconds=2)}, sleep=clock.sleep)
        slow, fast = (asyncio.create_task(fake.run(OneTry(step))) for step in ("slow", "fast"))
        await settle()
        assert fake.running == {"slow": 1, "fast": 1}
        await clock.wake()
        assert (fast.done(), slow.done()) == (True, False)
        await clock.wake()
        assert (await fast, await slow) == (Passed(), Passed())
        assert (fake.running.total(), fake.most_running) == (0, 2)

    played(main)


def test_the_same_seed_takes_the_same_times_in_any_order():
    def times(seed: int, *steps: str) -> dict[str, float]:
        clock = Clock()

        async def main() -> None:
            fake = Fake({"*": Act(seconds=(1, 5))}, seed=seed, sleep=clock.sleep)
            running = [asyncio.create_task(fake.run(OneTry(step))) for step in steps]
            await settle()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

        asyncio.run(main())
        return dict(zip(steps, clock.asked, strict=True))

    assert times(1, "a", "b", "c") == times(1, "c", "a", "b")
    assert times(1, "a", "b") != times(2, "a", "b")
    assert all(1 <= seconds <= 5 for seconds in times(3, "a", "b").values())
    assert len(set(times(1, "a", "b", "c").values())) == 3


def test_one_that_hangs_ends_when_it_is_asked_to():
    async def main() -> None:
        fake = Fake({"a": Act(hangs=True)})
        attempt = OneTry("a")
        running = asyncio.create_task(fake.run(attempt))
        await settle()
        assert not running.done()
        await fake.cancel(attempt)
        assert await running == Failed(code="cancelled", message="it was asked to end")

    played(main)


def test_one_that_ends_slowly_takes_its_time():
    async def main() -> None:
        clock = Clock()
        fake = Fake({"a": Act(hangs=True, cancel_seconds=7)}, sleep=clock.sleep)
        attempt = OneTry("a")
        running = asyncio.create_task(fake.run(attempt))
        await settle()
        await fake.cancel(attempt)
        await settle()
        assert (running.done(), clock.asked) == (False, [7])
        await clock.wake()
        assert isinstance(await running, Failed)

    played(main)


def test_one_that_does_not_listen_goes_on_to_its_end():
    async def main() -> None:
        clock = Clock()
        fake = Fake({"a": Act(seconds=3, ignores_cancel=True)}, sleep=clock.sleep)
        attempt = OneTry("a")
        running = asyncio.create_task(fake.run(attempt))
        await settle()
        await fake.cancel(attempt)
        await settle()
        assert not running.done()
        await clock.wake()
        assert await running == Passed()

    played(main)


def test_one_that_was_asked_before_it_began_ends_at_once():
    async def main() -> None:
        attempt = OneTry("a")
        attempt.cancelled.set()
        assert isinstance(await Fake({"a": Act(hangs=True)}).run(attempt), Failed)

    played(main)


@pytest.mark.parametrize("swallows", [0, 2])
def test_cancellations_of_the_task_are_swallowed_as_often_as_the_act_says(swallows):
    async def main() -> None:
        fake = Fake({"a": Act(hangs=True, swallows=swallows)})
        running = asyncio.create_task(fake.run(OneTry("a")))
        await settle()
        for _ in range(swallows):
            running.cancel()
            await settle()
            assert not running.done()
        running.cancel()
        await settle()
        assert running.cancelled()
        assert fake.running.total() == 0

    played(main)


def test_work_is_found_again_or_lost():
    async def main() -> None:
        fake = Fake({"a": [fails(), passes(n=2)], "b": Act(found=False)})
        assert await fake.reattach(OneTry("a", 2), "op") == Passed(output={"n": 2})
        assert await fake.reattach(OneTry("b"), "op-7") == Failed(code="lost", message="op-7 is not to be found")

    played(main)
