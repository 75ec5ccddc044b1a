"""Looks for stuck VMs, and removes them: each only after one more look at everything that speaks for it."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, cast

from fleet.group import Group
from fleet.settings import Settings
from rollout.backends.fleet import FleetLooks
from rollout.cloud.github import GitHub
from rollout.cloud.google import Google
from rollout.cloud.groups import Member
from rollout.cloud.instances import Instance
from rollout.engine.backend import Failed, Passed
from rollout.engine.limits import Limits
from rollout.engine.polling import Waiting
from rollout.engine.spec import Plan, Step
from rollout.plans.drive import Prepared
from rollout.plans.stack_settings import stack_settings
from rollout.plans.stuck import GroupLook, Look, Suspect, in_question, registered, stands, unproved
from rollout.view.snapshot import RunnerSeen

BACKEND: Final = "removal"
REMOVE_SECONDS: Final = 180.0
"""For all looks at one VM, and its end; services that do not answer for so long leave it where it is."""
_REQUESTS: Final = uuid.UUID("0d6f1f0c-9a4b-4a0e-8f2e-6f2f4f0c7b11")
"""The deleter's and the reconciler's namespace: a VM whose end two of them ask for ends once."""
_GRANTS: Final = "grants/"


async def look(settings: Settings, google: Google, github: GitHub, pools: Collection[str]) -> Look:
    """One look, everything of it whole. Raises CloudError: then nothing may be concluded."""
    first = await _runners(github)
    bucket = settings.names.function_bucket("broker")
    listed = [found.name for found in await google.storage.list(bucket, _GRANTS)]
    clock = google.storage.clock()
    seconds_apart = None if clock is None else abs(time.time() - clock)
    ids = [name.removeprefix(_GRANTS).removesuffix(".json") for name in listed]
    groups = [group for pool in settings.pools for group in settings.groups(pool)]
    looks = await asyncio.gather(*(_group(google, group) for group in groups))
    again = await _runners(github)
    seen = Look(
        runners=(*first, *again),
        grants={one: "" for one in ids if one.isascii() and one.isdigit()},
        groups={group.name: there for group, there in zip(groups, looks, strict=True)},
        instances={},
    )
    members = [member for _, _, member in in_question(settings, seen, pools)]
    instances = await asyncio.gather(*(google.instances.get(member.zone, member.name) for member in members))
    states = {
        member.id: state
        for member in members
        if member.id in seen.grants and (state := await _grant(settings, google, member.id)) is not None
    }
    return Look(
        runners=seen.runners,
        grants={**seen.grants, **states},
        groups=seen.groups,
        instances=_same(zip(members, instances, strict=True)),
        seconds_apart=seconds_apart,
    )


def plan(stack: str, suspects: Sequence[Suspect]) -> Plan:
    """One step a VM, one after the other."""
    steps = (
        Step(
            id=suspect.name,
            group=suspect.pool,
            backend=BACKEND,
            params={"look": "remove", **asdict(suspect)},
            try_timeout_seconds=REMOVE_SECONDS,
        )
        for suspect in suspects
    )
    return Plan(name=f"remove stuck VMs of {stack}", steps=tuple(steps))


def made(root: Path, given: Mapping[str, Any]) -> Prepared:
    """The plan and its backend from a run's recipe. Raises ConfigError and StackFileError."""
    removal = Removal(stack_settings(root, given["stack"]))
    return Prepared(
        plan=plan(given["stack"], [Suspect(**suspect) for suspect in given["suspects"]]),
        backends={BACKEND: removal.backend()},
        limits=Limits(backends={BACKEND: 1}),
    )


class Removal:
    """The backend of a run."""

    def __init__(self, settings: Settings, *, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now = now
        self._clients = AsyncExitStack()
        self._opened: tuple[Google, GitHub] | None = None

    def backend(self) -> FleetLooks:
        """The backend."""
        return FleetLooks({"remove": self.remove}, first_seconds=2.0, most_seconds=20.0, close=self._clients.aclose)

    async def remove(self, params: Mapping[str, Any]) -> Waiting | Passed | Failed:
        """Look once more, and have the VM's group end it. Raises CloudError, after which it is looked at anew."""
        suspect = Suspect(**{name: value for name, value in params.items() if name != "look"})
        if self._opened is None:
            google = await self._clients.enter_async_context(Google(self._settings.google.project))
            github = await self._clients.enter_async_context(GitHub(self._settings.github.organization))
            self._opened = google, github
        google, github = self._opened
        why = await self._changed(google, github, suspect)
        if why:
            return Passed(output={"end": "spared"}, message=f"stays: {why}")
        verb, call = (
            ("recreateInstances", "recreate_instances") if suspect.fixed else ("deleteInstances", "delete_instances")
        )
        arguments = {
            "region": suspect.region,
            "group": suspect.group,
            "instances": [f"zones/{suspect.zone}/instances/{suspect.name}"],
        }
        request = str(uuid.uuid5(_REQUESTS, f"{verb}/{suspect.id}"))
        await google.operations.wait(await google.operations.start(call, arguments, request_id=request))
        return Passed(output={"end": "removed"}, message="made anew" if suspect.fixed else "removed")

    async def _changed(self, google: Google, github: GitHub, suspect: Suspect) -> str:
        """What speaks against it by now; empty where nothing does. The look at GitHub comes last."""
        group = next((group for group in self._settings.groups(suspect.pool) if group.name == suspect.group), None)
        there = await _group(google, group) if group else None
        if group is None or there is None:
            return "its group is gone"
        member = next((member for member in there.members if member.id == suspect.id), None)
        if member is None or not stands(member):
            return "its group is taking it away, or has done so"
        instance = await google.instances.get(member.zone, member.name)
        if instance is None or instance.id != suspect.id:
            return "it is gone"
        grant = await _grant(self._settings, google, suspect.id)
        why = unproved(self._settings, group, there, instance, grant, now=self._now())
        if why is None or why:
            return why or "it has been started anew"
        return "it is registered by now" if registered(member, await _runners(github)) else ""


async def _runners(github: GitHub) -> tuple[RunnerSeen, ...]:
    return tuple(
        RunnerSeen(
            id=runner.id, name=runner.name, online=runner.online, busy=runner.busy, labels=tuple(sorted(runner.labels))
        )
        for runner in await github.runners()
    )


async def _group(google: Google, group: Group) -> GroupLook | None:
    """A group, its members first: who leaves between the two looks is then in neither, or in both."""
    members = await google.groups.members(group.region, group.name)
    there = await google.groups.get(group.region, group.name)
    return None if members is None or there is None else GroupLook(group=there, members=members)


async def _grant(settings: Settings, google: Google, instance_id: str) -> str | None:
    """The state of a VM's grant; None where it was given none, empty where it cannot be read."""
    stored = await google.storage.read(settings.names.function_bucket("broker"), f"{_GRANTS}{instance_id}.json")
    if stored is None:
        return None
    try:
        said: Any = json.loads(stored.data)
    except (ValueError, RecursionError):
        return ""
    return str(cast("dict[str, Any]", said).get("state") or "") if isinstance(said, dict) else ""


def _same(found: Iterable[tuple[Member, Instance | None]]) -> dict[str, Instance]:
    """The instances that are still the members."""
    return {member.id: instance for member, instance in found if instance is not None and instance.id == member.id}
