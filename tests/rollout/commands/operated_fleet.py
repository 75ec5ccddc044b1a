"""A stack on the emulators, and what its VMs do when an operator marks them: for tests of commands that touch VMs."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.rollout_fleet import EmulatedFleet
from emulators.google.instance import Instance
from emulators.site import Site
from rollout.plans import leaving
from rollout.plans.stack_settings import stack_settings

HOLD, DRAIN = "runner-hold-until", "runner-drain"
FOR_LONG, OVER = "2999-01-01T00:00:00Z", "2000-01-01T00:00:00Z"
POOL, WEST, EAST = "presubmit-cpu", "us-west1", "us-central1"
INTERVAL_SECONDS = 0.05


class OperatedFleet(EmulatedFleet):
    """The fleet of a project's stack."""

    def __init__(self, site: Site, project: Path, stack: str = "prod") -> None:
        super().__init__(site, stack_settings(project, stack))
        self.grants = self.settings.names.function_bucket("broker")
        site.google.add_bucket(self.grants)

    @property
    def current(self) -> str:
        """The version that new VMs get."""
        version = self.settings.rollout.stable
        assert version
        return version

    def of(self, runner: str = "idle", *, region: str = WEST, version: str = "", pool: str = POOL, **how) -> Instance:
        """One more VM with its grant, where it is registered."""
        vm = self.vm(pool, region, version=self.current, runner=runner, **how)
        vm.template = vm.template.replace(self.current, version or self.current)
        if runner:
            self.grant(vm)
        return vm

    def grant(self, vm: Instance, state: str = "registered") -> None:
        """The broker's grant of a VM."""
        self.site.google.put_object(self.grants, f"grants/{vm.id}.json", json.dumps({"state": state}).encode())

    def named(self, name: str) -> Instance:
        """A VM that is there."""
        return next(vm for group in self.groups.values() for vm in group.instances if vm.name == name)

    def leaves(self, name: str) -> None:
        """A VM goes for good, as one does that retires."""
        vm = self.named(name)
        group = next(group for group in self.groups.values() if vm in group.instances)
        self.site.google.delete_instance(vm)
        group.target_size -= 1

    def names(self) -> set[str]:
        """Of all VMs that are there."""
        return {vm.name for group in self.groups.values() for vm in group.instances}

    def marked(self) -> set[str]:
        """The VMs that are drained."""
        return {vm.name for group in self.groups.values() for vm in group.instances if DRAIN in vm.metadata}


@contextmanager
def operated(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OperatedFleet]:
    """The fleet, and commands that ask it, with pauses of milliseconds."""
    settings = stack_settings(project, "prod")
    with Site(organization=settings.github.organization, project=settings.google.project) as site:
        for name, value in site.operator_environment().items():
            monkeypatch.setenv(name, value)
        quick = functools.partial(leaving.Pace, interval_seconds=INTERVAL_SECONDS)
        monkeypatch.setattr(leaving, "Pace", quick)
        yield OperatedFleet(site, project)


def when_marked(monkeypatch: pytest.MonkeyPatch, happens: Callable[[str], None]) -> None:
    """What a VM does, by its name, as soon as it has its mark."""
    mark = leaving.Leaving._mark

    async def marked(self, google, instance):
        answer = await mark(self, google, instance)
        if answer is None:
            happens(instance.name)
        return answer

    monkeypatch.setattr(leaving.Leaving, "_mark", marked)
