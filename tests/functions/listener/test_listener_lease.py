"""One leads, one stands by: who acts when, and what a handover or a crash costs."""

from __future__ import annotations

import json

import pytest
from listener import lease
from listener.lease import Hold, Record

from tests.functions.listener.listener_world import BUCKET, TWO_REGIONS, ListenerWorld

WEST = next(iter(TWO_REGIONS))


@pytest.fixture
def world():
    with ListenerWorld() as world:
        yield world


def leads(world: ListenerWorld, listener, *, most_seconds: float = 200.0) -> float:
    return world.until(lambda: listener.said("leads"), most_seconds=most_seconds)


def ready(world: ListenerWorld, *, serve_seconds: int = 1740):
    """One that leads, with its session, and one that stands by."""
    first = world.listen(settings=world.settings_with(serve_seconds=serve_seconds))
    world.until(lambda: world.stored(f"demand/{WEST}.json") is not None)
    second = world.listen()
    world.run(3)
    return first, second


# The record.


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"holder":1,"fence":1,"state":"held"}', b'{"holder":"a","fence":true,"state":"held"}',
     b'{"holder":"a","fence":-1,"state":"held"}', b'{"holder":"a","fence":1,"state":"gone"}', b"[" * 100_000],
)  # fmt: skip
def test_a_lease_that_cannot_be_read_is_held_by_nobody_knows_whom_and_its_fence_is_its_generation(data):
    assert lease.read("1795420800000000", data) == Record(holder="", fence=1795420800000000, state="held")


def test_a_lease_that_is_not_there_is_waited_for_like_one_that_is_held():
    seen = lease.watch(None, "0", None, at=100.0)
    assert not lease.claimable(seen, "me", 129.9)
    assert lease.claimable(seen, "me", 130.0)


def test_what_is_written_is_read_again():
    record = Record(holder="a", fence=7, state="released")
    assert lease.read("1", record.text("2026-11-23T08:00:00Z")) == record
    assert json.loads(record.text("2026-11-23T08:00:00Z"))["renewed"] == "2026-11-23T08:00:00Z"


def test_a_generation_that_stays_is_counted_from_when_it_was_first_seen():
    data = Record(holder="other", fence=1, state="held").text("")
    seen = lease.watch(None, "5", data, at=10.0)
    assert lease.watch(seen, "5", data, at=30.0) is seen
    assert not lease.claimable(lease.watch(seen, "6", data, at=41.0), "me", 41.0)


def test_ones_own_lease_and_a_released_one_are_taken_at_once():
    for record in (Record(holder="me", fence=3, state="held"), Record(holder="other", fence=3, state="released")):
        seen = lease.watch(None, "5", record.text(""), at=0.0)
        assert lease.claimable(seen, "me", 0.0)
        assert lease.claim(seen, "me") == Record(holder="me", fence=4, state="held")


def test_a_leaders_time_ends_by_whichever_clock_shows_more():
    hold = Hold(generation="1", began=100.0, began_wall=5000.0)
    assert hold.seconds(110.0, 5010.0) == 14.0
    assert hold.seconds(110.0, 5024.0) == 0.0
    assert hold.seconds(110.0, 1.0) == 14.0
    assert hold.seconds(124.0, 5000.0) == 0.0


# In the fleet.


def test_the_first_listener_of_all_waits_as_long_as_a_lease_lasts(world):
    assert 30 <= leads(world, world.listen()) < 33


def test_a_standby_does_nothing_but_look(world):
    _, second = ready(world)
    world.run(120)
    assert [entry["message"] for entry in second.log] == ["stands by"]
    assert world.stored("lease.json")["holder"] == "listener-1"


def test_a_planned_handover_takes_less_than_five_seconds_and_closes_the_session_first(world):
    first, second = ready(world)
    began = world.loop.time()
    first.stop.set()
    leads(world, second)
    world.until(lambda: world.github.scale_sets.by_name("gh-cpu").session is not None)
    assert world.loop.time() - began < 5
    assert second.said("leads")[0]["fence"] == 2
    assert not [entry for entry in second.log if entry.get("event") == "session conflict"]
    world.queue(1)
    world.until(lambda: world.target(WEST) == 1)


def test_a_request_ends_by_itself_when_its_time_is_over_and_says_how_long_it_led(world):
    first, second = ready(world, serve_seconds=300)
    served = world.finish(first)
    assert world.loop.time() < 304
    assert 265 < served.led_seconds < 275
    assert 30 <= served.stood_by_seconds < 33
    assert (served.fence, served.terms) == (1, 1)
    leads(world, second, most_seconds=5)


def test_a_standby_whose_time_is_over_ends_without_having_led(world):
    ready(world)
    third = world.listen(settings=world.settings_with(serve_seconds=20))
    served = world.finish(third)
    assert (served.fence, served.terms, served.led_seconds) == (0, 0, 0.0)


def test_after_a_crash_the_standby_takes_over_when_the_lease_lapses_and_waits_out_githubs_old_session(world):
    first, second = ready(world)
    first.crash()
    began = world.loop.time()
    leads(world, second)
    assert 25 <= world.loop.time() - began <= 32
    world.queue(2)
    world.until(lambda: world.target(WEST) == 2)
    assert world.loop.time() - began < world.github.scale_set_options.session_lapse_seconds + 15
    assert [entry for entry in second.log if entry.get("event") == "session conflict"]


def test_what_was_decided_and_not_acknowledged_before_a_crash_is_decided_again_and_done_once(world):
    first, _ = ready(world)
    world.faults.script("github.scale_sets.acknowledge", "hang")
    world.queue(3)
    world.until(lambda: world.target(WEST) == 3)
    first.crash()
    world.run(150)
    assert world.targets()[WEST] == 3
    assert {entry["fence"] for entry in world.said("grown")} == {1}


def test_two_listeners_at_once_never_both_act(world):
    """Neither with the store failing now and then, nor with clocks that are set, nor through handovers."""
    world.faults.script("storage.insert", status=503, times=3)
    first, second = ready(world)
    first.wall_offset = 3600.0
    world.run(30)
    second.wall_offset = -86400.0
    world.queue(2)
    world.run(60)
    # GitHub takes no token of a clock that is an hour wrong.
    first.wall_offset = second.wall_offset = 0.0
    world.run(10)
    first.stop.set()
    world.queue(2)
    world.run(60)
    grown = world.said("grown")
    assert world.target(WEST) == 4
    ends = first.said("hands over")[0]["at"]
    assert all(entry["at"] <= ends for entry in grown if entry["who"] == first.holder)
    assert all(entry["at"] > ends for entry in grown if entry["who"] == second.holder)


def test_a_clock_that_is_set_forward_makes_a_leader_pause_until_its_next_heartbeat_only(world):
    first, second = ready(world)
    first.wall_offset = 7200.0
    world.run(7)
    assert not second.said("leads")
    world.queue(1)
    world.until(lambda: world.target(WEST) == 1, most_seconds=10)
    assert len(first.said("leads")) == 1


def test_a_leader_that_cannot_reach_the_store_stops_acting_in_time_and_gives_its_session_back(world):
    first, second = ready(world)
    first.line.refused = lambda _method, url: "/b/" in url
    began = world.loop.time()
    leads(world, second)
    assert 25 <= world.loop.time() - began <= 36
    gave_up = first.said("hands over")[0]
    assert gave_up["because"] == "the lease is uncertain"
    assert gave_up["at"] - began < 30
    assert gave_up["at"] < second.said("leads")[0]["at"]
    world.queue(1)
    world.until(lambda: world.target(WEST) == 1, most_seconds=30)
    assert world.said("grown")[0]["who"] == second.holder


def test_nothing_is_resized_after_a_leader_lost_the_store_for_too_long(world):
    first, second = ready(world)
    second.stop.set()
    first.line.refused = lambda _method, url: "/b/" in url
    world.run(26)
    world.queue(3)
    world.run(120)
    assert world.target(WEST) == 0
    first.line.refused = lambda _method, _url: False
    world.until(lambda: world.target(WEST) == 3, most_seconds=60)
    assert [entry["fence"] for entry in first.said("leads")] == [1, 2]


def test_a_standby_never_takes_over_while_it_cannot_read(world):
    first, second = ready(world)
    second.line.refused = lambda _method, url: "/b/" in url
    first.crash()
    world.run(200)
    assert not second.said("leads")
    assert second.said("cannot stand by")


def test_a_lease_that_was_deleted_under_its_leader_is_taken_only_after_that_leader_stopped(world):
    first, second = ready(world)
    del world.google.objects[BUCKET, "lease.json"]
    leads(world, second)
    assert first.said("hands over")[0]["at"] < second.said("leads")[0]["at"]


def test_a_handover_whose_writing_fails_costs_what_the_lease_lasts(world):
    first, second = ready(world)
    world.run(1)
    first.stop.set()
    world.faults.script("storage.insert", status=503)
    began = world.loop.time()
    leads(world, second)
    assert 20 < world.loop.time() - began < 35


def test_without_the_apps_key_nobody_takes_the_lease(world):
    world.google.deny("secrets.access")
    listener = world.listen()
    world.run(60)
    assert not listener.said("leads")
    assert listener.said("cannot stand by")[0]["cause"] == "secrets answered with HTTP 403"
    world.google.allow("secrets.access")
    leads(world, listener)


def test_every_record_of_a_decision_carries_the_fencing_number(world):
    first, second = ready(world)
    world.queue(1)
    world.until(lambda: world.target(WEST) == 1)
    first.stop.set()
    leads(world, second)
    world.queue(1)
    world.until(lambda: world.target(WEST) == 2)
    assert [entry["fence"] for entry in world.said("grown")] == [1, 2]
    world.run(5)
    assert world.pool()["fence"] == 2
