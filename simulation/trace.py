"""When which jobs arrive: drawn from a seed, or one of the named traces of the comparison."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from simulation.assumptions import Assumptions, Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A job that is queued at some virtual second."""

    at: float
    pool: str
    seconds: float
    """How long it runs."""
    cpu: float
    """The share of its VM's CPU that it uses: a build uses nearly all, a job of a GPU hardly any."""


CPU_SHARES: Final = Spread(0.5, 0.9, 1.0)
GPU_SHARES: Final = Spread(0.02, 0.08, 0.25)
"""Assumed. The original fleet kept its GPU groups at a fixed size because CPU says nothing about their work."""


def bursts(pools: Sequence[str], jobs: int, assumed: Assumptions, chance: random.Random) -> list[Arrival]:
    """Jobs in bursts, as workflows with matrices make them: each pool's arrive within a minute for each of its jobs."""
    found: list[Arrival] = []
    span = 60.0 * jobs / len(pools)
    for index, pool in enumerate(pools):
        left = jobs // len(pools) + (index < jobs % len(pools))
        while left:
            size = min(left, chance.randint(1, 8))
            at = chance.uniform(60, 60 + span)
            found += [_job(pool, at + chance.uniform(0, 5), assumed, chance) for _ in range(size)]
            left -= size
    return sorted(found, key=lambda arrival: arrival.at)


def _matrix(pool: str, assumed: Assumptions, chance: random.Random) -> list[Arrival]:
    """Three pushes, half an hour apart, each with a matrix of 16 jobs."""
    found = [
        _job(pool, 300 + 1800 * push + chance.uniform(0, 10), assumed, chance) for push in range(3) for _ in range(16)
    ]
    return sorted(found, key=lambda arrival: arrival.at)


def _day(pool: str, assumed: Assumptions, chance: random.Random) -> list[Arrival]:
    """Twelve hours, busiest at noon and in the late afternoon, in workflows of one to four jobs."""
    found: list[Arrival] = []
    for hour in range(12):
        rate = 3 + 5 * math.exp(-(((hour - 4) / 1.5) ** 2)) + 4 * math.exp(-(((hour - 9) / 1.5) ** 2))
        for _ in range(round(rate * chance.uniform(0.7, 1.3))):
            at = 3600 * hour + chance.uniform(0, 3600)
            found += [_job(pool, at + chance.uniform(0, 5), assumed, chance) for _ in range(chance.randint(1, 4))]
    return sorted(found, key=lambda arrival: arrival.at)


def _trickle(pool: str, assumed: Assumptions, chance: random.Random) -> list[Arrival]:
    """One job about every 25 minutes for six hours."""
    found: list[Arrival] = []
    at = 300.0
    while at < 6 * 3600:
        found.append(_job(pool, at, assumed, chance))
        at += chance.expovariate(1 / 1500)
    return found


NAMED: Final[Mapping[str, tuple[str, Callable[[str, Assumptions, random.Random], list[Arrival]]]]] = {
    "matrix-burst": ("presubmit-cpu", _matrix),
    "working-day": ("presubmit-cpu", _day),
    "slow-trickle": ("presubmit-cpu", _trickle),
    "gpu-burst": ("postsubmit-gpu", _matrix),
}
"""The comparison's traces, by name: their pool, and how they are drawn."""


def named(name: str, assumed: Assumptions, seed: int) -> list[Arrival]:
    """One of NAMED, the same for the same seed."""
    pool, make = NAMED[name]
    return make(pool, assumed, random.Random(f"{seed}/trace/{name}"))  # noqa: S311 - to be repeated, not secret


def _job(pool: str, at: float, assumed: Assumptions, chance: random.Random) -> Arrival:
    accelerated = "gpu" in pool or "a100" in pool
    seconds = (assumed.gpu_job_seconds if accelerated else assumed.cpu_job_seconds).draw(chance)
    return Arrival(at=at, pool=pool, seconds=seconds, cpu=(GPU_SHARES if accelerated else CPU_SHARES).draw(chance))
