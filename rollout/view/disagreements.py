"""Where Google, GitHub, the services and the configuration contradict each other. Pure; nothing is mended here.

A source that is unknown is never part of a contradiction: what it does not say proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from fleet.group import Group
from fleet.settings import Settings
from rollout.view.matching import Registered, instance_id
from rollout.view.seen import Known, Unknown
from rollout.view.snapshot import GroupSeen, Snapshot
from rollout.view.standing import Deployed, Listener, declared, deployed, states, word_of
from rollout.view.vm_state import VmState


class Kind(StrEnum):
    """What disagrees; the value is stable."""

    GROUP_MISSING = "group-missing"
    NOT_DEPLOYED = "not-deployed"
    UNKNOWN_GROUP = "unknown-group"
    VM_WITHOUT_REGISTRATION = "vm-without-registration"
    REGISTRATION_WITHOUT_VM = "registration-without-vm"
    CANNOT_BE_MADE = "cannot-be-made"
    LISTENER_SILENT = "listener-silent"
    RUNNER_GROUP_MISSING = "runner-group-missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """One contradiction: what about, in a sentence, and what to do."""

    kind: Kind
    pool: str
    """Empty where it is of none."""
    subject: str
    says: str
    remedy: str

    def to_json(self) -> dict[str, str]:
        """As JSON has it."""
        return {
            "kind": self.kind.value,
            "pool": self.pool,
            "subject": self.subject,
            "says": self.says,
            "remedy": self.remedy,
        }


def find(settings: Settings, seen: Snapshot) -> tuple[Disagreement, ...]:
    """All of them: by pool, then what is of no pool."""
    found: list[Disagreement] = []
    for pool in settings.pools:
        found += _listener(settings, seen, pool)
        for group in settings.groups(pool):
            found += _deployment(settings, seen, pool, group)
            found += _vms(settings, seen, pool, group)
    return (*found, *_registrations(settings, seen), *_strangers(settings, seen), *_runner_groups(settings, seen))


def _listener(settings: Settings, seen: Snapshot, pool: str) -> Iterator[Disagreement]:
    if word_of(settings, seen, pool)[0] is not Listener.SILENT:
        return
    word = seen.words.value.get(pool) if isinstance(seen.words, Known) else None
    since = f"since {word.expires:%Y-%m-%d %H:%M} UTC" if word else "and never wrote of this pool"
    yield Disagreement(
        kind=Kind.LISTENER_SILENT,
        pool=pool,
        subject=pool,
        says=f"the demand listener is silent {since}: no VM is made for its jobs, and none may leave",
        remedy='docs/runbooks/job-waits.md, "The listener is silent"',
    )


def _deployment(settings: Settings, seen: Snapshot, pool: str, group: Group) -> Iterator[Disagreement]:
    state = deployed(group, seen)
    stack = settings.environment
    if state is Deployed.MISSING:
        yield Disagreement(
            kind=Kind.GROUP_MISSING,
            pool=pool,
            subject=group.name,
            says="the stack declares it, and Compute Engine has no such group",
            remedy=f"deploy: pulumi up --stack {stack}",
        )
    look = seen.groups.get(group.name)
    if state is Deployed.NO and isinstance(look, Known) and look.value is not None:
        yield Disagreement(
            kind=Kind.NOT_DEPLOYED,
            pool=pool,
            subject=group.name,
            says=f"it is set to {_versions(look.value)}, the stack says {_texts(declared(group))}",
            remedy=f"deploy: pulumi up --stack {stack}",
        )


def _vms(settings: Settings, seen: Snapshot, pool: str, group: Group) -> Iterator[Disagreement]:
    look = seen.groups.get(group.name)
    there = look.value if isinstance(look, Known) else None
    for vm, state in states(settings, seen, there.vms if there else ()):
        if state is VmState.UNREGISTERED and vm.started:
            minutes = round((seen.at - vm.started).total_seconds() / 60)
            yield Disagreement(
                kind=Kind.VM_WITHOUT_REGISTRATION,
                pool=pool,
                subject=vm.name,
                says=f"it runs for {minutes} min in {vm.zone}, and GitHub has no runner of it: "
                "its boot failed, or its job is done and it is about to go",
                remedy=f"after two looks: scripts/rollout remove-stuck {settings.environment} --pool {pool}",
            )
        if state is VmState.STUCK:
            yield Disagreement(
                kind=Kind.CANNOT_BE_MADE,
                pool=pool,
                subject=vm.name,
                says=f"the group cannot make it in {vm.zone}: {', '.join(sorted(set(vm.errors)))}",
                remedy="wait, or give the pool another region (regions in the pool's YAML)",
            )


def _registrations(settings: Settings, seen: Snapshot) -> Iterator[Disagreement]:
    """Runners called like one of the stack's VMs, of a VM that no group lists. Silent while any group is unknown."""
    if isinstance(seen.runners, Unknown) or any(isinstance(look, Unknown) for look in seen.groups.values()):
        return
    looks = [look.value for look in seen.groups.values() if isinstance(look, Known) and look.value]
    registered = Registered(seen.runners.value)
    claimed = {runner.id for look in looks for vm in look.vms for runner in registered.of(vm)}
    bases = {f"{group.base_instance_name}-": pool for pool in settings.pools for group in settings.groups(pool)}
    for runner in seen.runners.value:
        pool = next((pool for base, pool in bases.items() if runner.name.lower().startswith(base)), None)
        if pool is None or runner.id in claimed:
            continue
        how = "online, so its VM may have been made this minute" if runner.online else "offline"
        number = instance_id(runner.name, runner.labels)
        yield Disagreement(
            kind=Kind.REGISTRATION_WITHOUT_VM,
            pool=pool,
            subject=runner.name,
            says=f"GitHub has it ({how}), and no group lists its VM{f' {number}' if number else ''}",
            remedy="the reconciler removes it once both say so twice; look again in ten minutes",
        )


def _strangers(settings: Settings, seen: Snapshot) -> Iterator[Disagreement]:
    for name in seen.strangers.value if isinstance(seen.strangers, Known) else ():
        yield Disagreement(
            kind=Kind.UNKNOWN_GROUP,
            pool="",
            subject=name,
            says=f"a group with the prefix {settings.names.prefix} that the stack does not declare",
            remedy="left over from an interrupted deployment, or another fleet's: look before it is deleted",
        )


def _runner_groups(settings: Settings, seen: Snapshot) -> Iterator[Disagreement]:
    if isinstance(seen.runner_groups, Unknown):
        return
    for level, trust in settings.trust_levels.items():
        if trust.runner_group.lower() not in seen.runner_groups.value:
            yield Disagreement(
                kind=Kind.RUNNER_GROUP_MISSING,
                pool="",
                subject=trust.runner_group,
                says=f"GitHub has no runner group of that name; trust level {level} registers its runners there",
                remedy=f"deploy: pulumi up --stack {settings.environment}",
            )


def _versions(group: GroupSeen) -> str:
    own = _texts(group.versions)
    return ", ".join(part for part in (own, *group.foreign_templates) if part) or "no version"


def _texts(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{version} ({share})" for version, share in versions.items())
