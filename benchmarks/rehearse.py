"""Measures the rehearsal: prod, and synthetic fleets of 50, 250 and 1000 groups, each beside its floor.

    benchmarks/rehearse.py [--groups N]

The floor is a bare SDK program that registers as many resources, with inputs of the same size (`bare_program.py`, which
says what it lacks), run as anyone runs it. A rehearsal switches Python's garbage collector off while it runs: `no gc`
is the floor with the collector off too, and the ratio to that, so that nobody mistakes the one gain for the other.
What is measured of the fleet's own program stands in `fleet_program.py`, how the synthetic fleets are made in
`synthetic_fleet.py`. Every run is a fresh process; the programs take turns, and the fastest run of each counts.
Seconds are those of the processor, which other work on the machine stretches less than the clock's.

Exits with 0 when a fleet of 1000 groups or more takes at most 1.5 times its floor and memory grows linearly: a resource
of the largest fleet takes at most 1.25 times the memory of one of the next smaller fleet. A small fleet is not judged:
reading and checking the configuration is most of its time. The last line is `ratio R`, of the largest fleet.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FLEETS = (None, 50, 250, 1000)
"""Numbers of groups; None is prod itself."""
MAX_RATIO = 1.5
MAX_GROWTH = 1.25

COLUMNS = (
    "{:<8}{:>8}{:>11}{:>8}{:>9}{:>8}{:>9}{:>8}{:>7}{:>9}{:>7}{:>10}{:>14}",
    (
        "fleet",
        "groups",
        "resources",
        "yaml s",
        "ours s",
        "ms/res",
        "floor s",
        "ms/res",
        "ratio",
        "no gc s",
        "ratio",
        "ours MiB",
        "KiB/resource",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Result:
    """The fastest runs of one fleet and of its floor."""

    fleet: str
    groups: int
    resources: int
    yaml_seconds: float
    seconds: float
    floor_seconds: float
    uncollected_floor_seconds: float
    kib: int
    """Peak memory of the fleet's program, over what it had after its imports."""

    @property
    def ratio(self) -> float:
        """How many times its floor the fleet takes."""
        return self.seconds / self.floor_seconds

    @property
    def kib_each(self) -> float:
        """Memory by resource."""
        return self.kib / self.resources

    def row(self) -> str:
        """The fleet's line of the table."""
        cells = (
            self.fleet,
            self.groups,
            self.resources,
            f"{self.yaml_seconds:.2f}",
            f"{self.seconds:.2f}",
            f"{1000 * self.seconds / self.resources:.2f}",
            f"{self.floor_seconds:.2f}",
            f"{1000 * self.floor_seconds / self.resources:.2f}",
            f"{self.ratio:.2f}",
            f"{self.uncollected_floor_seconds:.2f}",
            f"{self.seconds / self.uncollected_floor_seconds:.2f}",
            f"{self.kib / 1024:.0f}",
            f"{self.kib_each:.0f}",
        )
        return COLUMNS[0].format(*cells)


def run(folder: str, script: str, *arguments: str) -> dict[str, Any]:
    """Run one of the scripts beside this one in `folder`; return what it printed, which may be nothing."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(HERE.parent)
    command = [sys.executable, str(HERE / script), *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stderr}{script}: failed with exit code {done.returncode}")
    return json.loads(done.stdout or "{}")


def say(text: str) -> None:
    """Show progress to a person, in one line that is overwritten."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def measure(groups: int | None) -> Result:
    """Measure one fleet and its floor in turns."""
    fleet = "prod" if groups is None else f"{groups}"
    rounds = 2 if groups and groups > 250 else 3
    ours, floor, uncollected = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        run(folder, "synthetic_fleet.py", folder, *([] if groups is None else [str(groups)]))
        for number in range(rounds):
            say(f"fleet {fleet}: run {number + 1} of {rounds}")
            ours.append(run(folder, "fleet_program.py", "recording.json"))
            say(f"fleet {fleet}: floor {number + 1} of {rounds}")
            floor.append(run(folder, "bare_program.py", "recording.json"))
            uncollected.append(run(folder, "bare_program.py", "recording.json", "--uncollected"))
    say("")
    best = min(ours, key=lambda one: one["seconds"])
    same = all(one["resources"] == best["resources"] for one in (*ours, *floor, *uncollected))
    assert same, "the programs registered different numbers"
    return Result(
        fleet=fleet,
        floor_seconds=min(one["seconds"] for one in floor),
        uncollected_floor_seconds=min(one["seconds"] for one in uncollected),
        **best,
    )


def growth(results: list[Result]) -> tuple[str, bool]:
    """What is to say of memory, and whether it grows linearly."""
    if len(results) < 2:
        return f"memory: {results[-1].kib_each:.0f} KiB per resource; one fleet says nothing about growth", True
    smaller, larger = results[-2:]
    times = larger.kib_each / smaller.kib_each
    linear = times <= MAX_GROWTH
    return (
        f"memory: {smaller.kib_each:.0f} KiB per resource at {smaller.groups} groups, {larger.kib_each:.0f} at "
        f"{larger.groups}: {times:.2f} times, {'linear' if linear else 'NOT linear'} (at most {MAX_GROWTH})"
    ), linear


def positive(text: str) -> int:
    """A number of groups."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main() -> int:
    """Print the table, a line on memory, and the ratio of the largest fleet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=positive, metavar="N", help="measure only a synthetic fleet of N groups")
    groups = parser.parse_args().groups
    print(COLUMNS[0].format(*COLUMNS[1]), flush=True)
    results: list[Result] = []
    for size in [groups] if groups else FLEETS:
        results.append(measure(size))
        print(results[-1].row(), flush=True)
    memory, linear = growth(results)
    ratio = round(results[-1].ratio, 2)
    print(memory)
    print(f"ratio {ratio:.2f}")
    judged = results[-1].groups >= FLEETS[-1]
    return 0 if linear and (ratio <= MAX_RATIO or not judged) else 1


if __name__ == "__main__":
    sys.exit(main())
