"""Draws a fleet view: tables for a terminal, plain text when piped. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from rehearsal.render import Sheet, aligned, table
from rollout.view.disagreements import Disagreement
from rollout.view.evidence import Evidence
from rollout.view.fleet_view import FleetView, GroupView, PoolView
from rollout.view.snapshot import Reconciled
from rollout.view.standing import Deployed, Listener
from rollout.view.vm_state import VmState

FULL: Final = 3
"""So many disagreements of a kind are shown in full; of more, as many names are, and their count. --json has all."""
REPORT_SECONDS: Final = 1800
"""The reconciler reports every five minutes; one that missed six runs has a trouble of its own."""

_STYLES: Final = (
    ("unknown", "bold red"),
    ("disagreement", "yellow"),
    ("against it", "bold red"),
    ("jobs wait", "cyan"),
    ("warning", "yellow"),
)
_DEADLINES: Final = {"newest": "", "within": "", "near": "near", "past": "past"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What `status` shows."""

    fleet: FleetView
    evidence: Evidence | None
    """None where there is no canary."""
    reconciled: Reconciled | None = None

    def tables(self, width: int) -> RenderableType:
        """For a terminal of so many columns."""
        drawn = (table(sheet.fitted(width)) for sheet in self._sheets())
        return Group(Text(self._head(), "bold"), Text(), *drawn, *map(_styled, self._notes()))

    def plain(self) -> str:
        """For a pipe: no frames, no limit of width."""
        parts = [self._head(), *(aligned(sheet) for sheet in self._sheets()), "\n".join(self._notes())]
        return "\n\n".join(part for part in parts if part)

    def _head(self) -> str:
        fleet = self.fleet
        canary = f"canary {fleet.canary}" if fleet.canary else "no canary"
        return f"{fleet.environment}: stable {fleet.stable}, {canary}; seen {fleet.at:%Y-%m-%d %H:%M:%S} UTC"

    def _sheets(self) -> tuple[Sheet, ...]:
        return _versions(self.fleet), _pools(self.fleet.pools)

    def _notes(self) -> list[str]:
        notes = [
            *_unknown_notes(self.fleet.unknown),
            *_deadline_notes(self.fleet),
            *_disagreement_notes(self.fleet.disagreements),
            *_job_notes(self.fleet.pools),
            *(self.evidence.lines if self.evidence else ()),
            *self._reconciler_notes(),
        ]
        if not self.fleet.unknown and not self.fleet.disagreements:
            notes.append("Google, GitHub and the configuration agree.")
        return notes

    def _reconciler_notes(self) -> list[str]:
        report = self.reconciled
        if report is None:
            return []
        age = (self.fleet.at - report.written).total_seconds()
        mode = ", dry run" if report.dry_run else ""
        found = len(report.disagreements)
        line = f"reconciler: {age / 60:.0f} min ago{mode}, {found} disagreement{'' if found == 1 else 's'}"
        late = "; it should report every five minutes: docs/runbooks/job-waits.md" if age > REPORT_SECONDS else ""
        return [line + late]


def _styled(line: str) -> Text:
    style = next((style for prefix, style in _STYLES if line.startswith(prefix)), "")
    return Text(line, style)


def _versions(fleet: FleetView) -> Sheet:
    rows = [
        (
            version.id,
            version.role if version.runner else "listed no more",
            version.runner or "?",
            str(version.due or "none"),
            version.deadline or "?",
            str(version.vms),
        )
        for version in fleet.versions
    ]
    columns = ("version", "role", "runner", "runner deadline", "state", "VMs")
    return Sheet("Versions", columns, tuple(rows), frozenset({"VMs"}))


def _pools(pools: Iterable[PoolView]) -> Sheet:
    rows: list[tuple[str, ...]] = []
    for pool in pools:
        for index, group in enumerate(pool.groups):
            head = (pool.key, _jobs(pool)) if index == 0 else ("", "")
            versions, doing = _vms(group)
            rows.append((head[0], group.region, _size(group), versions, doing, head[1], _deployed(group)))
    columns = ("pool", "region", "VMs", "version", "doing", "jobs", "deployed")
    return Sheet("Pools, * is the canary", columns, tuple(rows), frozenset({"VMs"}), spare=("deployed", "jobs"))


def _size(group: GroupView) -> str:
    if group.deployed is Deployed.UNKNOWN:
        return f"?/{group.max}"
    if group.deployed is Deployed.MISSING:
        return f"-/{group.max}"
    there = group.count(*(set(VmState) - {VmState.RESERVE, VmState.STUCK, VmState.LEAVING}))
    aim = "" if there == group.target else f"→{group.target}"
    return f"{there}{aim}/{group.max}"


def _vms(group: GroupView) -> tuple[str, str]:
    """Versions, and what the VMs of each do, a line each."""
    if group.deployed is Deployed.UNKNOWN:
        return "?", "?"
    versions: list[str] = []
    doing: list[str] = []
    for version, by_state in sorted(group.vms.items(), reverse=True):
        mark = " *" if version and version == group.canary else ""
        versions.append(f"{version or 'another'}{mark}")
        doing.append(", ".join(f"{by_state[state]} {state}" for state in VmState if by_state.get(state)))
    if group.canary and group.canary not in group.vms:
        versions.append(f"{group.canary} *")
        doing.append("none yet")
    return "\n".join(versions) or "-", "\n".join(doing) or "-"


def _jobs(pool: PoolView) -> str:
    match pool.listener:
        case Listener.NONE:
            return f"({pool.signal})"
        case Listener.UNKNOWN:
            return "?"
        case Listener.SILENT:
            return "listener silent"
        case Listener.SPEAKS:
            word = pool.word
            assert word is not None
            return f"{word.running} run" + (f", {word.waiting} wait" if word.waiting else "")


def _deployed(group: GroupView) -> str:
    return "?" if group.deployed is Deployed.UNKNOWN else group.deployed.value


def _unknown_notes(unknown: Mapping[str, str]) -> list[str]:
    """Each source; of many of a kind, such as groups, the first and how many more."""
    found: list[str] = []
    for kind, grouped in groupby(unknown.items(), key=lambda each: each[0].partition(" ")[0]):
        same = list(grouped)
        if len(same) > FULL:
            found.append(f"unknown: {same[0][0]} and {len(same) - 1} more of its kind ({kind}): {same[0][1]}")
        else:
            found += [f"unknown: {source}: {why}" for source, why in same]
    return found


def _deadline_notes(fleet: FleetView) -> list[str]:
    found: list[str] = []
    for version in fleet.versions:
        if version.due is None or not _DEADLINES.get(version.deadline or ""):
            continue
        days = (version.due - fleet.at.date()).days
        when = f"in {days} days" if days > 0 else "today" if days == 0 else f"{-days} days ago"
        found.append(
            f"warning: runner {version.runner} of {version.id} ({version.role}) is to be replaced by {version.due}, "
            f"{when}: docs/runbooks/runner-deadline.md"
        )
    return found


def _disagreement_notes(disagreements: Iterable[Disagreement]) -> list[str]:
    """All of a kind together; of many, a few names and how many more."""
    found: list[str] = []
    by_kind = sorted(disagreements, key=lambda each: each.kind)
    for kind, grouped in groupby(by_kind, key=lambda each: each.kind):
        same = list(grouped)
        if len(same) <= FULL:
            found += [f"disagreement ({kind}): {each.subject}: {each.says}\n    → {each.remedy}" for each in same]
            continue
        names = ", ".join(each.subject for each in same[:FULL])
        found.append(
            f"disagreement ({kind}): {len(same)} of them: {names} and {len(same) - FULL} more (--json lists all); "
            f"the first: {same[0].says}\n    → {same[0].remedy}"
        )
    return found


def _job_notes(pools: Iterable[PoolView]) -> list[str]:
    """How many wait, and why, as the listener says it."""
    said = [(pool.key, pool.word) for pool in pools if pool.word and (pool.word.waiting or pool.word.reasons)]
    return [f"jobs wait ({key}): {'; '.join((f'{w.waiting} of {w.assigned}', *w.reasons))}" for key, w in said]
