"""What counts as an operator's mark: one spelling everywhere, strict holds, and nothing of a garbled instance."""

from __future__ import annotations

import datetime

import pytest
from deleter import decide, marks
from deleter.decide import Ledger, Member, Reason
from hypothesis import given
from hypothesis import strategies as st

from fleet import metadata
from startup.lib import marks as on_the_vm

MOMENT = "2026-11-25T14:10:00Z"
AT = datetime.datetime(2026, 11, 25, 14, 10, tzinfo=datetime.UTC).timestamp()
NOW = datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC)


def instance(**values):
    items = [{"key": key.replace("_", "-"), "value": value} for key, value in values.items()]
    return {"metadata": {"items": items}}


def test_functions_vms_and_fleet_call_the_marks_alike():
    assert {marks.HOLD_UNTIL, marks.DRAIN} == {on_the_vm.HOLD_UNTIL, on_the_vm.DRAIN} == set(metadata.MARKS)


def test_a_hold_lasts_until_its_moment():
    held = instance(runner_hold_until=MOMENT)
    assert (marks.held_until(held), marks.held(held, AT - 1), marks.held(held, AT)) == (AT, True, False)


@given(st.text() | st.datetimes().map(lambda when: when.strftime("%Y-%m-%dT%H:%M:%SZ")))
def test_the_function_and_the_vm_read_every_text_alike(text):
    seen = marks.held_until(instance(runner_hold_until=text.strip()))
    assert seen == on_the_vm.moment(text.strip())


@pytest.mark.parametrize(
    "garbled",
    [
        {},
        {"metadata": None},
        {"metadata": {"items": None}},
        {"metadata": {"items": [None, {}, {"key": "runner-drain"}, {"key": "runner-hold-until", "value": 7}]}},
        {"metadata": {"items": [{"key": "runner-drain", "value": "x"}] * 2}},
        {"metadata": {"items": [{"key": "runner-hold-until", "value": MOMENT}] * 2}},
        instance(runner_drain="", runner_hold_until=""),
    ],
)
def test_what_is_garbled_is_no_mark(garbled):
    assert (marks.held_until(garbled), marks.drained(garbled)) == (None, False)


@pytest.mark.parametrize(("wanted", "most"), [(0, 1), (1, 1), (7, 1), (8, 2), (100, 25)])
def test_a_quarter_may_be_missing_and_always_one(wanted, most):
    assert decide.missing_at_once(wanted) == most


@given(st.integers(1, 12), st.integers(0, 12), st.integers(0, 4), st.data())
def test_however_many_are_drained_no_more_are_missing_than_may_be(vms, wanted, gone, data):
    """They ask in any order, each until it leaves; some are on their way already, with no permit of ours."""
    actions = ["DELETING"] * gone + ["NONE"] * vms
    members = [Member(id=str(at + 1), name=f"vm-{at}", zone="z", action=action) for at, action in enumerate(actions)]
    ledger = Ledger()
    for asker in data.draw(st.permutations([member.id for member in members])):
        answer = decide.ask_drained(asker, ledger, members, wanted, now=NOW)
        ledger = answer.ledger or ledger
    stay = vms - len(ledger.permits)
    least = wanted - decide.missing_at_once(wanted)
    assert stay >= min(vms, least)
    assert stay == max(0, min(vms, least)), "fewer leave than may"
    assert not {str(at + 1) for at in range(gone)} & ledger.permits.keys()


def test_a_vm_in_reserve_or_in_the_making_is_not_drained():
    made = Member(id="1", name="vm", zone="z", action="NONE", runs=False)
    assert decide.ask_drained("1", Ledger(), [made], 0, now=NOW).reason is Reason.NOT_A_MEMBER
