"""An operator's marks on a VM: what counts as one, that it is asked for afresh, and how a hold is waited out."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulators.cloud import Cloud, Reply
from fleet import metadata
from startup.lib import marks

HOLD = "instance/attributes/runner-hold-until"
DRAIN = "instance/attributes/runner-drain"
MOMENT = "2026-11-25T14:10:00Z"
AT = datetime.datetime(2026, 11, 25, 14, 10, tzinfo=datetime.UTC).timestamp()


@pytest.fixture(autouse=True)
def _asked_of_the_cloud(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", cloud.host)


def test_the_vm_and_the_fleet_call_the_marks_alike() -> None:
    assert {marks.HOLD_UNTIL, marks.DRAIN} == set(metadata.MARKS)


def test_a_hold_lasts_until_its_moment_and_is_none_then(cloud: Cloud) -> None:
    cloud.metadata[HOLD] = MOMENT
    assert (marks.held(AT - 1), marks.held(AT)) == (True, False)


def test_without_marks_a_vm_is_neither_held_nor_drained() -> None:
    assert (marks.held(AT), marks.drained()) == (False, False)


def test_a_mark_is_asked_for_afresh(cloud: Cloud) -> None:
    cloud.metadata[HOLD] = MOMENT
    assert marks.held(0)
    del cloud.metadata[HOLD]
    assert not marks.held(0)


@pytest.mark.parametrize(
    "text",
    [
        *("", "2h", "true", "2026-11-25", "2026-11-25T14:10:00", "2026-11-25T14:10:00+01:00", "2026-11-25t14:10:00z"),
        *("2026-13-25T14:10:00Z", "2026-11-25T24:10:00Z", f"{MOMENT}\n{MOMENT}", f"{MOMENT} ", "٢٠٢٦-11-25T14:10:00Z"),
    ],
)
def test_a_text_of_another_form_holds_nothing(text: str) -> None:
    assert marks.moment(text) is None


@given(st.integers(0, 4_000_000_000))
def test_every_moment_that_the_command_writes_is_read_as_itself(seconds: int) -> None:
    written = datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert marks.moment(written) == seconds


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    assert marks.moment(text) is None or len(text) == len(MOMENT)


@pytest.mark.parametrize(("text", "drained"), [("", False), ("no", True), (MOMENT, True)])
def test_any_text_drains(cloud: Cloud, text: str, *, drained: bool) -> None:
    cloud.metadata[DRAIN] = text
    assert marks.drained() is drained


@pytest.mark.parametrize("status", [403, 500, 503])
def test_a_metadata_server_that_does_not_tell_says_neither_yes_nor_no(cloud: Cloud, status: int) -> None:
    cloud.replies["metadata"].extend([Reply(status=status)] * 2)
    for ask in (marks.hold_until, marks.drained):
        with pytest.raises(marks.UnknownError, match=f"HTTP {status}"):
            ask()


def test_a_metadata_server_that_is_not_there_says_neither_yes_nor_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:9")
    with pytest.raises(marks.UnknownError):
        marks.hold_until()


class Hold:
    """A clock, and what the metadata server says at each look; an exception is raised."""

    def __init__(self, *answers: float | Exception | None) -> None:
        self.looks = 0
        self.seconds = 0.0
        self._answers = answers

    def until(self) -> float | None:
        answer = self._answers[min(self.looks, len(self._answers) - 1)]
        self.looks += 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sleep(self, seconds: int) -> None:
        self.seconds += seconds

    def wait(self) -> float:
        """How long it was waited."""
        marks.wait(until=self.until, now=lambda: self.seconds, sleep=self.sleep)
        return self.seconds


UNKNOWN = marks.UnknownError("not told")


@pytest.mark.parametrize(
    ("answers", "seconds"),
    [
        ([None], 0),
        ([0.0], 0),
        ([100.0], 120),
        ([100.0, None], 30),
        ([100.0, 40.0], 60),
        ([40.0, 100.0], 120),
        ([100.0, UNKNOWN], 120),
        ([UNKNOWN], 0),
        ([UNKNOWN, 100.0], 0),
    ],
)
def test_a_hold_is_waited_out_and_what_is_not_told_changes_nothing(
    answers: list[float | Exception | None], seconds: float
) -> None:
    assert Hold(*answers).wait() == seconds


def test_the_log_says_that_a_vm_is_held_once_and_when_it_is_not_any_more(capsys: pytest.CaptureFixture[str]) -> None:
    Hold(100.0).wait()
    assert capsys.readouterr().err.splitlines() == [
        "marks: an operator holds this VM until 1970-01-01T00:01:40Z",
        "marks: nobody holds this VM any more",
    ]


@pytest.mark.parametrize("arguments", [[], ["held"], ["wait", "wait"]])
def test_it_knows_one_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert marks.main(arguments) == 64
    assert "usage" in capsys.readouterr().err


def test_the_command_returns_at_once_where_nobody_holds_the_vm() -> None:
    assert marks.main(["wait"]) == 0
