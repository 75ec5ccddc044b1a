"""No two listeners act at once, whatever order things happen in."""

from __future__ import annotations

from listener import lease

from tests.functions.listener.lease_model import Bounds, search, walk

ACCIDENTS = Bounds(processes=3, crashes=2, freezes=2, losses=3, jumps=2)
WALKS, STEPS = 150, 120


def first_accident(bounds: Bounds = ACCIDENTS):
    return next((way for seed in range(WALKS) if (way := walk(bounds, seed, STEPS))), None)


def test_of_two_without_accidents_never_do_two_act_in_any_state_at_all():
    states, way = search(Bounds(crashes=0, freezes=0, losses=0, jumps=0))
    assert way is None
    assert states > 5000


def test_of_three_with_crashes_freezes_lost_answers_and_set_clocks_never_do_two_act():
    assert first_accident() is None


def test_the_search_finds_a_standby_that_waits_too_short(monkeypatch):
    real = lease.claimable
    monkeypatch.setattr(lease, "claimable", lambda seen, holder, at: real(seen, holder, at) or at - seen.since >= 20)
    assert first_accident() is not None


def test_the_search_finds_a_leader_that_acts_beyond_its_lease(monkeypatch):
    monkeypatch.setattr(lease, "MARGIN_SECONDS", -10.0)
    assert first_accident() is not None


def test_the_search_finds_a_leader_that_trusts_its_frozen_clock(monkeypatch):
    real = lease.Hold.seconds
    monkeypatch.setattr(lease.Hold, "seconds", lambda self, at, _wall: real(self, at, self.began_wall))
    assert first_accident() is not None
