"""What must hold is looked at: each sabotage of the fleet is seen, and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import deleter.decide
import listener.decide
import pytest

from simulation import faults, retiring, world
from simulation.assumptions import HASTY, Spread
from simulation.faults import Fault
from simulation.machine import Machine
from simulation.machines import Machines
from simulation.world import Scenario, World, run

SLOW_DELIVERY = replace(HASTY, deliver_seconds=Spread(40, 44, 45))


def violations(**changes: Any) -> str:
    given = {"seed": 1, "jobs": 12, "faults": "none", "assumed": HASTY, "signed": False, **changes}
    return "\n".join(run(Scenario(**given)).truth.violations)


@pytest.fixture
def sabotage(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[World], Any]], str]:
    """Have something done to a world as a fault; what is violated then."""

    def play(strike: Callable[[World], Any]) -> str:
        async def struck(there: World, chance: object) -> None:  # noqa: ARG001 - a fault's signature
            await strike(there)

        monkeypatch.setattr(world, "PATIENCE_SECONDS", 3600.0)
        monkeypatch.setitem(faults.FAULTS, "sabotage", Fault(name="sabotage", what="", strike=struck))
        return violations(faults="sabotage")

    return play


def test_nothing_is_violated_when_nothing_is_wrong():
    assert violations() == ""


@pytest.mark.parametrize(("settles", "lost"), [(retiring.retirement.SETTLE_SECONDS, False), (0, True)])
def test_a_vm_that_leaves_with_a_job_on_its_way_is_seen_and_the_real_one_does_not(monkeypatch, settles, lost):
    """A job takes most of a minute to arrive, GitHub says idle meanwhile, all are surplus, and no VM is patient."""
    monkeypatch.setattr(retiring.retirement, "SETTLE_SECONDS", settles)
    monkeypatch.setattr(deleter.decide, "surplus_of", lambda *_: 1)
    monkeypatch.setattr(world, "PATIENCE_SECONDS", 900.0)
    assumed = replace(SLOW_DELIVERY, idle_timeout_seconds=1, retire_pause_seconds=Spread(1, 2, 3))
    seen = violations(jobs=4, pools=("postsubmit-gpu",), assumed=assumed)
    assert ("with job" in seen) is lost


def test_a_group_above_its_maximum_is_seen(monkeypatch):
    real = listener.decide.allocate

    def greedy(*given: Any) -> Any:
        allocation = real(*given)
        return replace(allocation, targets=dict.fromkeys(allocation.targets, 3))

    monkeypatch.setattr(listener.decide, "allocate", greedy)
    monkeypatch.setattr(world, "PATIENCE_SECONDS", 900.0)
    assert "its maximum is" in violations(jobs=4, pools=("postsubmit-gpu",))


def test_more_permits_than_surplus_vms_are_seen(monkeypatch):
    monkeypatch.setattr(deleter.decide, "surplus_of", lambda *_: 99)
    assert "permits;" in "".join(violations(seed=seed, jobs=20) for seed in range(3))


def test_vms_that_nobody_deletes_are_seen(sabotage, monkeypatch):
    async def no_deleter(there: World) -> None:
        there.functions["deleter"].down = there.functions["reconciler"].down = True
        monkeypatch.setattr(there.machines, "power_off", lambda _: None)

    assert "VMs left; it keeps" in sabotage(no_deleter)


def test_a_registration_that_nobody_removes_is_seen(sabotage):
    async def stranger(there: World) -> None:
        there.functions["reconciler"].down = True
        there.github.add_runner("nobodys")

    assert "runner nobodys is left at GitHub without a VM" in sabotage(stranger)


def test_a_job_that_github_gives_up_is_seen(sabotage):
    async def no_broker(there: World) -> None:
        there.functions["broker"].down = True

    assert "ran 0 times; GitHub has it failed after 3 assignments" in sabotage(no_broker)


def test_a_vm_deleted_under_its_worker_is_seen(sabotage):
    async def strike(there: World) -> None:
        for _ in range(200):
            await there.pulse.until(lambda: False, there.clock.now() + 5)
            for machine in there.machines.all:
                group = there.google.groups[machine.life.group]
                if machine.worker and machine.instance in group.instances:
                    there.google.compute.delete(group, [machine.instance])
                    there.pulse.beat()
                    return

    assert "was deleted under its worker" in sabotage(strike)


def test_a_bug_of_a_vm_is_no_result_but_an_error(monkeypatch):
    def broken(_: Machine) -> float:
        raise KeyError("a bug of the simulation")

    monkeypatch.setattr(Machine, "_uptime", broken)
    with pytest.raises(KeyError, match="a bug of the simulation"):
        violations()


def test_machines_are_looked_for_only_when_compute_engine_has_changed(monkeypatch):
    powered: list[str] = []
    real = Machines._power_on

    def power_on(self: Machines, group: Any, instance: Any) -> None:
        powered.append(instance.id)
        real(self, group, instance)

    monkeypatch.setattr(Machines, "_power_on", power_on)
    violations()
    assert len(powered) == len(set(powered)) > 10
