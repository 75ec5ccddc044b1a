"""A thousand seeds, each with its own jobs, faults and luck: whatever must not happen does not.

They come in parts, so that pytest's workers share them; how many there were and how long they took stands at the end of
pytest's output (seed_summary.py). A seed that fails is named with the command that replays it.
"""

from __future__ import annotations

import gc
import time

import pytest

from simulation.assumptions import HASTY
from simulation.report import replay
from simulation.world import Scenario, run

SEEDS = 1000
PARTS = 40
EACH = SEEDS // PARTS


@pytest.mark.parametrize("part", range(PARTS))
def test_a_thousand_seeds_hold(part, record_property):
    began, broken = time.process_time(), []
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for seed in range(part * EACH, (part + 1) * EACH):
            scenario = Scenario(seed=seed, jobs=12, faults="some", assumed=HASTY, signed=False)
            violations = run(scenario).truth.violations
            if violations:
                broken.append("\n  ".join([replay(scenario), *violations]))
            gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
    record_property("simulated_seeds", EACH)
    record_property("simulated_seconds", time.process_time() - began)
    assert not broken, f"{len(broken)} of {EACH} seeds:\n" + "\n".join(broken)
