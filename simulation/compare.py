"""Job-queue scaling beside CPU autoscaling, on the same traces in the same simulator: what docs/scaling.md shows.

`python -m simulation compare` writes the page: its figures and its table of assumptions are the command's own. The
seeds are fixed, so the same code writes the same page.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from simulation import report
from simulation.assumptions import Assumptions
from simulation.importing import functions_importable
from simulation.trace import NAMED, named
from simulation.world import Scenario, run

SEEDS: Final = (1, 2, 3)
AFTER_SECONDS: Final = 7200.0
"""VM-hours are counted until so long after the last job came, or it has ended: what is left running costs, too."""
RULES: Final = {"jobs": "job queue", "cpu": "CPU 0.6"}
BEGIN, END = "<!-- assumptions: begin -->", "<!-- assumptions: end -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One trace under one rule, all seeds together."""

    trace: str
    rule: str
    jobs: int
    waits: tuple[float, ...]
    vm_hours: float
    least_vm_hours: float
    violations: tuple[str, ...]


def rows(assumed: Assumptions) -> list[Row]:
    """All traces under both rules. Runs on all cores."""
    work = [(trace, signal, seed, assumed) for trace in NAMED for signal in RULES for seed in SEEDS]
    with ProcessPoolExecutor(initializer=functions_importable) as pool:
        parts = list(pool.map(_part, work))
    return [
        _together([part for part in parts if (part.trace, part.rule) == (trace, signal)])
        for trace in NAMED
        for signal in RULES
    ]


def _part(work: tuple[str, str, int, Assumptions]) -> Row:
    trace, signal, seed, assumed = work
    arrivals = tuple(named(trace, assumed, seed))
    until = arrivals[-1].at + AFTER_SECONDS
    outcome = run(
        Scenario(
            seed=seed,
            jobs=len(arrivals),
            pools=(NAMED[trace][0],),
            faults="none",
            assumed=replace(assumed, standby_look_seconds=10),
            arrivals=arrivals,
            signal=signal,
            at_least_seconds=until,
            signed=False,
        )
    )
    ends = [job.ended_at for job in outcome.truth.jobs.values() if job.ended_at is not None]
    found = report.figures(outcome, until=max(until, *ends))
    return Row(
        trace=trace,
        rule=signal,
        jobs=found.jobs,
        waits=found.waits,
        vm_hours=found.vm_hours,
        least_vm_hours=found.least_vm_hours,
        violations=tuple(outcome.truth.violations),
    )


def _together(parts: Sequence[Row]) -> Row:
    return Row(
        trace=parts[0].trace,
        rule=parts[0].rule,
        jobs=sum(part.jobs for part in parts),
        waits=tuple(sorted(wait for part in parts for wait in part.waits)),
        vm_hours=sum(part.vm_hours for part in parts),
        least_vm_hours=sum(part.least_vm_hours for part in parts),
        violations=tuple(violation for part in parts for violation in part.violations),
    )


def write(path: Path, assumed: Assumptions) -> None:
    """Write the page. Raises RuntimeError where a run violated something: such figures mean nothing."""
    found = rows(assumed)
    broken = [violation for row in found for violation in row.violations]
    if broken:
        raise RuntimeError(f"{len(broken)} violations, the first: {broken[0]}")
    path.write_text(page(found, assumed), encoding="utf-8")


def page(found: Sequence[Row], assumed: Assumptions) -> str:
    """docs/scaling.md."""
    return f"""{HEAD.format(seeds=len(SEEDS), hours=AFTER_SECONDS / 3600)}
{_figures(found)}

{READING}
{assumptions_table(assumed)}
{FOOT}"""


def assumptions_table(assumed: Assumptions) -> str:
    """The table of assumptions as the page has it."""
    lines = [f"| `{name}` | {value} | {means} | {source} |" for name, value, means, source in assumed.rows()]
    return "\n".join([BEGIN, "| name | value | meaning | source |", "|---|---|---|---|", *lines, END])


def _figures(found: Sequence[Row]) -> str:
    lines = [
        "| trace | sized by | jobs | waited p50 | p95 | max | VM-hours | of the least possible |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in found:
        waits = " | ".join(f"{report.quantile(row.waits, share):.0f} s" for share in (0.5, 0.95, 1))
        share = row.vm_hours / row.least_vm_hours
        lines.append(f"| {row.trace} | {RULES[row.rule]} | {row.jobs} | {waits} | {row.vm_hours:.1f} | {share:.2f} x |")
    return "\n".join(lines)


HEAD: Final = """# How soon a job starts, and what that costs

This page is written by a command, `python -m simulation compare`; whatever is changed here by hand is lost. It compares
two ways to size a pool, on the same jobs, with the same VMs, in the same simulator:

- **job queue**: this fleet. The real demand listener, broker, deleter and reconciler; idle VMs as in
  `Pulumi.prod.yaml`.
- **CPU 0.6**: the original fleet's rule. A CPU autoscaler for each group with target 0.6, cool-down 60 s, growing only,
  at least one VM for each group; VMs register with labels, and leave by the same broker and deleter.

Each trace is drawn from {seeds} fixed seeds and all of its jobs are taken together. VM-hours are counted until
{hours:g} hours after the last job came, and until all jobs have ended, so what a rule leaves running counts. The least
possible is the run of each job, with the boot and the stop of the VM that ran it.

- `matrix-burst`: three pushes, half an hour apart, 16 jobs each, for `presubmit-cpu`.
- `working-day`: twelve hours with a peak at noon and one in the late afternoon, for `presubmit-cpu`.
- `slow-trickle`: a job about every 25 minutes for six hours, for `presubmit-cpu`.
- `gpu-burst`: the matrix for `postsubmit-gpu`, whose jobs use 2 to 25 % of a CPU and whose VMs are four at most.
"""

READING: Final = """\
A rule that grows only has VMs left over after each peak, which start the next jobs at once and cost their hours: read
waits and VM-hours together. CPU says little about a GPU's work, so there the rule stays at its minimum. No faults
strike here; `scripts/demo --jobs 200 --faults all` plays those.

## Assumptions

A simulator says what follows from its assumptions, not what will happen. They are one table,
`simulation/assumptions.py`; changing one is one line there, or `--set NAME=VALUE` for a run. A spread is drawn from a
triangle: least .. most frequent .. greatest.
"""

FOOT: Final = """
What is not played: the network's bandwidth, the time of Google's own quotas, other users of the same GitHub App.
"""
