"""What it costs and gives to keep units for steps that were passed over: the engine's queue on random streams.

    patience.py [--streams N]

Steps come at random to 16 units that are almost always in use; every tenth step takes half of them, three quarters or
all, the others one or two. Time is simulated and nothing runs, so that a figure depends on the seed alone. Per number
of times that others may go past a step: when the last step ended, the longest and the mean wait of the big ones, and
the mean wait of the others; seconds, means over the streams. The last row never keeps anything.
"""

from __future__ import annotations

import argparse
import heapq
import statistics
import sys
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent.parent))

from rollout.engine.admission import PATIENCE, Admission
from rollout.engine.limits import Limits
from rollout.engine.spec import Step

UNITS = 16
STEPS = 400
BETWEEN_SECONDS = 0.86
"""Mean time between two steps; what comes in it takes about all that 16 units can do in it."""
NEVER = 10**9


def stream(seed: int) -> list[tuple[float, Step, float]]:
    """When steps come, and how long they run."""
    random = Random(seed)
    found, now = [], 0.0
    for number in range(STEPS):
        units = random.choice([8, 12, 16]) if random.random() < 0.1 else random.choice([1, 1, 2])
        now += random.expovariate(1 / BETWEEN_SECONDS)
        seconds = random.uniform(1, 9)
        found.append((now, Step(id=str(number), backend="none", uses={"units": units}, weight=seconds), seconds))
    return found


def measure(patience: int, seed: int) -> tuple[float, float, float, float]:
    """The last end, the longest and the mean wait of big steps, and the mean wait of small ones."""
    queue = Admission(Limits(resources={"units": UNITS}), patience=patience)
    steps = {step.id: (came, step, seconds) for came, step, seconds in stream(seed)}
    coming = [(came, step_id) for step_id, (came, _, _) in reversed(steps.items())]
    running: list[tuple[float, str]] = []
    big, small, now = [], [], 0.0
    while coming or running:
        if not running or (coming and coming[-1][0] < running[0][0]):
            now, step_id = coming.pop()
            queue.queue(steps[step_id][1], length=steps[step_id][2], order=int(step_id))
        else:
            now, step_id = heapq.heappop(running)
            queue.release(step_id)
        for admitted in queue.admit():
            came, step, seconds = steps[admitted]
            (big if step.uses["units"] > 2 else small).append(now - came)
            heapq.heappush(running, (now + seconds, admitted))
    return now, max(big), statistics.mean(big), statistics.mean(small)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=20, help="How many random streams (20).")
    streams = parser.parse_args().streams
    rows = {
        patience: [
            statistics.mean(column) for column in zip(*(measure(patience, n) for n in range(streams)), strict=True)
        ]
        for patience in (1, 2, 4, PATIENCE, 16, 32, NEVER)
    }
    print(f"{'patience':>9} {'last end':>9} {'big: longest':>13} {'mean':>7} {'others: mean':>13}")
    for patience, (last, longest, mean, others) in rows.items():
        print(f"{patience if patience < NEVER else 'never':>9} {last:9.1f} {longest:13.1f} {mean:7.1f} {others:13.1f}")
    last, longest = (ours / never for ours, never in zip(rows[PATIENCE][:2], rows[NEVER][:2], strict=True))
    print(f"{PATIENCE} against never: last end {last:.2f}, a big step's longest wait {longest:.2f}")


if __name__ == "__main__":
    main()
