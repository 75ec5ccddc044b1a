"""What a simulation prints: how long jobs waited and VMs idled, what it cost, what struck, what was violated."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from simulation.assumptions import STANDARD
from simulation.truth import Job
from simulation.world import Outcome, Scenario

EDGES_SECONDS: Final = (0, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
BAR: Final = 40
PLAIN_WIDTH: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A pool's, or a whole run's."""

    jobs: int
    vms: int
    waits: tuple[float, ...]
    """Seconds in the queue, ascending."""
    idles: tuple[float, ...]
    """Seconds that VMs listened in vain, ascending."""
    vm_hours: float
    least_vm_hours: float
    """What no fleet of such VMs could do without: each job's run, and its VM's boot and stop."""

    @property
    def share(self) -> float:
        """Hours used for each hour that could not be saved."""
        return self.vm_hours / self.least_vm_hours if self.least_vm_hours else 0.0


def figures(outcome: Outcome, pool: str = "", *, until: float | None = None) -> Figures:
    """Of one pool, of all without a name; VM-hours until that time, or the end."""
    end = outcome.seconds if until is None else until
    jobs = [job for job in outcome.truth.jobs.values() if pool in {"", job.pool}]
    lives = [life for life in outcome.truth.lives if pool in {"", life.pool}]
    stop = outcome.scenario.assumed.stop_seconds
    used = sum(max(0.0, min(end, end if life.off_at is None else life.off_at + stop) - life.on_at) for life in lives)
    return Figures(
        jobs=len(jobs),
        vms=len(lives),
        waits=tuple(sorted(job.waited_seconds for job in jobs if job.waited_seconds is not None)),
        idles=tuple(sorted(life.idle_seconds for life in lives if life.listening_at is not None)),
        vm_hours=used / 3600,
        least_vm_hours=sum(_least(job) + stop for job in jobs) / 3600,
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed; of ascending values; 0 of none."""
    return values[max(0, math.ceil(len(values) * share) - 1)] if values else 0.0


def show(outcome: Outcome, console: Console) -> None:
    """Print all of it."""
    total = figures(outcome)
    console.print(_pools(outcome))
    console.print(Group(*_histogram("jobs waited", total.waits), *_histogram("VMs idled", total.idles)))
    console.print(_faults(outcome))
    for line in _verdict(outcome, total):
        console.print(line)


def replay(scenario: Scenario) -> str:
    """The command that runs a scenario again."""
    changed = " ".join(f"--set {name}={value}" for name, value in _changes(scenario))
    command = (
        f"scripts/demo --jobs {scenario.jobs} --pools {','.join(scenario.pools)} "
        f"--faults {shlex.quote(scenario.faults)} --seed {scenario.seed}"
    )
    return f"{command} {changed}".strip()


def _changes(scenario: Scenario) -> list[tuple[str, str]]:
    return [
        (name, value.replace(" .. ", ","))
        for (name, value, *_), (_, standard, *_) in zip(scenario.assumed.rows(), STANDARD.rows(), strict=True)
        if value != standard
    ]


def _least(job: Job) -> float:
    return job.seconds + job.boot_seconds


def _pools(outcome: Outcome) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, padding=0, collapse_padding=True, title="Pools", title_justify="left", title_style="bold"
    )
    for name in (
        "pool",
        "jobs",
        "VMs",
        "waited p50",
        "p95",
        "max",
        "idled p50",
        "p95",
        "max",
        "VM-hours",
        "least",
        "x",
    ):
        table.add_column(name, justify="left" if name == "pool" else "right", no_wrap=name == "pool", min_width=5)
    names = [*outcome.fleet.pools, ""] if len(outcome.fleet.pools) > 1 else list(outcome.fleet.pools)
    for pool in names:
        found = figures(outcome, pool)
        cells = [str(found.jobs), str(found.vms)]
        for values in (found.waits, found.idles):
            cells += [_time(quantile(values, share)) for share in (0.5, 0.95, 1)]
        cells += [f"{found.vm_hours:.1f}", f"{found.least_vm_hours:.1f}", f"{found.share:.2f}"]
        table.add_row(pool or "all", *cells, style="" if pool else "bold")
    return table


def _histogram(title: str, values: Sequence[float]) -> list[RenderableType]:
    counts = [sum(low <= value < high for value in values) for low, high in _ranges()]
    most = max(counts, default=0) or 1
    mean = statistics.fmean(values) if values else 0.0
    lines: list[RenderableType] = [Text(f"{len(values)} {title}, {_time(mean)} on average", style="bold")]
    for (low, high), count in zip(_ranges(), counts, strict=True):
        if count:
            name = f"{_time(low)} - {_time(high)}" if high < float("inf") else f"over {_time(low)}"
            bar = "█" * max(1, round(BAR * count / most))
            lines.append(Text(f"{name:>19} ") + Text(bar, style="cyan") + Text(f" {count}"))
    return [*lines, Text("")]


def _ranges() -> list[tuple[float, float]]:
    return list(zip(EDGES_SECONDS, (*EDGES_SECONDS[1:], float("inf")), strict=True))


def _faults(outcome: Outcome) -> RenderableType:
    struck = outcome.truth.faults
    if not struck:
        return Text("No faults struck.\n")
    names = ", ".join(f"{name} {count}" for name, count in sorted(struck.items()))
    return Text("Faults that struck: ", style="bold") + Text(f"{names}\n", style="")


def _verdict(outcome: Outcome, total: Figures) -> list[RenderableType]:
    truth, scenario = outcome.truth, outcome.scenario
    lines: list[RenderableType] = [
        Text(
            f"{_time(outcome.seconds)} simulated, {sum(outcome.requests.values())} requests; events {truth.digest[:16]}"
        )
    ]
    if truth.violations:
        lines += [Text(f"VIOLATED {violation}", style="bold red") for violation in truth.violations]
        return [*lines, Text(f"Replay: {replay(scenario)}")]
    lost = taken(truth.jobs.values())
    told = f"; {lost} of them lost their VM to a fault" if lost else ""
    lines.append(
        Text("Held: ", style="bold green")
        + Text(
            f"each of {total.jobs} jobs ran once{told}. No VM was deleted under its worker, none is left beyond what "
            "the pools keep, nor a registration; no group was above its maximum; no more permits than surplus VMs."
        )
    )
    return lines


def taken(jobs: Iterable[Job]) -> int:
    """How many jobs lost their VM: to a host's failure, a preemption, or whoever deletes a group."""
    return sum(job.ended not in {"succeeded", ""} for job in jobs)


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
