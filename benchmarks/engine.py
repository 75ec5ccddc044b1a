"""Measures the rollout engine: steps a second, what they cost, how that grows, and how soon what waits is started.

    benchmarks/engine.py [--steps N] [--processes N]

Throughput: runs of steps that do nothing, as a chain, a fan-out and a graph of layers (each step needs two of the
layer before it), of N/100, N/10 and N steps, without limits and with 32 at once in all and 8 of one resource. Each runs
in a process of its own, so that memory is that run's: the most that was resident, less what was before the plan was
made. Every figure is of the whole run: the graph is checked, steps go, the report is made. Growth is the exponent of
CPU time from the size before: 1 is linear. It is judged without what the interpreter's garbage collector takes, which
grows with the heap of any program and is shown beside it; growth with it is shown, too. The comparison is a runner of a
few lines (`graphlib` and a bare `asyncio.TaskGroup`) that only keeps the order: no limits, no states, no report.

Wake-up: how long it takes from when a step's backend returns to when the backend is asked to do the step that needs it,
while 1,000 others run. Once without a journal. Once with one, where the end is synced to the disk in between; there it
is the time outside of syncs that is judged, and the whole time is shown, too, as is what the disk takes alone.

Processes: so many `true`, by the backend `local`, 64 at once, beside a bare loop over asyncio's own subprocesses.

Wall clock but for growth; the machine's other load is in it. Exits with 0 when every target is met.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import contextlib
import gc
import graphlib
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from rollout.backends.local import LocalProcesses
from rollout.engine import journal as journal_module
from rollout.engine.backend import Attempt, Outcome, Passed
from rollout.engine.journal import Journal
from rollout.engine.limits import Limits
from rollout.engine.run import Run
from rollout.engine.spec import Plan, Step

MAX_GROWTH = 1.1
MAX_P99_MS = 5.0
RUNNING = 1_000
WAKES = 2_000
AT_ONCE = 64
SHAPES = ("chain", "fan-out", "layers")
LIMITS = Limits(total=32, resources={"slots": 8})


class Nothing:
    """A backend that does nothing."""

    async def run(self, attempt: Attempt) -> Outcome:  # noqa: ARG002 - the protocol's
        """At once."""
        return Passed()

    async def reattach(self, attempt: Attempt, external_id: str) -> Outcome:  # noqa: ARG002 - the protocol's
        """It is never asked to."""
        return Passed()

    async def cancel(self, attempt: Attempt) -> None:
        """Nothing."""

    async def close(self) -> None:
        """Nothing."""


def needs(shape: str, steps: int) -> list[tuple[int, ...]]:
    """What each step needs, by number."""
    if shape == "chain":
        return [(n - 1,) if n else () for n in range(steps)]
    if shape == "fan-out":
        return [(0,) if n else () for n in range(steps)]
    chance, width = random.Random(7), max(2, int(math.sqrt(steps)))
    found: list[tuple[int, ...]] = []
    for n in range(steps):
        layer = n // width
        first, last = (layer - 1) * width, layer * width - 1
        found.append(tuple({chance.randint(first, last), chance.randint(first, last)}) if layer else ())
    return found


def plan(shape: str, steps: int, *, limited: bool) -> Plan:
    """So many steps in that shape; with limits every other one takes one of the resource."""
    uses = {"slots": 1} if limited else {}
    return Plan(
        name=shape,
        steps=tuple(
            Step(id=f"s{n}", backend="nothing", needs=tuple(f"s{need}" for need in before), uses=uses if n % 2 else {})
            for n, before in enumerate(needs(shape, steps))
        ),
    )


async def engine(made: Plan, *, limited: bool) -> None:
    """What is measured."""
    report = await Run(made, {"nothing": Nothing()}, limits=LIMITS if limited else Limits()).execute()
    assert report.verdict == "passed"
    assert len(report.results) == len(made.steps)


async def bare(made: Plan) -> None:
    """The comparison: the order is kept, and nothing else."""
    sorter = graphlib.TopologicalSorter({step.id: step.needs for step in made.steps})
    sorter.prepare()
    backend: Any = Nothing()

    async def one(step_id: str) -> None:
        await backend.run(step_id)
        sorter.done(step_id)
        begin()

    async with asyncio.TaskGroup() as group:

        def begin() -> None:
            for step_id in sorter.get_ready():
                group.create_task(one(step_id))

        begin()


def memory_mb() -> float:
    """The most that this process had resident so far, in 10^6 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def throughput(shape: str, steps: int, kind: str) -> dict[str, float]:
    """One run, in this process; `kind` is engine, limited or bare."""
    before = memory_mb()
    made = plan(shape, steps, limited=kind == "limited")
    gc.collect()
    with collector_time() as collections:
        began, cpu = time.perf_counter(), time.process_time()
        asyncio.run(bare(made) if kind == "bare" else engine(made, limited=kind == "limited"))
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "own_seconds": cpu_seconds - sum(collections),
        "memory_mb": memory_mb() - before,
    }


@contextlib.contextmanager
def collector_time() -> Generator[list[float]]:
    """CPU seconds of every collection within it."""
    found: list[float] = []
    began = 0.0

    def heard(phase: str, _info: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.process_time()
        else:
            found.append(time.process_time() - began)

    gc.callbacks.append(heard)
    try:
        yield found
    finally:
        gc.callbacks.remove(heard)


@dataclass
class Waits:
    """Milliseconds from ends to starts, and how much of each the disk took."""

    whole: list[float]
    own: list[float]


async def wake_ups(folder: Path | None) -> Waits:
    """From each end of a chain's step to its dependent's start, while 1,000 other steps run."""
    spans: list[tuple[float, float]] = []
    ended: dict[str, float] = {}
    over = asyncio.Event()

    class Timed(Nothing):
        async def run(self, attempt: Attempt) -> Outcome:
            """The chain's steps take a millisecond, the others as long as the chain."""
            if attempt.step_id.startswith("busy"):
                await over.wait()
                return Passed()
            now = time.perf_counter()
            number = int(attempt.step_id)
            if number:
                spans.append((ended[str(number - 1)], now))
            await asyncio.sleep(0.001)
            if number == WAKES - 1:
                over.set()
            ended[attempt.step_id] = time.perf_counter()
            return Passed()

    others = [Step(id=f"busy-{n}", backend="timed") for n in range(RUNNING)]
    chain = [Step(id=str(n), backend="timed", needs=(str(n - 1),) if n else ()) for n in range(WAKES)]
    made = Plan(name="wake-up", steps=(*others, *chain))
    journal = Journal.create(folder / "journal.jsonl", made) if folder else None
    with timed_syncs() as syncs:
        await Run(made, {"timed": Timed()}, journal=journal).execute()
    whole = [1000 * (end - begin) for begin, end in spans]
    return Waits(
        whole=whole, own=[all_of_it - within(span, syncs) for all_of_it, span in zip(whole, spans, strict=True)]
    )


@contextlib.contextmanager
def timed_syncs() -> Generator[list[tuple[float, float]]]:
    """When the journal's writes began and ended, within it."""
    spans: list[tuple[float, float]] = []
    write = journal_module._write  # noqa: SLF001 - the one place where the journal waits for the disk

    def timed(descriptor: int, data: bytes) -> None:
        began = time.perf_counter()
        write(descriptor, data)
        spans.append((began, time.perf_counter()))

    journal_module._write = timed  # noqa: SLF001 - the same
    try:
        yield spans
    finally:
        journal_module._write = write  # noqa: SLF001 - the same


def within(span: tuple[float, float], syncs: list[tuple[float, float]]) -> float:
    """Milliseconds of a span during which the disk was waited for; both are in order, and syncs never overlap."""
    first = max(bisect.bisect_left(syncs, span) - 1, 0)
    last = bisect.bisect_left(syncs, (span[1], span[1]))
    return 1000 * sum(max(0.0, min(end, span[1]) - max(begin, span[0])) for begin, end in syncs[first:last])


def syncs(folder: Path) -> list[float]:
    """Milliseconds that as many writes of a journal's size take to come onto this disk, with nothing around them."""
    descriptor = os.open(folder / "syncs", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    found = []
    for _ in range(WAKES):
        began = time.perf_counter()
        os.write(descriptor, b"x" * 400 + b"\n")
        os.fsync(descriptor)
        found.append(1000 * (time.perf_counter() - began))
    os.close(descriptor)
    return found


async def processes(count: int) -> float:
    """Seconds for so many, by the engine and the backend `local`."""
    made = Plan(
        name="processes",
        steps=tuple(Step(id=f"p{n}", backend="local", params={"argv": ["true"]}) for n in range(count)),
    )
    began = time.perf_counter()
    report = await Run(made, {"local": LocalProcesses()}, limits=Limits(total=AT_ONCE)).execute()
    seconds = time.perf_counter() - began
    assert report.verdict == "passed", [result for result in report.results if result.reason][:3]
    return seconds


async def bare_processes(count: int) -> float:
    """The comparison: no logs, no groups, no tree to kill, no report."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with room:
            process = await asyncio.create_subprocess_exec("true", stdout=subprocess.DEVNULL)
            assert await process.wait() == 0

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one())
    return time.perf_counter() - began


def percentile(values: list[float], share: float) -> float:
    """The value below which such a share of them is."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


@dataclass(frozen=True)
class Target:
    """Something that has to hold."""

    name: str
    value: float
    most: float

    @property
    def met(self) -> bool:
        """Whether it does."""
        return self.value <= self.most

    def __str__(self) -> str:
        return f"{'met' if self.met else 'MISSED'}: {self.name} {self.value:.2f}, at most {self.most:g}"


def apart(call: Callable[..., Any], *args: Any) -> Any:
    """The result of one of this file's functions, from a process of its own."""
    command = [sys.executable, __file__, "--call", json.dumps([call.__name__, *args])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else sys.exit(f"{call.__name__}{args} failed; see above")


def show_throughput(console: Console, sizes: list[int]) -> list[Target]:
    """A row for each graph and size; linear growth is the target."""
    table = Table(title="Steps that do nothing", box=box.SIMPLE_HEAD, title_justify="left")
    columns = ("graph", "steps", "engine /s", "CPU s", "of it GC", "MB", "limited /s", "growth", "with GC")
    for column in (*columns, "bare /s", "with GC", "ratio"):
        table.add_column(column, justify="left" if column == "graph" else "right")
    targets: list[Target] = []
    for shape in SHAPES:
        found = {
            kind: [apart(throughput, shape, steps, kind) for steps in sizes] for kind in ("engine", "limited", "bare")
        }
        for n, steps in enumerate(sizes):
            ours, limited, floor = (found[kind][n] for kind in ("engine", "limited", "bare"))
            growth, with_gc = (
                max(exponent(found[kind], sizes, n, what) for kind in ("engine", "limited"))
                for what in ("own_seconds", "cpu_seconds")
            )
            table.add_row(
                shape,
                f"{steps:,}",
                f"{steps / ours['seconds']:,.0f}",
                f"{ours['cpu_seconds']:.2f}",
                f"{1 - ours['own_seconds'] / ours['cpu_seconds']:.0%}",
                f"{ours['memory_mb']:.0f}",
                f"{steps / limited['seconds']:,.0f}",
                f"{growth:.2f}" if n else "",
                f"{with_gc:.2f}" if n else "",
                f"{steps / floor['seconds']:,.0f}",
                f"{exponent(found['bare'], sizes, n, 'cpu_seconds'):.2f}" if n else "",
                f"{ours['seconds'] / floor['seconds']:.1f}",
            )
            targets += [Target(f"growth, {shape}, to {steps:,}", growth, MAX_GROWTH)] * (steps == sizes[-1])
    console.print(table)
    return targets


def exponent(found: list[dict[str, float]], sizes: list[int], n: int, what: str) -> float:
    """How CPU time grows from the size before this one: what else the machine does is hardly in it."""
    return math.log(found[n][what] / found[n - 1][what]) / math.log(sizes[n] / sizes[n - 1]) if n else math.nan


def show_wake_ups(console: Console) -> list[Target]:
    """With and without a journal, on the disk that the project is on."""
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        disk = syncs(Path(folder))
        with_journal = asyncio.run(wake_ups(Path(folder)))
    without = asyncio.run(wake_ups(None))
    table = Table(
        title=f"From an end to the next start, {RUNNING:,} steps running", box=box.SIMPLE_HEAD, title_justify="left"
    )
    for column in ("", "p50 ms", "p99 ms"):
        table.add_column(column, justify="right" if column else "left")
    rows = {
        "without a journal": without.whole,
        "with a journal, outside of syncs": with_journal.own,
        "with a journal, the whole": with_journal.whole,
        "this disk's syncs alone": disk,
    }
    for name, values in rows.items():
        table.add_row(name, f"{percentile(values, 0.5):.2f}", f"{percentile(values, 0.99):.2f}")
    console.print(table)
    return [
        Target("wake-up p99, ms", percentile(without.whole, 0.99), MAX_P99_MS),
        Target("wake-up p99 with a journal, outside of syncs, ms", percentile(with_journal.own, 0.99), MAX_P99_MS),
    ]


def show_processes(console: Console, count: int) -> None:
    """Shown, and not judged: how fast processes start is the machine's."""
    ours, floor = apart(processes, count), apart(bare_processes, count)
    console.print(
        f"{count:,} processes, {AT_ONCE} at once: engine and local {count / ours:,.0f}/s, "
        f"bare asyncio {count / floor:,.0f}/s, ratio {ours / floor:.1f}\n"
    )


def main() -> int:
    """Measures, shows, judges."""
    parser = argparse.ArgumentParser(description="Measures the rollout engine.")
    parser.add_argument("--steps", type=int, default=100_000, metavar="N", help="the largest size (100,000)")
    parser.add_argument(
        "--processes", type=int, default=1_000, metavar="N", help="how many processes (1,000; 0 for none)"
    )
    parser.add_argument("--call", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.call:
        name, *args = json.loads(words.call)
        found = globals()[name](*args)
        print(json.dumps(asyncio.run(found) if asyncio.iscoroutine(found) else found))
        return 0
    console = Console(width=110)
    targets = show_throughput(console, [max(words.steps // 100, 10), max(words.steps // 10, 100), words.steps])
    targets += show_wake_ups(console)
    if words.processes:
        show_processes(console, words.processes)
    for target in targets:
        console.print(str(target), highlight=False)
    return 0 if all(target.met for target in targets) else 1


if __name__ == "__main__":
    sys.exit(main())
