"""The plain renderer tells each change that matters once, with its reason, and never a control character."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import threading
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.engine.events import Event, Kind
from rollout.engine.states import State
from rollout.observers.lines import PROGRESS_SECONDS, Lines, Narrator, Weight
from rollout.observers.words import duration, one_line
from tests.rollout.observers.recorded_run import Recorder, finished_canary


def told(events: list[Event]) -> str:
    stream = io.StringIO()

    async def play():
        lines = Lines(stream)
        for event in events:
            await lines.on_event(event)
        await lines.close()

    asyncio.run(play())
    return stream.getvalue()


def test_a_whole_run_in_lines():
    expected = Path(__file__).with_name("lines_of_a_run.txt").read_text(encoding="utf-8")
    assert told(finished_canary().events) == expected


def test_progress_is_told_when_it_is_new_and_not_too_often():
    run = Recorder()
    run.begin([{"id": "wait"}])
    run.state(0, "wait", State.QUEUED)
    run.state(0, "wait", State.RUNNING, attempt=1)
    for second in range(1, 200):
        run.add(second, Kind.PROGRESS, step="wait", data={"text": f"{second // 50} of 4"})
    lines = [line for line in told(run.events).splitlines() if " of 4" in line]
    assert lines == [
        "12:00:01Z +1.0s wait: 0 of 4",
        "12:00:50Z +50s wait: 1 of 4",
        "12:01:40Z +1m40s wait: 2 of 4",
        "12:02:30Z +2m30s wait: 3 of 4",
    ]
    assert PROGRESS_SECONDS < 49


def test_missed_events_growth_and_limits_are_said():
    run = Recorder()
    run.begin([{"id": "find"}], resumed=True)
    run.run(0, 1, "find")
    run.grow(1, "find", [{"id": "find/1"}, {"id": "find/2"}])
    run.add(2, Kind.LIMIT, data={"name": "total", "units": 4})
    run.add(2, Kind.LIMIT, data={"name": "backends.google", "units": None})
    run.add(3, Kind.MISSED, data={"count": 17})
    run.add(4, Kind.COMPENSATING, step="find", data={"outcome": "failed", "message": "quota: none left"})
    assert told(run.events).splitlines() == [
        "2026-11-25T12:00:00.000Z canary 2026-11-02 goes on, 1 step",
        "12:00:00Z +0.0s find: queued -> running",
        "12:00:01Z +1.0s [1/1] find: running -> passed  after 1.0s",
        "12:00:01Z +1.0s find: adds 2 steps",
        "12:00:02Z +2.0s limit total: 4",
        "12:00:02Z +2.0s limit backends.google: none",
        "12:00:03Z +3.0s MISSED 17 events: they came faster than they could be told",
        "12:00:04Z +4.0s find: could not be undone  quota: none left",
    ]


def test_an_old_state_that_was_missed_is_the_last_one_heard_of():
    run = Recorder()
    run.begin([{"id": "a"}])
    run.run(0, 5, "a")
    without_running = [event for event in run.events if event.new is not State.RUNNING]
    assert "a: queued -> passed" in told(without_running)


@given(
    st.text(st.characters(exclude_categories=()), max_size=80),
    st.sampled_from(["title", "reason", "tail", "link", "progress"]),
)
def test_no_text_of_others_reaches_the_log_as_a_control_character_or_as_a_line_of_its_own(words, where):
    run = Recorder()
    run.begin([{"id": "a", "title": words if where == "title" else ""}])
    run.state(0, "a", State.QUEUED)
    run.state(0, "a", State.RUNNING, attempt=1)
    run.add(1, Kind.PROGRESS, step="a", data={"text": words if where == "progress" else ""})
    tail = [words] if where == "tail" else []
    message = words if where == "reason" else "no"
    run.state(2, "a", State.FAILED, "exit-1", message, tail=tail, link=words if where == "link" else "")
    run.end(3, "failed")
    lines = told(run.events)
    assert not [
        letter for letter in lines.replace("\n", "") if unicodedata.category(letter) in {"Cc", "Zl", "Zp", "Cs"}
    ]
    assert lines.count("\n") == 5 + (where == "tail") + (where == "progress" and bool(one_line(words)))


def test_colours_of_an_output_leave_no_trace():
    narrator = Narrator()
    lines = [line for event in finished_canary().events for line in narrator.tell(event)]
    (failed,) = [line for line in lines if line.more]
    assert failed.weight is Weight.ERROR
    assert failed.more == ("limit: 960", "usage: 960", "::error::no command")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("\x1b]0;title\x07a\x1b[2Kb\x1bc", "ab"),
        ("a\r\nb\tc", "a  b c"),
        ("bell\x07 \x9b31m", "bell\ufffd \ufffd31m"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("half a letter \udc80", "half a letter ?"),
    ],
)
def test_words_of_others_become_one_line_of_letters(words, shown):
    assert one_line(words) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0.0s"), (9.94, "9.9s"), (9.96, "10s"), (59.4, "59s"), (59.6, "1m00s"), (3599.6, "1h00m"), (90_000, "25h00m")],
)
def test_durations_never_read_like_sixty_of_anything(seconds, shown):
    assert duration(seconds) == shown


def test_a_stream_that_knows_few_letters_gets_them_escaped():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)

    async def play():
        lines = Lines(stream)
        for event in finished_canary().events:
            await lines.on_event(event)

    asyncio.run(play())
    assert b"(\\u78ba\\u8a8d of 8 VMs)" in stream.buffer.getvalue()  # type: ignore[attr-defined]  # a BytesIO


@pytest.mark.parametrize(("words", "is_full"), [("a few words", True), ("x" * 100_000, False)])
def test_a_reader_that_is_slow_holds_up_the_renderer_and_not_the_loop(words, is_full):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while is_full:
            filled += os.write(writer, b"." * 4096)
    os.set_blocking(writer, True)
    run = finished_canary()
    rest: list[bytes] = []

    def read() -> None:
        while sum(map(len, rest)) < filled + len(words):
            rest.append(os.read(reader, 65536))

    patience = threading.Timer(60, read)  # else a loop that is held up would wait for ever
    patience.start()

    async def play(stream):
        lines = Lines(stream)
        slow = asyncio.create_task(lines.on_event(run.add(300, Kind.PROGRESS, step="promote", data={"text": words})))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not slow.done()
        assert rest == [], "the loop went on although nobody read"
        await asyncio.gather(slow, asyncio.to_thread(read))

    with os.fdopen(writer, "w") as stream:
        asyncio.run(play(stream))
    patience.cancel()
    os.close(reader)
    assert words.encode() in b"".join(rest)


def test_a_reader_that_is_gone_is_an_error_of_this_observer():
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")

    async def play():
        with pytest.raises(BrokenPipeError):
            await Lines(stream).on_event(finished_canary().events[0])

    asyncio.run(play())
    with pytest.raises(BrokenPipeError):
        stream.close()
