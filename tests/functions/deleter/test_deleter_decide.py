"""What the deleter decides, without any HTTP: surplus, ledger, departures, operations, requests."""

from __future__ import annotations

import datetime
import json
import uuid

import pytest
from deleter import decide
from deleter.decide import Ended, Leaving, Ledger, LedgerUnreadableError, Member, Reason, Size
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

NOW = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)
IDS = st.integers(1, 2**64 - 1).map(str)
LEDGERS = st.builds(
    lambda permits, suspects: Ledger(permits=permits, suspects=frozenset(suspects)),
    st.dictionaries(IDS, st.text(max_size=20), max_size=5),
    st.sets(IDS, max_size=5),
)


def member(number, action="NONE"):
    return Member(id=str(number), name=f"vm-{number}", zone="us-west1-a", action=action)


@pytest.mark.parametrize(
    ("target", "stable", "wanted", "minimum", "expected"),
    [
        (5, True, 3, 1, 2),
        (5, True, 0, 1, 4),
        (5, True, 0, 0, 5),
        (5, True, 2, 4, 1),
        (5, False, 3, 1, Reason.GROUP_UNSTABLE),
        (5, True, Reason.NO_RECOMMENDATION, 1, Reason.NO_RECOMMENDATION),
        (5, True, 3, 5, Reason.AT_MINIMUM),
        (4, True, 3, 5, Reason.AT_MINIMUM),
        (0, True, 0, 0, Reason.AT_MINIMUM),
        (5, True, 5, 1, Reason.NO_SURPLUS),
        (5, True, 9, 1, Reason.NO_SURPLUS),
    ],
)
def test_surplus_is_what_exceeds_both_the_wanted_size_and_the_minimum(target, stable, wanted, minimum, expected):
    assert decide.surplus_of(Size(target=target, stable=stable), wanted, minimum) == expected


@given(st.integers(0, 200), st.booleans(), st.integers(0, 200), st.integers(0, 200))
def test_surplus_never_takes_a_group_below_what_is_wanted_or_its_minimum(target, stable, wanted, minimum):
    surplus = decide.surplus_of(Size(target=target, stable=stable), wanted, minimum)
    assert isinstance(surplus, Reason) or (surplus > 0 and target - surplus >= max(wanted, minimum))


LINK = "https://www.googleapis.com/compute/v1/projects/p/regions/r/instanceGroupManagers/g"


@pytest.mark.parametrize(
    ("autoscaler", "expected"),
    [
        ({"target": LINK, "status": "ACTIVE", "recommendedSize": 3}, 3),
        ({"target": LINK, "status": "ACTIVE", "recommendedSize": 0}, 0),
        ({"target": LINK, "status": "ACTIVE"}, Reason.NO_RECOMMENDATION),
        ({"target": LINK, "status": "ACTIVE", "recommendedSize": None}, Reason.NO_RECOMMENDATION),
        ({"target": LINK, "status": "ACTIVE", "recommendedSize": "3"}, Reason.NO_RECOMMENDATION),
        ({"target": LINK, "status": "ACTIVE", "recommendedSize": -1}, Reason.NO_RECOMMENDATION),
        ({"target": LINK, "status": "ACTIVE", "recommendedSize": False}, Reason.NO_RECOMMENDATION),
        ({"target": LINK, "status": "PENDING", "recommendedSize": 3}, Reason.NO_RECOMMENDATION),
        ({"target": LINK, "status": "ERROR", "recommendedSize": 3}, Reason.NO_RECOMMENDATION),
        ({"target": LINK + "2", "status": "ACTIVE", "recommendedSize": 3}, Reason.NO_RECOMMENDATION),
        ({}, Reason.NO_RECOMMENDATION),
    ],
)
def test_only_an_active_autoscaler_of_the_group_that_says_a_number_recommends(autoscaler, expected):
    assert decide.recommended(autoscaler, "g") == expected


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (b'{"desired": 3, "expires": "2026-11-22T12:00:01Z"}', 3),
        (b'{"desired": 0, "expires": "2026-11-22T13:00:01+01:00"}', 0),
        (None, Reason.NO_DEMAND),
        (b'{"desired": 3, "expires": "2026-11-22T12:00:00Z"}', Reason.DEMAND_STALE),
        (b'{"desired": 3, "expires": "2026-11-22T12:00:01"}', Reason.DEMAND_STALE),
        (b'{"desired": 3, "expires": 1}', Reason.DEMAND_STALE),
        (b'{"desired": 3}', Reason.DEMAND_STALE),
        (b'{"desired": "3", "expires": "2026-11-22T12:00:01Z"}', Reason.DEMAND_STALE),
        (b'{"desired": -1, "expires": "2026-11-22T12:00:01Z"}', Reason.DEMAND_STALE),
        (b'{"desired": true, "expires": "2026-11-22T12:00:01Z"}', Reason.DEMAND_STALE),
        (b"[]", Reason.DEMAND_STALE),
        (b"", Reason.DEMAND_STALE),
        (b"\xff", Reason.DEMAND_STALE),
        (b"[" * 100_000, Reason.DEMAND_STALE),
    ],
)
def test_only_a_demand_that_is_still_valid_counts(stored, expected):
    assert decide.demanded(stored, now=NOW) == expected


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_no_demand_or_ledger_whatever_stands_in_it_is_more_than_an_answer(stored):
    decide.demanded(stored, now=NOW)
    try:
        decide.read_ledger(stored)
    except LedgerUnreadableError:
        return


@given(st.datetimes(), st.integers(-1439, 1439))
def test_no_expiry_whatever_its_offset_is_more_than_an_answer(moment, minutes):
    zone = datetime.timezone(datetime.timedelta(minutes=minutes))
    stored = json.dumps({"desired": 1, "expires": moment.replace(tzinfo=zone).isoformat()}).encode()
    assert decide.demanded(stored, now=NOW) in (1, Reason.DEMAND_STALE)


@given(LEDGERS)
def test_a_ledger_reads_back_as_it_was_written(ledger):
    assert decide.read_ledger(ledger.text()) == ledger


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"permits": {}}',
        b'{"permits": [], "suspects": []}',
        b'{"permits": {}, "suspects": {}}',
        b'{"permits": {"vm": "now"}, "suspects": []}',
        b'{"permits": {"1": 2}, "suspects": []}',
        b'{"permits": {}, "suspects": [1]}',
        b'{"permits": {}, "suspects": [], "later": 1}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_ledger_that_nobody_here_wrote_is_unreadable(stored):
    with pytest.raises(LedgerUnreadableError):
        decide.read_ledger(stored)


def test_a_ledger_that_is_not_there_is_empty():
    assert decide.read_ledger(None) == Ledger()


def test_a_permit_is_kept_whatever_the_group_says_meanwhile():
    answer = decide.ask_ledger("1", Ledger(permits={"1": "now"}))
    assert answer == decide.Answer(permit=True, reason=Reason.HELD)


def test_a_suspect_is_no_holder_and_clears_itself_by_asking():
    ledger = Ledger(suspects=frozenset({"1", "2"}))
    assert decide.ask_ledger("1", ledger) is None
    answer = decide.ask("1", ledger, [member(1), member(2)], 1, now=NOW)
    assert (answer.permit, answer.reason) == (False, Reason.ALL_GIVEN)
    assert answer.ledger == Ledger(suspects=frozenset({"2"}))


def test_a_vm_the_group_takes_away_gets_no_permit_and_its_old_one_still_counts():
    gone = decide.ask("1", Ledger(), [member(1, "DELETING")], 1, now=NOW)
    assert (gone.permit, gone.reason) == (False, Reason.NOT_A_MEMBER)
    other = decide.ask("2", Ledger(permits={"1": "t"}), [member(1, "DELETING"), member(2)], 1, now=NOW)
    assert (other.permit, other.reason) == (False, Reason.ALL_GIVEN)


def test_a_name_without_a_vm_is_nobody():
    members = [Member(id="", name="vm-1", zone="us-west1-a", action="CREATING")]
    assert decide.ask("1", Ledger(), members, 1, now=NOW).reason is Reason.NOT_A_MEMBER
    assert decide.suspect_all(members) == Ledger()


@given(LEDGERS, st.sets(IDS, min_size=1, max_size=6), st.integers(1, 6), st.data())
def test_one_answer_never_lets_permits_exceed_the_surplus_it_was_given(ledger, ids, surplus, data):
    asker = data.draw(st.sampled_from(sorted(ids)))
    members = [member(one) for one in ids]
    before = ledger.without(asker).among(ids).held
    answer = decide.ask(asker, ledger.without(asker), members, surplus, now=NOW)
    assert answer.permit == (before < surplus)
    if answer.permit:
        assert answer.ledger is not None
        assert answer.ledger.among(ids).held <= surplus
        assert asker in answer.ledger.permits
        assert set(answer.ledger.permits) <= set(ids)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([member(1)], Leaving.ACT),
        ([member(1, "VERIFYING")], Leaving.ACT),
        ([member(1, "DELETING")], Leaving.UNDER_WAY),
        ([member(1, "RECREATING")], Leaving.UNDER_WAY),
        ([member(1, "ABANDONING")], Leaving.NOT_A_MEMBER),
        ([Member(id="2", name="vm-1", zone="us-west1-a", action="NONE")], Leaving.UNDER_WAY),
        ([Member(id="", name="vm-1", zone="us-west1-a", action="RECREATING")], Leaving.UNDER_WAY),
        ([member(2)], Leaving.NOT_A_MEMBER),
        ([], Leaving.NOT_A_MEMBER),
    ],
)
def test_only_a_member_that_the_group_keeps_is_acted_on(members, expected):
    assert decide.leaving("1", "vm-1", members) is expected


def test_the_request_id_is_a_vms_own_and_a_valid_one():
    assert decide.request_id("1", "deleteInstances") == decide.request_id("1", "deleteInstances")
    assert decide.request_id("1", "deleteInstances") != decide.request_id("2", "deleteInstances")
    assert decide.request_id("1", "deleteInstances") != decide.request_id("1", "recreateInstances")
    assert uuid.UUID(decide.request_id("1", "deleteInstances")).int


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"status": "DONE"}, Ended.WELL),
        ({"status": "RUNNING"}, Ended.NOT_YET),
        ({"status": "PENDING"}, Ended.NOT_YET),
        ({}, Ended.NOT_YET),
        ({"status": "DONE", "error": {"errors": [{"code": "X"}]}}, Ended.BADLY),
        ({"status": "DONE", "httpErrorStatusCode": 503}, Ended.BADLY),
        ({"status": "DONE", "httpErrorStatusCode": "garbage"}, Ended.WELL),
    ],
)
def test_an_operation_ended_well_only_if_it_is_done_without_an_error(operation, expected):
    assert decide.ended(operation) is expected


class LedgerMachine(RuleBasedStateMachine):
    """Several VMs on the pure functions: stale looks, lost answers, crashes, deaths, garbage. One ledger, one group."""

    WANTED = 2

    def __init__(self):
        super().__init__()
        self.alive = {str(n) for n in range(1, 7)}
        self.leaving = set()
        self.target = 6
        self.stored, self.generation = None, 0
        self.pending = {}
        self.told = set()
        self.next = 7

    def vm(self, data):
        return data.draw(st.sampled_from(sorted(self.alive, key=int)))

    def members(self):
        return [member(one) for one in self.alive] + [member(one, "DELETING") for one in self.leaving]

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def read(self, data):
        asker = self.vm(data)
        if asker not in self.told:
            self.pending[asker] = {"stored": self.stored, "generation": self.generation}

    @precondition(lambda self: any("members" not in look for look in self.pending.values()))
    @rule(data=st.data())
    def list_members(self, data):
        asker = data.draw(st.sampled_from(sorted(one for one, look in self.pending.items() if "members" not in look)))
        self.pending[asker]["members"] = self.members()

    @precondition(lambda self: any("members" in look and "size" not in look for look in self.pending.values()))
    @rule(data=st.data())
    def get_size(self, data):
        waiting = sorted(one for one, look in self.pending.items() if "members" in look and "size" not in look)
        stable = not self.leaving and len(self.alive) == self.target
        self.pending[data.draw(st.sampled_from(waiting))]["size"] = Size(target=self.target, stable=stable)

    @precondition(lambda self: any("size" in look for look in self.pending.values()))
    @rule(data=st.data(), crash=st.sampled_from(["none", "before", "after"]))
    def write(self, data, crash):
        asker = data.draw(st.sampled_from(sorted(one for one, look in self.pending.items() if "size" in look)))
        look = self.pending.pop(asker)
        if asker not in self.alive or crash == "before":
            return
        try:
            ledger = decide.read_ledger(look["stored"])
        except LedgerUnreadableError:
            self.put(look, decide.suspect_all(look["members"]))
            return
        answer = decide.ask_ledger(asker, ledger) or decide.ask(
            asker, ledger, look["members"], decide.surplus_of(look["size"], self.WANTED, 0), now=NOW
        )
        written = answer.ledger is None or self.put(look, answer.ledger)
        if answer.permit and written and crash == "none":
            self.told.add(asker)

    def put(self, look, ledger):
        if look["generation"] != self.generation:
            return False
        self.stored, self.generation = ledger.text(), self.generation + 1
        return True

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def give_back(self, data):
        vm = self.vm(data)
        try:
            ledger = decide.read_ledger(self.stored)
        except LedgerUnreadableError:
            ledger = decide.suspect_all(self.members())
        self.stored, self.generation = ledger.without(vm).text(), self.generation + 1
        self.told.discard(vm)
        self.pending.pop(vm, None)

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def leave(self, data):
        vm = data.draw(st.sampled_from(sorted(self.told)))
        self.told.discard(vm)
        self.alive.discard(vm)
        self.leaving.add(vm)
        self.target -= 1

    @rule()
    def leavers_are_gone(self):
        self.leaving.clear()

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def die_and_be_replaced(self, data):
        vm = self.vm(data)
        self.alive.discard(vm)
        self.told.discard(vm)
        self.alive.add(str(self.next))
        self.next += 1

    @rule(garbage=st.sampled_from([b"", b"{", b'{"permits": 1, "suspects": []}']))
    def garble(self, garbage):
        self.stored, self.generation = garbage, self.generation + 1

    @invariant()
    def permits_never_exceed_the_surplus(self):
        surplus = self.target - self.WANTED
        assert len(self.told & self.alive) <= surplus
        try:
            ledger = decide.read_ledger(self.stored)
        except LedgerUnreadableError:
            return
        assert len(ledger.permits.keys() & self.alive) <= surplus
        assert self.told <= ledger.permits.keys() | ledger.suspects


TestLedgerMachine = LedgerMachine.TestCase


def test_the_order_of_looking_is_what_the_permits_go_by(root):
    source = (root / "functions/instance_deleter/deleter/permits.py").read_text()
    looks = ["decide.read_ledger", "self._compute.members", "self._compute.size", "self._wanted"]
    judge = source[source.index("def _judge") :]
    after = [judge.index(look, judge.index("early =") if n else 0) for n, look in enumerate(looks)]
    assert after == sorted(after)
    assert decide.READS == ("ledger", "members", "size", "wanted")
