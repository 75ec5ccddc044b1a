"""Draws a review and its changes: tables for a terminal, plain text when piped, Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest
from typing import Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fleet import cost
from fleet import group as fleet_group
from fleet.capacity import Capacity
from fleet.catalog.prices import READ_FROM
from fleet.schema.pool import CanaryInstances
from rehearsal.against import Action, Comparison
from rehearsal.review import Review, VersionReview

REHEARSAL_LINE: Final = (
    "This is a rehearsal: what the program would register, without engine, cloud or credentials. "
    "It knows nothing of what exists."
)
_MARKS: Final[dict[Action, tuple[str, str]]] = {
    "created": ("+", "green"),
    "changed": ("~", "yellow"),
    "replaced": ("±", "magenta"),
    "removed": ("-", "red"),
    "frozen": ("=", "cyan"),
    "differs": ("≠", "yellow"),
}
_PADDING: Final = 3  # what rich puts beside a column
_STATE_STYLES: Final = {"newest": "green", "within": "green", "near": "yellow", "past": "bold red"}


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table: what it is called, its columns, and its rows of text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[str] = frozenset()
    """Columns of figures."""
    spare: tuple[str, ...] = ()
    """Columns that a narrow terminal does without, the most dispensable first."""

    def fitted(self, width: int) -> Sheet:
        """The sheet without as many spare columns as it takes to fit; its title says which are left out."""
        widths = {
            name: max(len(line) for cell in (name, *(row[i] for row in self.rows)) for line in cell.split("\n"))
            for i, name in enumerate(self.columns)
        }
        hidden: list[str] = []
        for name in self.spare:
            if sum(widths.values()) + _PADDING * len(widths) <= width:
                break
            hidden.append(name)
            del widths[name]
        kept = [i for i, name in enumerate(self.columns) if name in widths]
        title = f"{self.title} (too narrow for {', '.join(hidden)})" if hidden else self.title
        rows = tuple(tuple(row[i] for i in kept) for row in self.rows)
        return replace(self, title=title, columns=tuple(widths), rows=rows, spare=())


@dataclass(frozen=True, slots=True)
class Page:
    """A whole answer: the review's tables, what changes, and the warnings."""

    review: Review
    comparison: Comparison | None

    def tables(self, width: int) -> RenderableType:
        """For a terminal of so many columns."""
        head = Text.assemble((REHEARSAL_LINE, "bold cyan"), "\n")
        drawn = (table(sheet.fitted(width)) for sheet in self._sheets())
        return Group(head, *drawn, *(Text(line) for line in self._notes()))

    def plain(self) -> str:
        """For a pipe: aligned words without frames, no limit of width."""
        parts = [REHEARSAL_LINE, *(aligned(sheet) for sheet in self._sheets()), "\n".join(self._notes())]
        return "\n\n".join(part for part in parts if part)

    def markdown(self) -> str:
        """For a pull request: what changes comes first, the fleet is folded away."""
        tables = [_markdown(sheet) for sheet in _fleet(self.review)]
        fleet = "\n\n".join(["<details><summary>The whole fleet</summary>", *tables, "</details>"])
        changes = [_markdown(changes_sheet(self.comparison))] if self.comparison and self.comparison.changes else []
        notes = [f"- {line}" for line in self._notes()]
        title = f"## Fleet `{self.review.environment}`"
        return "\n\n".join([title, f"_{REHEARSAL_LINE}_", "\n".join(notes), *changes, fleet])

    def _sheets(self) -> list[Sheet]:
        compared = self.comparison is not None and bool(self.comparison.changes)
        return [*_fleet(self.review), *([changes_sheet(self.comparison)] if compared and self.comparison else [])]

    def _notes(self) -> list[str]:
        notes = [f"warning: {warning}" for warning in self.review.warnings]
        return [*notes, self.comparison.summary()] if self.comparison else notes


def faults_line(review: Review) -> str:
    """How many faults there are, and that nothing else happened."""
    count = len(review.faults)
    return f"stack {review.environment}: {count} fault{'' if count == 1 else 's'}; nothing was rehearsed"


def faults_markdown(review: Review) -> str:
    """The faults, for a pull request."""
    lines = [f"- `{fault.replace('`', chr(39))}`" for fault in review.faults]
    return "\n".join([f"## Fleet `{review.environment}`", "", f"**{faults_line(review)}**", "", *lines])


def _fleet(review: Review) -> tuple[Sheet, ...]:
    return (
        _pools(review),
        _levels(review),
        Sheet("Services", ("service", "name", "what"), tuple((s.service, s.name, s.facts) for s in review.services)),
        _versions(review.versions),
        _capacity(review),
        Sheet("Resources", ("type", "count"), _resources(review), frozenset({"count"})),
    )


def changes_sheet(comparison: Comparison) -> Sheet:
    """What differs from the base, by owner."""
    rows: list[tuple[str, ...]] = []
    for owner, owned in groupby(comparison.changes, key=lambda change: change.owner):
        for index, change in enumerate(owned):
            mark = _MARKS[change.action][0]
            details = [str(prop) for prop in change.properties]
            if change.consequence:
                details.append(f"→ {change.consequence}")
            head = owner if index == 0 else ""
            rows.append((head, f"{mark} {change.action}", change.resource.short, "\n".join(details)))
    return Sheet(f"Changes against {comparison.base}", ("owner", "action", "resource", "what"), tuple(rows))


def _markdown(sheet: Sheet) -> str:
    rule = ["---:" if name in sheet.right else "---" for name in sheet.columns]
    lines = [sheet.columns, rule, *sheet.rows]
    return f"### {sheet.title}\n\n" + "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def aligned(sheet: Sheet) -> str:
    """A sheet for a pipe: aligned words."""
    lines = [sheet.columns, *(line for row in sheet.rows for line in _unfolded(row))]
    widths = [max(len(line[i]) for line in lines) for i in range(len(sheet.columns))]
    drawn = [
        "  ".join(
            cell.rjust(width) if name in sheet.right else cell.ljust(width)
            for cell, width, name in zip(line, widths, sheet.columns, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([sheet.title, *(f"  {line}" for line in drawn)])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")


def _unfolded(row: tuple[str, ...]) -> list[tuple[str, ...]]:
    """A row whose cells hold several lines, as several rows."""
    folded = [cell.split("\n") for cell in row]
    height = max(len(lines) for lines in folded)
    return [tuple(lines[i] if i < len(lines) else "" for lines in folded) for i in range(height)]


def table(sheet: Sheet) -> Table:
    """A sheet for a terminal."""
    table = Table(title=sheet.title, title_justify="left", title_style="bold", header_style="bold", box=box.SIMPLE_HEAD)
    for name in sheet.columns:
        table.add_column(name, justify="right" if name in sheet.right else "left", overflow="fold")
    for row, following in zip_longest(sheet.rows, sheet.rows[1:]):
        style = next((tint for mark, tint in _MARKS.values() if row[1].startswith(f"{mark} ")), None)
        # A row without a first word goes on with the one above; a line of air stands before the next.
        last_of_its_kind = bool(following and following[0]) and any(not other[0] for other in sheet.rows)
        table.add_row(
            *(Text(cell, _STATE_STYLES.get(cell, "")) for cell in row), style=style, end_section=last_of_its_kind
        )
    return table


def _pools(review: Review) -> Sheet:
    columns = (
        *("pool", "trust", "class", "signal", "region", "zones", "shape"),
        *("min", "max", "stable", "canary", "runner deadline"),
    )
    deadlines = {version.id: str(version.deadline or "none") for version in review.versions}
    rows: list[tuple[str, ...]] = []
    for pool in review.pools:
        signal = f"{pool.signal}, {pool.idle} idle" if pool.idle else pool.signal
        # From top to bottom, as demand grows them; where nothing does, this is by name.
        for index, group in enumerate(sorted(pool.groups, key=lambda group: group.rank)):
            head = (pool.key, pool.trust_level, f"{pool.machine_class} ({pool.machine_type})", signal)
            zones = " ".join(zone.rsplit("-", 1)[1] for zone in group.zones)
            reserve = f" +{group.standby.vms}" if group.standby and group.standby.vms else ""
            size = (str(group.min), f"{group.max}{reserve}")
            runs = (group.stable or "-", _canary(group), deadlines[group.stable or group.canary or ""])
            rows.append((*(head if index == 0 else ("",) * 4), group.region, zones, group.shape, *size, *runs))
    spare = ("shape", "runner deadline", "zones", "trust", "class", "signal")
    return Sheet("Pools", columns, tuple(rows), frozenset({"min", "max"}), spare)


def _canary(group: fleet_group.Group) -> str:
    """The canary of one group with its share of the VMs."""
    match group.canary, group.canary_share:
        case None, _:
            return "-"
        case version, None:
            return f"{version} (whole group)"
        case version, CanaryInstances(instances=count):
            return f"{version} ({count} VM{'' if count == 1 else 's'})"
        case version, share:
            return f"{version} ({share.percent} %)"


def _levels(review: Review) -> Sheet:
    rows = [
        (lv.level, lv.runner_group, ", ".join(lv.repositories), lv.events, lv.account, lv.artifact_bucket)
        for lv in review.levels
    ]
    columns = ("level", "runner group", "repositories", "events", "account", "artifacts")
    return Sheet("Trust levels", columns, tuple(rows), spare=("repositories", "account", "artifacts"))


def _versions(listed: Iterable[VersionReview]) -> Sheet:
    rows = [(v.id, v.role, v.runner, str(v.deadline or "none"), v.state) for v in listed]
    return Sheet("Versions", ("version", "role", "runner", "runner deadline", "state"), tuple(rows))


def _capacity(review: Review) -> Sheet:
    rows = [
        (
            region,
            *_hardware(review.smallest[region]),
            _usd(review.smallest_usd_hour[region]),
            *_hardware(peak),
            _usd(review.peak_usd_hour[region]),
        )
        for region, peak in review.peak.items()
    ]
    least, most = cost.total(review.smallest_usd_hour.values()), cost.total(review.peak_usd_hour.values())
    rows.append(("all", "", "", "", "", _usd(least), "", "", "", "", _usd(most)))
    kinds = ("VMs", "vCPU", "memory GB", "GPUs", "USD/h")
    columns = ("region", *kinds, *(f"peak {kind}" for kind in kinds))
    spare = ("memory GB", "peak memory GB", "GPUs", "vCPU", "VMs")
    title = f"Capacity, at rest and at peak ({READ_FROM}, hardware alone)"
    return Sheet(title, columns, tuple(rows), frozenset(columns) - {"region"}, spare)


def _usd(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount:,.2f}"


def _hardware(capacity: Capacity) -> tuple[str, str, str, str]:
    gpus = ", ".join(f"{count} {name.removeprefix('nvidia-')}" for name, count in sorted(capacity.gpu.items()))
    return f"{capacity.vms:,}", f"{capacity.vcpu:,}", f"{capacity.memory_gb:,.0f}", gpus or "-"


def _resources(review: Review) -> tuple[tuple[str, str], ...]:
    counted = [(token, str(count)) for token, count in review.resources.items()]
    return (*counted, ("all", str(sum(review.resources.values()))))
