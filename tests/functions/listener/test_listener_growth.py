"""Pools grow to what their jobs need, where it can be had. The emulators answer in memory, on a virtual clock."""

from __future__ import annotations

import itertools
import json

import pytest
from listener import decide
from listener.means import pace

from tests.functions.listener.listener_world import TWO_REGIONS, ListenerWorld, row

WEST, EAST = "gh-cpu-us-west1-ab12", "gh-cpu-us-east1-cd34"


@pytest.fixture
def world():
    with ListenerWorld() as world:
        yield world


def led(world: ListenerWorld):
    """A listener that leads and has its session."""
    listener = world.listen()
    world.until(lambda: world.stored(f"demand/{WEST}.json") is not None)
    return listener


def test_waiting_jobs_get_vms_in_the_first_region_at_once(world):
    led(world)
    world.queue(4)
    assert world.until(lambda: world.targets() == {WEST: 4, EAST: 0}) < 1
    world.run(5)
    said = world.pool()
    assert {name: said[name] for name in ("desired", "assigned", "waiting", "running", "existing", "max")} == {
        "desired": 4,
        "assigned": 4,
        "waiting": 4,
        "running": 0,
        "existing": 0,
        "max": 20,
    }
    assert said["reasons"] == ["4 VMs are being made"]
    assert said["fence"] == 1
    assert said["scale_set"] == "gh-cpu"
    assert said["scale_set_id"] == world.github.scale_sets.by_name("gh-cpu").id
    (grown,) = world.said("grown")
    assert (grown["pool"], grown["group"], grown["from"], grown["to"], grown["fence"]) == ("cpu", WEST, 0, 4, 1)


def test_jobs_that_were_assigned_before_it_came_are_seen_in_the_sessions_counters(world):
    led(world).stop.set()
    world.run(5)
    world.queue(3)
    world.listen()
    world.until(lambda: world.target(WEST) == 3)


def test_what_the_first_region_has_no_room_for_goes_to_the_next_and_no_further_than_the_maximum(world):
    led(world)
    world.queue(25)
    world.until(lambda: world.targets() == {WEST: 10, EAST: 10})
    world.run(120)
    assert world.targets() == {WEST: 10, EAST: 10}
    assert "the pool's maximum of 20 is reached" in world.pool()["reasons"]
    assert world.pool()["desired"] == 20


def test_a_pool_keeps_its_spare_vms():
    with ListenerWorld({WEST: row("cpu", "us-west1", idle=2)}) as world:
        led(world)
        world.until(lambda: world.target(WEST) == 2)
        world.queue(1)
        world.until(lambda: world.target(WEST) == 3)
        world.run(65)
        assert world.demand() == {WEST: 3}


def test_a_group_is_never_made_smaller_and_idle_vms_may_leave(world):
    led(world)
    jobs = world.queue(4)
    world.until(lambda: world.target(WEST) == 4)
    for job in jobs:
        world.github.cancel_job(job.id)
    world.until(lambda: world.demand() == {WEST: 0, EAST: 0})
    world.run(300)
    assert world.targets() == {WEST: 4, EAST: 0}


def test_while_a_job_waits_no_group_is_wanted_smaller_than_it_is(world):
    world.google.groups[EAST].target_size = 3
    world.settle()
    led(world)
    world.queue(1)
    world.until(lambda: world.pool()["waiting"] == 1 and world.demand()[EAST] == 3)


def test_the_vm_that_took_a_job_is_the_one_that_is_wanted(world):
    """By the id in its runner's name: the pool's other VM, in the preferred region, may leave."""
    led(world)
    world.google.groups[WEST].target_size = world.google.groups[EAST].target_size = 1
    world.settle()
    world.run(90)
    vm = world.google.groups[EAST].instances[0]
    name = f"{vm.name}-{base36(int(vm.id))}"
    world.github.add_runner(name, scale_set_id=world.github.scale_sets.by_name("gh-cpu").id)
    world.github.connect(name)
    world.queue(1)
    world.until(lambda: world.demand() == {WEST: 0, EAST: 1}, most_seconds=200)
    (started,) = world.said("job started")
    assert started["runner"] == name
    assert started["queue_seconds"] >= 0


def test_what_fails_by_a_mistake_is_begun_again(world, monkeypatch):
    """As often as it takes, and without a new wish."""
    real, failures = decide.allocate, iter([KeyError("bug")])

    def allocate(*given):
        for failure in failures if given[0] else ():
            raise failure
        return real(*given)

    monkeypatch.setattr(decide, "allocate", allocate)
    led(world)
    world.queue(2)
    world.until(lambda: world.target(WEST) == 2, most_seconds=120)
    assert world.said("internal")


def base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return (base36(number // 36) if number >= 36 else "") + digits[number % 36]


# What cannot be had.


def test_one_zone_without_capacity_moves_what_is_missing_to_the_next_region(world):
    led(world)
    world.google.groups[WEST].stocked_out = {"us-west1-a"}
    world.queue(3)
    world.until(lambda: world.targets() == {WEST: 3, EAST: 1}, most_seconds=60)
    world.run(5)
    assert [(s["group"], s["zone"]) for s in world.said("stock-out")] == [(WEST, "us-west1-a")]
    assert world.pool()["stockouts"][0]["zone"] == "us-west1-a"


def test_a_region_without_any_capacity_is_replaced_by_the_next(world):
    led(world)
    world.google.groups[WEST].stocked_out = {"us-west1-a", "us-west1-b", "us-west1-c"}
    world.queue(3)
    world.until(lambda: world.targets() == {WEST: 3, EAST: 3}, most_seconds=60)
    world.queue(2)
    world.until(lambda: world.target(EAST) == 5)
    assert world.target(WEST) == 3


def test_when_no_region_has_capacity_the_first_keeps_asking_and_the_reason_names_all_zones(world):
    led(world)
    for group in world.google.groups.values():
        group.stocked_out = set(group.zones)
    world.queue(3)
    world.until(lambda: len(world.pool()["reasons"]) == 2, most_seconds=120)
    begun = [f"{each['since'][11:16]}" for each in (world.pool()["stockouts"][0], world.pool()["stockouts"][-1])]
    assert sorted(world.pool()["reasons"]) == sorted(
        [f"no capacity in us-west1-a/b/c since {begun[1]}", f"no capacity in us-east1-a/b/c since {begun[0]}"]
    )
    world.run(600)
    assert world.targets() == {WEST: 3, EAST: 3}
    for group in world.google.groups.values():
        group.stocked_out = set()
    world.until(lambda: world.pool()["existing"] >= 3, most_seconds=1800)
    world.until(lambda: not world.pool()["stockouts"], most_seconds=120)


def test_a_resize_that_is_accepted_and_fails_later_is_made_in_the_next_region(world):
    led(world)
    world.google.compute.operation_seconds = 3.0
    world.google.fail_operation("compute.resize")
    world.queue(2)
    world.until(lambda: world.targets() == {WEST: 0, EAST: 2}, most_seconds=30)
    (out,) = world.said("stock-out")
    assert (out["group"], out["zone"]) == (WEST, "")


def test_a_quota_that_is_reached_moves_the_rest_to_the_next_region_at_once(world):
    led(world)
    world.google.groups[WEST].quota = 1
    world.queue(4)
    assert world.until(lambda: world.target(EAST) > 0) < 2
    world.run(5)
    assert world.targets() == {WEST: 0, EAST: 4}
    (refused,) = world.said("resize refused")
    assert (refused["group"], refused["status"]) == (WEST, 403)


def test_a_quota_is_told_while_nobody_else_can_help():
    with ListenerWorld({WEST: row("cpu", "us-west1")}) as world:
        led(world)
        world.google.groups[WEST].quota = 1
        world.queue(4)
        world.until(lambda: world.pool()["reasons"], most_seconds=30)
        (reason,) = world.pool()["reasons"]
        assert reason.startswith("quota: us-west1 refused 4 more VMs since ")
        world.google.groups[WEST].quota = None
        world.until(lambda: world.target(WEST) == 4, most_seconds=150)


def test_without_permission_to_resize_it_says_so_and_goes_on_elsewhere(world):
    led(world)
    world.google.deny("compute.resize")
    world.queue(1)
    world.until(lambda: world.pool()["reasons"], most_seconds=30)
    assert world.pool()["reasons"][0].startswith("the group of us-west1 may not be resized since ")
    assert world.targets() == {WEST: 0, EAST: 0}


def test_a_group_that_was_deleted_by_hand_is_passed_over_and_told(world):
    led(world)
    world.google.remove_group(WEST)
    world.queue(2)
    world.until(lambda: world.target(EAST) == 2)
    world.google.groups[EAST].stocked_out = set(world.google.groups[EAST].zones)
    world.until(lambda: len(world.pool()["reasons"]) == 2, most_seconds=90)
    assert world.pool()["reasons"][0].startswith("the group of us-west1 does not exist since ")


def test_a_group_that_cannot_be_looked_at_at_first_is_waited_for_before_others_are_grown(world):
    world.faults.script("compute.managed_instances", status=503, times=3)
    listener = world.listen()
    world.until(lambda: listener.said("leads"))
    world.queue(2)
    world.until(lambda: world.target(WEST) + world.target(EAST) == 2, most_seconds=60)
    assert world.targets() == {WEST: 2, EAST: 0}


def test_too_many_requests_are_heeded_for_as_long_as_google_asks(world):
    led(world)
    world.faults.script("compute.resize", retry_after=30)
    world.queue(2)
    world.until(lambda: world.target(WEST) == 2, most_seconds=60)
    first, second = [request.at for request in world.door.asked("compute.resize")]
    assert second - first >= 30


def test_a_resize_whose_answer_is_lost_is_not_made_twice(world):
    listener = led(world)
    listener.line.lost = lambda _method, url: "/resize" in url
    world.queue(2)
    world.until(lambda: world.target(WEST) == 2)
    world.run(60)
    assert world.targets() == {WEST: 2, EAST: 0}
    assert len(world.door.asked("compute.resize")) == 1


def test_a_group_that_somebody_grew_meanwhile_is_not_made_smaller(world):
    """The look was slow, and somebody was faster: the size is looked at again right before."""
    listener = led(world)
    world.faults.script("compute.group", "slow", seconds=4, after=True, times=2)
    world.queue(2)
    world.run(3)
    world.google.groups[WEST].target_size = 7
    world.run(20)
    assert world.target(WEST) == 7
    assert listener.said("grown") == [] or all(entry["to"] >= 7 for entry in listener.said("grown"))


def test_vms_that_went_with_their_jobs_are_replaced_while_jobs_wait(world):
    led(world)
    world.queue(2)
    world.until(lambda: world.target(WEST) == 2)
    world.run(40)
    vm = world.google.groups[WEST].instances[0]
    world.google.compute.delete(world.google.groups[WEST], [vm])
    world.until(lambda: world.target(WEST) == 2, most_seconds=20)


def test_wishes_that_come_faster_than_once_a_second_are_served_together(world):
    led(world)
    for _ in range(8):
        world.queue(1)
        world.run(0.2)
    world.run(3)
    assert world.target(WEST) == 8
    resizes = world.door.asked("compute.resize")
    assert len(resizes) <= 4
    assert all(later.at - earlier.at > 0.9 for earlier, later in itertools.pairwise(resizes))


def test_a_wish_that_comes_right_after_a_look_without_growth_does_not_wait(world):
    led(world)
    world.run(300)
    looks = world.door.asked("compute.group")
    world.until(lambda: len(world.door.asked("compute.group")) > len(looks), most_seconds=120)
    world.queue(1)
    assert world.until(lambda: world.door.asked("compute.resize")) < 0.5


def test_pools_do_not_do_their_minutes_work_in_one_moment():
    paces = [pace(f"pool-{number}") for number in range(100)]
    assert all(0.75 <= each <= 1 for each in paces)
    assert (
        max(sum(1 for each in paces if low <= each < low + 0.025) for low in (0.75 + 0.025 * n for n in range(10))) < 25
    )


def test_when_a_job_ends_its_vm_is_soon_seen_to_go_and_the_next_job_gets_one():
    with ListenerWorld({WEST: row("cpu", "us-west1", most=1)}) as world:
        led(world)
        world.queue(2)
        world.until(lambda: world.target(WEST) == 1)
        world.run(30)
        vm = world.google.groups[WEST].instances[0]
        name = f"{vm.name}-{base36(int(vm.id))}"
        world.github.add_runner(name, scale_set_id=world.github.scale_sets.known("gh-cpu").id)
        world.github.connect(name)
        world.until(lambda: world.said("job started"), most_seconds=100)
        world.run(20)
        world.github.finish_job(name)
        world.until(lambda: world.said("job completed"), most_seconds=100)
        world.google.compute.delete(world.google.groups[WEST], [vm])
        assert world.until(lambda: world.target(WEST) == 1, most_seconds=30) < 8


@pytest.mark.parametrize("asleep", [False, True], ids=["while it is set up", "once it sleeps"])
@pytest.mark.parametrize("kind", ["target_suspended", "target_stopped"])
def test_vms_in_reserve_are_not_there_until_the_group_takes_them_for_a_job(kind, asleep):
    with ListenerWorld({WEST: row("cpu", "us-west1", most=4, standby=3)}) as world:
        group, compute = world.google.groups[WEST], world.google.compute
        group.standby_delay_seconds, compute.suspend_seconds, compute.resume_seconds = 600.0, 30.0, 5.0
        setattr(group, kind, 3)
        led(world)
        world.run(30 + 700 * asleep)
        assert ({vm.status for vm in group.instances} == {"RUNNING"}) is not asleep
        world.run(65)
        assert (world.pool()["existing"], world.target(WEST), world.demand()) == (0, 0, {WEST: 0})
        world.queue(2)
        assert world.until(lambda: world.target(WEST) == 2) < 1
        world.until(lambda: world.pool()["existing"] == 2, most_seconds=120)
        assert len(group.instances) == 5
        world.queue(4)
        world.until(lambda: world.target(WEST) == 4)
        world.run(1000)
        assert world.target(WEST) == 4, "a reserve is no part of the maximum, and no more than the maximum is asked for"


def test_a_reserve_that_cannot_be_made_holds_no_job_up(world):
    """Its places are nobody's, so they are not taken for VMs on their way, nor for ones that fail."""
    group = world.google.groups[WEST]
    group.target_suspended = 2
    group.stocked_out |= {"us-west1-a", "us-west1-b", "us-west1-c"}
    led(world)
    world.run(65)
    assert world.pool()["reasons"] == []
    group.stocked_out.clear()
    world.queue(1)
    world.until(lambda: world.targets() == {WEST: 1, EAST: 0})


def test_a_hundred_pools_in_one_process():
    groups = {f"gh-p{n:03}-us-west1-aaaa": row(f"p{n:03}", "us-west1") for n in range(100)}
    with ListenerWorld(groups) as world:
        listener = world.listen()
        world.until(lambda: len(world.github.scale_sets.all) == 100)
        world.run(5)
        for n in range(100):
            world.queue(10, f"p{n:03}")
        world.until(lambda: all(size == 10 for size in world.targets().values()), most_seconds=60)
        assert not listener.said("internal")
        listener.stop.set()
        ended = world.loop.time()
        world.finish(listener)
        assert world.loop.time() - ended < 5
        assert json.loads(world.google.objects["fleet-listener", "lease.json"].data)["state"] == "released"


assert set(TWO_REGIONS) == {WEST, EAST}
