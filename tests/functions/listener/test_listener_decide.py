from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from listener import decide
from listener.decide import Place
from listener.shortage import EVERYWHERE, Kind, Shortages
from scaleset import Statistics

NOW = datetime.datetime(2026, 11, 23, 10, 41, tzinfo=datetime.UTC)
WEST, EAST = "west", "east"


def place(name=WEST, *, rank=0, most=10, target=0, members=None, existing=None, stuck=0, ended=0, zones="abc"):
    members = target if members is None else members
    return Place(
        name=name,
        region=f"us-{name}1",
        zones=tuple(f"us-{name}1-{zone}" for zone in zones),
        rank=rank,
        max=most,
        target=target,
        members=members,
        existing=members - stuck - ended if existing is None else existing,
        stuck=stuck,
        ended=ended,
    )


def short(name=WEST, zone="a", kind=Kind.CAPACITY, shortages=None, now=NOW, vms=0):
    where = f"us-{name}1-{zone}" if zone else EVERYWHERE
    known = shortages or Shortages()
    return known.noted(group=name, region=f"us-{name}1", zone=where, kind=kind, now=now, vms=vms)


def all_short(name, shortages=None, kind=Kind.CAPACITY):
    shortages = shortages or Shortages()
    for zone in "abc":
        shortages = short(name, zone, kind, shortages)
    return shortages


def allocate(wanted, groups, shortages=None, running=None):
    return decide.allocate(wanted, groups, running or {}, shortages or Shortages(), NOW)


# How many.


@pytest.mark.parametrize(
    ("assigned", "maximum", "idle", "wanted"),
    [(0, 10, 0, 0), (3, 10, 0, 3), (3, 10, 2, 5), (9, 10, 2, 10), (0, 1, 5, 1)],
)
def test_every_assigned_job_and_the_spare_ones_have_a_vm_up_to_the_maximum(assigned, maximum, idle, wanted):
    assert decide.desired(Statistics(total_assigned_jobs=assigned), maximum, idle) == wanted


def test_other_counters_do_not_scale_a_pool():
    statistics = Statistics(
        total_available_jobs=9, total_acquired_jobs=9, total_running_jobs=9, total_registered_runners=9
    )
    assert decide.desired(statistics, 100, 0) == 0


def test_no_job_waits_where_more_run_than_are_assigned():
    assert decide.waiting(Statistics(total_assigned_jobs=2, total_running_jobs=5)) == 0


# Where.


def test_missing_vms_go_to_the_first_region_as_far_as_it_has_room():
    groups = [place(EAST, rank=1), place(WEST, most=3)]
    assert allocate(5, groups).targets == {WEST: 3, EAST: 2}


def test_vms_that_are_there_stay_where_they_are():
    groups = [place(WEST), place(EAST, rank=1, target=4)]
    assert allocate(4, groups).targets == {WEST: 0, EAST: 4}
    assert allocate(0, groups).targets == {WEST: 0, EAST: 4}


def test_a_vm_on_its_way_is_not_asked_for_again():
    assert allocate(4, [place(target=4, members=0)]).targets == {WEST: 4}


def test_the_place_of_a_vm_that_ends_is_filled_once_more():
    assert allocate(2, [place(target=2, ended=1)]).targets == {WEST: 3}


def test_a_known_busy_vm_counts_though_its_group_does_not_list_it():
    allocation = allocate(3, [place(target=1)], running={WEST: 2})
    assert allocation.targets == {WEST: 3}


def test_a_region_without_capacity_is_passed_over():
    groups = [place(WEST, target=4, stuck=4), place(EAST, rank=1)]
    allocation = allocate(4, groups, all_short(WEST))
    assert allocation.targets == {WEST: 4, EAST: 4}
    assert not allocation.missing


def test_vms_that_cannot_be_made_do_not_count_as_coming():
    """Even before their zones are remembered: what fails is seen at once."""
    groups = [place(WEST, target=4, stuck=4, most=4), place(EAST, rank=1)]
    assert allocate(4, groups).targets == {WEST: 4, EAST: 4}


def test_a_region_with_one_zone_short_comes_after_a_sound_one_but_is_asked():
    groups = [place(WEST), place(EAST, rank=1, most=1)]
    assert allocate(3, groups, short(WEST)).targets == {WEST: 2, EAST: 1}


def test_when_nobody_has_capacity_the_first_group_keeps_asking():
    groups = [place(WEST), place(EAST, rank=1)]
    allocation = allocate(3, groups, all_short(EAST, all_short(WEST)))
    assert allocation.targets == {WEST: 3, EAST: 0}
    assert allocation.missing == 3


def test_a_group_that_asks_already_is_not_asked_for_more():
    groups = [place(WEST, target=3, stuck=3), place(EAST, rank=1)]
    allocation = allocate(3, groups, all_short(EAST, all_short(WEST)))
    assert allocation.targets == {WEST: 3, EAST: 0}


@pytest.mark.parametrize("kind", [Kind.QUOTA, Kind.GROUP, Kind.LEAVE])
def test_a_group_that_may_not_grow_is_not_asked_even_when_nobody_can(kind):
    allocation = allocate(3, [place(WEST)], short(WEST, "", kind))
    assert allocation.targets == {WEST: 0}
    assert allocation.missing == 3


def test_a_shortage_that_expired_is_tried_again():
    shortages = all_short(WEST)
    later = NOW + datetime.timedelta(seconds=121)
    assert decide.allocate(1, [place(WEST)], {}, shortages, later).targets == {WEST: 1}


# Why not.


def test_the_reasons_name_zones_since_when_and_what_each_region_lacks():
    shortages = short(EAST, "", Kind.QUOTA, all_short(WEST), vms=4)
    shortages = short("south", "", Kind.GROUP, shortages)
    shortages = short("north", "b", Kind.CREATION, shortages)
    shortages = short("mid", "", Kind.LEAVE, shortages)
    groups = [place(name, rank=rank, zones="b") for rank, name in enumerate([EAST, "south", "north", "mid"], 1)]
    assert allocate(1, [place(WEST), *groups], shortages).reasons == (
        "no capacity in us-west1-a/b/c since 10:41",
        "quota: us-east1 refused 4 more VMs since 10:41",
        "the group of us-south1 does not exist since 10:41",
        "VMs cannot be created in us-north1-b since 10:41",
        "the group of us-mid1 may not be resized since 10:41",
    )


def test_nothing_is_said_while_nothing_is_missing():
    assert allocate(1, [place(WEST), place(EAST, rank=1)], all_short(WEST)).reasons == ()


def test_a_full_pool_says_its_maximum():
    assert decide.maximum_reached(Statistics(total_assigned_jobs=10), 10) == ("the pool's maximum of 10 is reached",)
    assert decide.maximum_reached(Statistics(total_assigned_jobs=9), 10) == ()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ZONE_RESOURCE_POOL_EXHAUSTED", Kind.CAPACITY),
        ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", Kind.CAPACITY),
        ("QUOTA_EXCEEDED", Kind.QUOTA),
        ("RESOURCE_NOT_FOUND", Kind.CREATION),
        ("", Kind.CREATION),
    ],
)
def test_an_error_code_says_what_is_short(code, kind):
    assert decide.code_kind(code) is kind


# Who must not be sent away.


def wanted(count, groups, running=None, waiting=0):
    targets = {each.name: each.size for each in groups}
    return decide.wanted(count, groups, running or {}, waiting=waiting, targets=targets)


def test_busy_vms_are_wanted_where_they_are():
    groups = [place(WEST, target=3), place(EAST, rank=1, target=2)]
    assert wanted(3, groups, {EAST: 2}) == {WEST: 1, EAST: 2}


def test_more_busy_vms_than_wanted_are_all_wanted():
    assert wanted(1, [place(WEST, target=3)], {WEST: 2}) == {WEST: 2}


def test_new_vms_of_the_second_region_are_not_sent_away_for_those_that_the_first_cannot_make():
    groups = [place(WEST, target=4, stuck=4), place(EAST, rank=1, target=4)]
    assert wanted(4, groups) == {WEST: 0, EAST: 4}


def test_while_a_job_waits_nobody_is_sent_away():
    groups = [place(WEST, target=3), place(EAST, rank=1, target=2)]
    assert wanted(2, groups, waiting=1) == {WEST: 3, EAST: 2}


# Rules for whatever may come.

counts = st.integers(0, 12)


@st.composite
def pools(draw):
    groups, running = [], {}
    for rank in range(draw(st.integers(1, 4))):
        name = f"g{rank}"
        target, stuck, ended, existing = draw(counts), draw(counts), draw(counts), draw(counts)
        groups.append(
            place(
                name,
                rank=draw(st.integers(0, 3)),
                most=draw(st.integers(1, 20)),
                target=target,
                members=stuck + ended + existing,
                existing=existing,
                stuck=stuck,
                ended=ended,
                zones=draw(st.sampled_from(["a", "ab", "abc"])),
            )
        )
        running[name] = draw(st.integers(0, existing))
    shortages = Shortages()
    for group in groups:
        for zone in draw(st.sets(st.sampled_from(["a", "b", "c", ""]))):
            shortages = short(group.name, zone, draw(st.sampled_from(list(Kind))), shortages)
    return groups, running, shortages


@given(pools(), st.integers(0, 60))
def test_a_target_lies_never_below_what_is_there_and_never_above_the_maximum(pool, count):
    groups, running, shortages = pool
    targets = decide.allocate(count, groups, running, shortages, NOW).targets
    for each in groups:
        assert targets[each.name] >= each.size >= running[each.name]
        assert targets[each.name] <= max(each.size, each.max)


@given(pools(), st.integers(0, 60))
def test_what_is_given_and_what_is_missing_make_up_what_is_wanted(pool, count):
    groups, running, shortages = pool
    allocation = decide.allocate(count, groups, running, shortages, NOW)
    there = sum(max(each.useful, running[each.name]) for each in groups)
    given_out = sum(allocation.targets[each.name] - each.size for each in groups)
    asking = sum(each.stuck for each in groups)
    assert allocation.missing <= max(0, count - there)
    assert given_out <= max(0, count - there)
    # Beyond what comes, no more is asked for than nobody has asked for yet.
    assert given_out - (max(0, count - there) - allocation.missing) <= max(0, allocation.missing - asking)


@given(pools(), st.integers(0, 60))
def test_more_wanted_never_means_less_for_any_group(pool, count):
    groups, running, shortages = pool
    less = decide.allocate(count, groups, running, shortages, NOW).targets
    more = decide.allocate(count + 1, groups, running, shortages, NOW).targets
    assert all(more[name] >= less[name] for name in less)


@given(pools(), st.integers(0, 60), st.randoms())
def test_the_order_in_which_groups_are_named_does_not_matter(pool, count, chance):
    groups, running, shortages = pool
    mixed = chance.sample(groups, len(groups))
    first = decide.allocate(count, groups, running, shortages, NOW)
    assert decide.allocate(count, mixed, running, shortages, NOW) == first


@given(pools(), st.integers(0, 60))
def test_a_closed_group_never_grows_while_an_open_one_has_room(pool, count):
    groups, running, shortages = pool
    targets = decide.allocate(count, groups, running, shortages, NOW).targets
    holding = shortages.current(NOW)
    closed = {each.group for each in holding if each.zone == EVERYWHERE}
    closed |= {each.name for each in groups if {s.zone for s in holding if s.group == each.name} >= set(each.zones)}
    room = any(targets[each.name] < each.max for each in groups if each.name not in closed)
    grown = any(targets[each.name] > each.size for each in groups if each.name in closed)
    assert not (room and grown)


@given(pools(), st.integers(0, 60))
def test_all_groups_together_want_what_the_pool_wants_or_what_is_busy(pool, count):
    groups, running, shortages = pool
    count = min(count, sum(each.max for each in groups))
    running = {name: min(busy, next(e.max for e in groups if e.name == name)) for name, busy in running.items()}
    targets = decide.allocate(count, groups, running, shortages, NOW).targets
    found = decide.wanted(count, groups, running, waiting=0, targets=targets)
    assert sum(found.values()) == max(count, sum(running.values()))
    assert all(found[name] >= running[name] for name in found)


@given(pools(), st.integers(0, 60))
def test_while_jobs_wait_every_group_wants_all_that_it_has(pool, count):
    groups, running, shortages = pool
    targets = decide.allocate(count, groups, running, shortages, NOW).targets
    found = decide.wanted(count, groups, running, waiting=1, targets=targets)
    assert all(found[each.name] >= each.size for each in groups)
