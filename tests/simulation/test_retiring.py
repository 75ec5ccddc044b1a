"""An idle VM's leaving on the virtual clock: what its own machine does to it and asks of the services."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from simulation import retiring
from simulation.loop import running

SETTLE = retiring.retirement.SETTLE_SECONDS
WELL = {"/retire": (200, {"permit": True, "returned": True}), "/deregister": (200, {"deregistered": True})}


class LeftError(Exception):
    """The listener is gone, and the run with it."""


@dataclass
class Vm:
    """A VM that is idle, and answers as told."""

    answers: Mapping[str, tuple[int, Mapping[str, Any]]] = field(default_factory=lambda: dict(WELL))
    job_at: float = float("inf")
    saved_stage: str | None = None
    did: list[str] = field(default_factory=list)
    clock: Any = None

    def idle(self) -> bool:
        return True

    def has_job(self) -> bool:
        return self.clock() >= self.job_at

    def freeze(self) -> None:
        self.did.append("freeze")

    def thaw(self) -> None:
        self.did.append("thaw")

    def leave(self) -> None:
        self.did.append(f"leave at {self.clock():.0f}")
        raise LeftError

    async def ask(self, service: str, method: str, path: str, timeout_seconds: float) -> tuple[int, Mapping[str, Any]]:
        assert timeout_seconds > 0
        self.did.append(f"{service} {method} {path}")
        return self.answers[path]


def run(vm: Vm) -> Vm:
    with running() as loop:
        vm.clock = loop.time
        with contextlib.suppress(LeftError):
            loop.run_until_complete(retiring.run(vm))
    return vm


def test_an_idle_vm_gets_a_permit_deregisters_settles_freezes_and_leaves():
    vm = run(Vm())
    assert vm.did == ["deleter POST /retire", "broker POST /deregister", "freeze", f"leave at {SETTLE}"]


def test_a_job_that_comes_while_it_settles_keeps_the_vm_and_gives_the_permit_back():
    vm = run(Vm(job_at=SETTLE - 1))
    assert vm.did == ["deleter POST /retire", "broker POST /deregister", "thaw", "deleter DELETE /retire"]
    assert vm.saved_stage == "resting"


@pytest.mark.parametrize("refused", [(200, {"permit": False}), (403, {}), (409, {})])
def test_without_a_permit_nothing_more_is_done(refused):
    vm = run(Vm(answers={**WELL, "/retire": refused}))
    assert (vm.did, vm.saved_stage) == (["deleter POST /retire"], "resting")


def test_a_deregistration_of_unknown_outcome_ends_the_run_and_the_next_one_takes_it_up():
    vm = run(Vm(answers={**WELL, "/deregister": (0, {})}))
    assert (vm.did, vm.saved_stage) == (["deleter POST /retire", "broker POST /deregister"], "deregistering")
    vm.answers, vm.did = WELL, []
    assert run(vm).did == ["broker POST /deregister", "freeze", f"leave at {SETTLE}"]


def test_a_busy_runner_keeps_its_vm():
    vm = run(Vm(answers={**WELL, "/deregister": (409, {"error": "busy"})}))
    assert vm.did == ["deleter POST /retire", "broker POST /deregister", "thaw", "deleter DELETE /retire"]
