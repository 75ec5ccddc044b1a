"""Looks at everything a stack consists of, many things at once, and makes a snapshot of it.

GitHub's runners are asked for before the groups' members: a runner that is listed then had a VM when it was made. What
fails is unknown in the snapshot, with the reason, and hides nothing else.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from typing import Final, TypeVar

from fleet.group import Group
from fleet.settings import Settings
from rollout.cloud import groups as cloud_groups
from rollout.cloud.errors import CloudError
from rollout.cloud.github import GitHub
from rollout.cloud.google import Google
from rollout.view import words
from rollout.view.matching import Registered
from rollout.view.seen import Known, Seen, Unknown
from rollout.view.snapshot import (
    GroupSeen,
    PoolWord,
    Reconciled,
    RunnerGroupSeen,
    RunnerSeen,
    Snapshot,
    VmSeen,
)

AT_ONCE: Final = 32
"""Questions that are under way at a time, besides the clients' own pace."""

NOT_ASKED: Final = Unknown("not asked")

_T = TypeVar("_T")
_K = TypeVar("_K")


def utc_now() -> datetime.datetime:
    """The time, for whoever is given no other clock."""
    return datetime.datetime.now(tz=datetime.UTC)


async def gather(
    settings: Settings,
    google: Google | Unknown,
    github: GitHub | Unknown,
    *,
    other_prefixes: Collection[str] = (),
    vms_only: bool = False,
    now: Callable[[], datetime.datetime] = utc_now,
) -> Snapshot:
    """One look. `other_prefixes` are those of other stacks in the same project: their groups are no strangers.

    With `vms_only` the runner groups and what services write are left unknown: who waits for VMs looks often.
    """
    declared = {group.name: (key, group) for key in settings.pools for group in settings.groups(key)}
    others = (NOT_ASKED, NOT_ASKED) if vms_only else (google, github)
    runners, listed, runner_groups, said, reconciled = await asyncio.gather(
        _runners(github),
        _listed(google),
        _runner_groups(settings, others[1]),
        _words(settings, others[0]),
        _reconciled(settings, others[0]),
    )
    names = list(declared)
    looks = await _each(names, lambda name: _group(settings, google, listed, *declared[name]))
    groups = dict(zip(names, looks, strict=True))
    snapshot = Snapshot(
        at=now(),
        groups=groups,
        runners=runners,
        words=said,
        reconciled=reconciled,
        runner_groups=runner_groups,
        strangers=_strangers(settings, listed, declared, other_prefixes),
    )
    return await _with_ages(settings, google, snapshot)


async def opened(stack: AsyncExitStack, client: AbstractAsyncContextManager[_T]) -> _T | Unknown:
    """A client, open until the stack ends; unknown where there is nothing to sign in with."""
    try:
        return await stack.enter_async_context(client)
    except CloudError as error:
        return Unknown(str(error), error.error_class)


async def seen(what: Awaitable[_T]) -> Seen[_T]:
    """What a question gives, or why it gave nothing."""
    try:
        return Known(await what)
    except CloudError as error:
        return Unknown(str(error), error.error_class)


async def _each(keys: Iterable[_K], question: Callable[[_K], Awaitable[_T]]) -> list[_T]:
    """The same question about many things, in their order, not all of them at once."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(key: _K) -> _T:
        async with room:
            return await question(key)

    return await asyncio.gather(*(one(key) for key in keys))


async def _runners(github: GitHub | Unknown) -> Seen[tuple[RunnerSeen, ...]]:
    if isinstance(github, Unknown):
        return github
    listed = await seen(github.runners())
    if isinstance(listed, Unknown):
        return listed
    return Known(
        tuple(
            RunnerSeen(
                id=runner.id,
                name=runner.name,
                online=runner.online,
                busy=runner.busy,
                labels=tuple(sorted(runner.labels)),
                version=runner.version,
            )
            for runner in listed.value
        )
    )


async def _runner_groups(settings: Settings, github: GitHub | Unknown) -> Seen[dict[str, RunnerGroupSeen]]:
    """Those that trust levels name, with their repositories. One that cannot be read makes all unknown."""
    if isinstance(github, Unknown):
        return github
    wanted = {trust.runner_group.lower() for trust in settings.trust_levels.values()}

    async def ask() -> dict[str, RunnerGroupSeen]:
        found: dict[str, RunnerGroupSeen] = {}
        for group in await github.runner_groups():
            if group.name.lower() not in wanted:
                continue
            selected = group.visibility == "selected"
            repositories = frozenset(await github.group_repositories(group.id)) if selected else None
            found[group.name.lower()] = RunnerGroupSeen(
                name=group.name, repositories=repositories, public_repositories=group.public
            )
        return found

    return await seen(ask())


async def _listed(google: Google | Unknown) -> Seen[dict[str, cloud_groups.Group]]:
    if isinstance(google, Unknown):
        return google
    listed = await seen(google.groups.list())
    return listed if isinstance(listed, Unknown) else Known({group.name: group for group in listed.value})


async def _group(
    settings: Settings,
    google: Google | Unknown,
    listed: Seen[dict[str, cloud_groups.Group]],
    pool: str,
    group: Group,
) -> Seen[GroupSeen | None]:
    """A group and its members; asked for by itself where the list of all could not be had."""
    if isinstance(google, Unknown):
        return google

    async def ask() -> GroupSeen | None:
        if isinstance(listed, Unknown):
            there = await google.groups.get(group.region, group.name)
        else:
            there = listed.value.get(group.name)
        members = await google.groups.members(group.region, group.name) if there else None
        if there is None or members is None:
            return None
        return GroupSeen(
            name=group.name,
            target=there.target_size,
            versions={
                version: _share(each)
                for each in there.versions
                if (version := version_of(settings, pool, each.template))
            },
            vms=tuple(_vm(settings, pool, member) for member in members),
            foreign_templates=tuple(
                each.template for each in there.versions if not version_of(settings, pool, each.template)
            ),
        )

    return await seen(ask())


def version_of(settings: Settings, pool: str, template: str) -> str:
    """The version that a template's name says; empty where it is none of the pool's."""
    version = template.removeprefix(settings.names.template(pool, ""))
    return version if version != template else ""


def _share(version: cloud_groups.GroupVersion) -> str:
    """As `standing.share_text` says it of the settings."""
    if version.fixed is not None:
        return f"{version.fixed} VM{'' if version.fixed == 1 else 's'}"
    return "rest" if version.percent is None else f"{version.percent} %"


def _vm(settings: Settings, pool: str, member: cloud_groups.Member) -> VmSeen:
    return VmSeen(
        id=member.id,
        name=member.name,
        zone=member.zone,
        status=member.status,
        action=member.action,
        target_status=member.target_status or "RUNNING",
        version=version_of(settings, pool, member.template),
        errors=member.errors,
    )


async def _words(settings: Settings, google: Google | Unknown) -> Seen[dict[str, PoolWord]]:
    """What the listener says of pools. One record that cannot be read makes all unknown."""
    if isinstance(google, Unknown):
        return google
    bucket = settings.names.function_bucket("listener")

    async def ask() -> Seen[dict[str, PoolWord]]:
        names = [listed.name for listed in await google.storage.list(bucket, "pools/")]
        stored = await _each(names, lambda name: google.storage.read(bucket, name))
        found = [words.pool_word(each.data) for each in stored if each is not None]
        faulty = [each for each in found if isinstance(each, Unknown)]
        return faulty[0] if faulty else Known({each.pool: each for each in found if isinstance(each, PoolWord)})

    asked = await seen(ask())
    return asked if isinstance(asked, Unknown) else asked.value


async def _reconciled(settings: Settings, google: Google | Unknown) -> Seen[Reconciled | None]:
    if isinstance(google, Unknown):
        return google
    bucket = settings.names.function_bucket("reconciler")
    stored = await seen(google.storage.read(bucket, "reports/latest.json"))
    if isinstance(stored, Unknown):
        return stored
    if stored.value is None:
        return Known(None)
    report = words.reconciled(stored.value.data)
    return report if isinstance(report, Unknown) else Known(report)


def _strangers(
    settings: Settings,
    listed: Seen[dict[str, cloud_groups.Group]],
    declared: Collection[str],
    other_prefixes: Collection[str],
) -> Seen[tuple[str, ...]]:
    if isinstance(listed, Unknown):
        return listed
    own = f"{settings.google.name_prefix}-"
    others = tuple(f"{prefix}-" for prefix in other_prefixes if prefix.startswith(own))
    return Known(
        tuple(
            name
            for name in sorted(listed.value)
            if name.startswith(own) and not name.startswith(others) and name not in declared
        )
    )


async def _with_ages(settings: Settings, google: Google | Unknown, snapshot: Snapshot) -> Snapshot:
    """With the start of each VM that GitHub has no runner of, and of each of the canary's: the others need none."""
    if isinstance(google, Unknown):
        return snapshot
    listed = snapshot.runners
    registered = Registered(listed.value if isinstance(listed, Known) else ())
    there = {name: known.value for name, known in snapshot.groups.items() if isinstance(known, Known) and known.value}
    canary = settings.rollout.canary
    wanted = [
        vm
        for group in there.values()
        for vm in group.vms
        if vm.id
        and vm.status == "RUNNING"
        and (vm.version == canary or (isinstance(listed, Known) and not registered.of(vm)))
    ]

    async def one(vm: VmSeen) -> VmSeen:
        answer = await seen(google.instances.get(vm.zone, vm.name))
        if isinstance(answer, Unknown):
            return replace(vm, unread=answer.why)
        found = answer.value
        if found is None or found.id != vm.id:
            return vm  # it went, or was made anew, since the list was read
        began = max(found.created, found.last_started or 0.0)
        return replace(vm, started=datetime.datetime.fromtimestamp(began, datetime.UTC))

    aged = {vm.id: vm for vm in await _each(wanted, one)}
    groups: dict[str, Seen[GroupSeen | None]] = dict(snapshot.groups)
    for name, group in there.items():
        groups[name] = Known(replace(group, vms=tuple(aged.get(vm.id, vm) for vm in group.vms)))
    return replace(snapshot, groups=groups)
