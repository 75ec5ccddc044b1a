"""Which VMs are stuck: only where everything was read whole and all sources agree, and a share of a pool at most."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.rollout_fleet import base36
from rollout.cloud.groups import Group, Member
from rollout.cloud.instances import Instance
from rollout.plans.stuck import GroupLook, Look, judge
from rollout.view.snapshot import RunnerSeen
from tests.rollout.view.seen_fleet import settings_with

SETTINGS = settings_with(only_pools=("presubmit-cpu",))
POOL = "presubmit-cpu"
GROUP = SETTINGS.groups(POOL)[0]
NOW = 1_800_000_000.0
OLD = SETTINGS.lifecycle.boot_deadline_seconds + 301.0


class Scene:
    """A pool whose VMs are made one by one."""

    def __init__(self) -> None:
        self.look = Look(
            runners=(),
            grants={},
            groups={group.name: _empty(group.name) for group in SETTINGS.groups(POOL)},
            instances={},
            seconds_apart=1.0,
        )
        self.count = 0

    def vm(self, *, runner: bool = False, grant: str | None = None, age: float = OLD, **how) -> Member:
        """A VM, without registration and grant unless told otherwise."""
        self.count += 1
        number = 10**18 + self.count
        member = Member(
            name=f"vm-{self.count:03d}",
            zone=GROUP.zones[0],
            id=str(number),
            status=how.pop("status", "RUNNING"),
            action=how.pop("action", "NONE"),
            target_status=how.pop("target_status", "RUNNING"),
            version="",
            template="",
            errors=(),
        )
        instance = Instance(
            id=member.id,
            name=member.name,
            zone=member.zone,
            status="RUNNING",
            created=NOW - age,
            last_started=how.pop("last_started", None),
            metadata=how.pop("metadata", {}),
            fingerprint="",
            labels={},
            service_account="",
            machine_type="",
            max_run_seconds=None,
        )
        assert not how
        there = self.look.groups[GROUP.name]
        assert there is not None
        members = (*there.members, member)
        group = replace(there.group, target_size=len(members))
        seen = RunnerSeen(id=self.count, name=f"{member.name}-{base36(number)}", online=True, busy=False)
        self.look = replace(
            self.look,
            runners=(*self.look.runners, seen) if runner else self.look.runners,
            grants={**self.look.grants, member.id: grant} if grant is not None else self.look.grants,
            groups={**self.look.groups, GROUP.name: GroupLook(group=group, members=members)},
            instances={**self.look.instances, member.id: instance},
        )
        return member

    def healthy(self, count: int) -> None:
        """So many VMs that are registered."""
        for _ in range(count):
            self.vm(runner=True, grant="registered")

    def stuck(self, *, percent: int = 100) -> list[str]:
        return [suspect.id for suspect in judge(SETTINGS, self.look, [POOL], now=NOW, percent=percent).stuck]

    def why(self, vm: Member) -> str:
        (suspect,) = [one for one in judge(SETTINGS, self.look, [POOL], now=NOW).spared if one.id == vm.id]
        return suspect.spared

    def doubts(self) -> tuple[str, ...]:
        judgement = judge(SETTINGS, self.look, [POOL], now=NOW)
        assert not (judgement.doubts and judgement.stuck)
        return judgement.doubts


def _empty(name: str) -> GroupLook:
    group = Group(
        name=name,
        region=GROUP.region,
        zones=(),
        shape="ANY",
        base_name="vm",
        target_size=0,
        created=0.0,
        fingerprint="",
        stable=True,
        versions_reached=True,
        autoscaler=False,
        update_type="OPPORTUNISTIC",
        versions=(),
        target_suspended=0,
        target_stopped=0,
        actions={},
    )
    return GroupLook(group=group, members=())


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    scene.healthy(4)
    return scene


def test_a_vm_that_never_had_a_configuration_is_stuck(scene: Scene):
    vm, failed = scene.vm(), scene.vm(grant="unknown")
    assert scene.stuck() == [vm.id, failed.id]


def test_a_vm_that_may_still_boot_is_not_even_mentioned(scene: Scene):
    scene.vm(age=OLD - 1)
    scene.vm(age=1e6, last_started=NOW - OLD + 1)
    judgement = judge(SETTINGS, scene.look, [POOL], now=NOW)
    assert (judgement.stuck, judgement.spared) == ((), ())


@pytest.mark.parametrize("state", ["registered", "registering", ""])
def test_a_vm_that_was_given_a_configuration_may_have_a_job(scene: Scene, state: str):
    vm = scene.vm(grant=state)
    assert "its job may run" in scene.why(vm)
    assert scene.stuck() == []


def test_a_held_vm_stays_until_its_hold_is_over(scene: Scene):
    held = scene.vm(metadata={"runner-hold-until": "2999-01-01T00:00:00Z"})
    over = scene.vm(metadata={"runner-hold-until": "2000-01-01T00:00:00Z"})
    assert "an operator holds it until 2999" in scene.why(held)
    assert scene.stuck() == [over.id]


@pytest.mark.parametrize("kept", ["target_suspended", "target_stopped"])
def test_a_vm_of_a_group_with_a_reserve_stays(scene: Scene, kept: str):
    vm = scene.vm()
    there = scene.look.groups[GROUP.name]
    assert there
    kept_back = replace(there, group=replace(there.group, **{kept: 1}))
    scene.look = replace(scene.look, groups={**scene.look.groups, GROUP.name: kept_back})
    assert "reserve" in scene.why(vm)


@pytest.mark.parametrize(
    "how",
    [
        {"status": "SUSPENDED"},
        {"status": "STAGING"},
        {"action": "DELETING"},
        {"action": "CREATING"},
        {"target_status": "STOPPED"},
    ],
)
def test_what_does_not_stand_is_not_stuck(scene: Scene, how: dict[str, Any]):
    scene.vm(**how)
    assert scene.stuck() == []


def test_a_vm_that_was_made_anew_meanwhile_is_not_stuck(scene: Scene):
    vm = scene.vm()
    scene.look = replace(scene.look, instances={})
    assert vm.id not in scene.stuck()


def test_a_name_at_github_is_enough_to_be_registered(scene: Scene):
    vm = scene.vm()
    named = RunnerSeen(id=99, name=vm.name.upper(), online=False, busy=False)
    scene.look = replace(scene.look, runners=(*scene.look.runners, named))
    assert scene.stuck() == []


def test_a_vm_older_than_grants_are_kept_stays(scene: Scene):
    vm = scene.vm(age=SETTINGS.lifecycle.max_run_seconds + 1)
    assert "older than grants are kept" in scene.why(vm)


@pytest.mark.parametrize(("percent", "most"), [(20, 2), (1, 1), (50, 5), (100, 6)])
def test_a_share_of_the_pool_goes_and_the_oldest_first(scene: Scene, percent: int, most: int):
    vms = [scene.vm(age=OLD + number) for number in range(6)]
    assert scene.stuck(percent=percent) == [vm.id for vm in vms[::-1]][:most]
    judgement = judge(SETTINGS, scene.look, [POOL], now=NOW, percent=percent)
    assert len(judgement.spared) == 6 - most


# What is not to be believed.


def test_a_github_that_lists_nobody_is_not_believed(scene: Scene):
    scene.vm()
    scene.look = replace(scene.look, runners=())
    assert "0 of 4 VMs" in scene.doubts()[0]


def test_a_github_that_lists_less_than_half_is_not_believed(scene: Scene):
    scene.vm()
    scene.look = replace(scene.look, runners=scene.look.runners[:1])
    assert "1 of 4 VMs" in scene.doubts()[0]


def test_a_github_that_lists_other_fleets_alone_is_not_believed(scene: Scene):
    scene.vm()
    others = tuple(replace(runner, name=f"other-{runner.id}") for runner in scene.look.runners)
    scene.look = replace(scene.look, runners=others)
    assert scene.doubts()


def test_a_broker_without_a_grant_is_not_believed(scene: Scene):
    scene.vm()
    scene.look = replace(scene.look, grants={})
    assert any("there are none at all" in doubt for doubt in scene.doubts())


def test_a_broker_that_knows_none_of_those_that_are_registered_is_not_believed(scene: Scene):
    scene.vm()
    scene.look = replace(scene.look, grants={"1": ""})
    assert "most of them have none" in scene.doubts()[0]


def test_a_group_that_lists_nobody_and_wants_some_is_not_believed(scene: Scene):
    scene.vm()
    other = SETTINGS.groups(POOL)[1].name
    there = scene.look.groups[other]
    assert there
    emptied = replace(there, group=replace(there.group, target_size=3))
    scene.look = replace(scene.look, groups={**scene.look.groups, other: emptied})
    assert "lists nothing" in scene.doubts()[0]


@pytest.mark.parametrize("apart", [None, 61.0])
def test_a_wrong_clock_makes_no_vm_old(scene: Scene, apart: float | None):
    scene.vm()
    scene.look = replace(scene.look, seconds_apart=apart)
    assert "clock" in scene.doubts()[0]


def test_a_vm_that_was_ever_suspended_has_no_known_age(scene: Scene):
    vm = scene.vm()
    suspended = replace(scene.look.instances[vm.id], last_suspended=NOW - OLD)
    scene.look = replace(scene.look, instances={vm.id: suspended})
    assert "suspended once" in scene.why(vm)


def test_a_fleet_whose_vms_all_fail_to_boot_is_believed():
    scene = Scene()
    vm = scene.vm()
    scene.look = replace(scene.look, grants={"1": ""})
    assert scene.stuck() == [vm.id]


@given(st.data())
def test_whatever_is_missing_no_vm_with_a_runner_or_a_configuration_is_ever_stuck(data: st.DataObject):
    scene = Scene()
    may_go: set[str] = set()
    for _ in range(data.draw(st.integers(1, 8))):
        runner, age = data.draw(st.booleans()), data.draw(st.sampled_from([0.0, OLD, OLD * 2]))
        grant = data.draw(st.sampled_from([None, "unknown", "registered", "registering", ""]))
        vm = scene.vm(runner=runner, grant=grant, age=age)
        if not runner and grant in (None, "unknown") and age:
            may_go.add(vm.id)
    scene.look = replace(scene.look, grants={**scene.look.grants, "1": ""})
    percent = data.draw(st.integers(1, 100))
    stuck = scene.stuck(percent=percent)
    assert set(stuck) <= may_go
    assert len(stuck) <= max(1, scene.count * percent // 100)
