"""A secret that was named is in nothing that is written, however its bytes arrive."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.engine.events import Event, Kind, Reason
from rollout.observers.masking import Masked, Secrets
from tests.rollout.observers.recorded_run import Recorder

KEY = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA\nq83vEjRWeJCrze8=\n-----END KEY-----\n"


def streamed(secrets: Secrets, pieces: list[bytes]) -> bytes:
    stream = secrets.stream()
    return b"".join([*(stream.feed(piece) for piece in pieces), stream.feed(b"", last=True)])


@given(st.data())
def test_a_stream_is_masked_alike_however_it_is_cut(data):
    values = data.draw(st.lists(st.text("abé", min_size=4, max_size=9), min_size=1, max_size=4))
    text = "".join(data.draw(st.lists(st.one_of(st.text("abéx", max_size=5), st.sampled_from(values)), max_size=8)))
    whole = text.encode()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    masked = streamed(Secrets(values), pieces)
    assert masked == streamed(Secrets(values), [whole]) == Secrets(values).text(text).encode()
    for value in values:
        assert value.encode() not in masked


def test_a_secret_that_begins_like_another_is_masked_as_a_whole():
    secrets = Secrets(["token", "token-of-prod"])
    assert secrets.text("token-of-prod token") == "*** ***"
    assert streamed(secrets, [b"token", b"-of-prod"]) == b"***"


def test_each_line_of_a_key_is_a_secret():
    secrets = Secrets([KEY])
    assert secrets.text(f"x {KEY.strip()} y") == "x *** y"
    assert secrets.text("of its lines: q83vEjRWeJCrze8=") == "of its lines: ***"


def test_no_more_is_held_back_than_could_begin_a_secret():
    stream = Secrets(["hunter22"]).stream()
    assert stream.feed(b"0123456789") == b"012"
    assert stream.feed(b"", last=True) == b"3456789"


def test_without_secrets_nothing_is_held_back_or_copied():
    data = b"plain"
    assert Secrets().stream().feed(data) is data
    event = Recorder().add(0, Kind.PROGRESS, data={"text": "t"})
    assert Secrets().event(event) is event


def test_an_event_is_masked_wherever_it_has_words():
    reason = Reason(code="exit-1", message="said hunter22", cause="a", link="https://x/hunter22")
    event = Event(
        number=1,
        at=0,
        elapsed_seconds=0,
        kind=Kind.STATE,
        reason=reason,
        data={"tail": ["a hunter22"], "output": {"hunter22": [1, ("hunter22",)]}, "attempt": 1},
    )
    masked = Secrets(["hunter22"]).event(event)
    assert "hunter22" not in repr(masked)
    assert masked.data == {"tail": ["a ***"], "output": {"***": [1, ["***"]]}, "attempt": 1}
    assert masked.reason == Reason(code="exit-1", message="said ***", cause="a", link="https://x/***")


def test_an_observer_behind_the_mask_hears_no_secret_and_is_closed():
    heard = []

    class Ear:
        async def on_event(self, event):
            heard.append(event.data["text"])

        async def close(self):
            heard.append("closed")

    async def play():
        masked = Masked(Ear(), Secrets(["hunter22"]))
        await masked.on_event(Recorder().add(0, Kind.PROGRESS, data={"text": "is hunter22"}))
        await masked.close()

    asyncio.run(play())
    assert heard == ["is ***", "closed"]


@pytest.mark.parametrize("value", ["abc", " a \n", "\t\t\t\t\t"])
def test_a_secret_that_is_too_short_to_mask_is_refused_without_being_told(value):
    with pytest.raises(ValueError, match="4 are the least") as raised:
        Secrets([value])
    assert "abc" not in str(raised.value)


def test_an_absent_secret_is_none():
    assert Secrets(["", "long-enough"]).text("a") == "a"
