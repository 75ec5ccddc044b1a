"""A whole simulation: it repeats itself exactly, and what it counts is what happened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulation import report
from simulation.assumptions import HASTY
from simulation.trace import Arrival
from simulation.world import Outcome, Scenario, run

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from simulation.importing import functions_importable
functions_importable()
from simulation.assumptions import HASTY
from simulation.world import Scenario, run
print(run(Scenario(seed=int(sys.argv[1]), jobs=12, faults="all", assumed=HASTY)).truth.digest)
"""


def calm(**changes: object) -> Outcome:
    return run(Scenario(**{"jobs": 12, "faults": "none", "assumed": HASTY, "signed": False, **changes}))


def test_a_seed_replays_every_event_also_in_another_process_with_another_order_of_hashes():
    scenario = Scenario(seed=3, jobs=12, faults="all", assumed=HASTY)
    first, again = run(scenario), run(scenario)
    environment = {**os.environ, "PYTHONHASHSEED": "4242"}
    elsewhere = subprocess.run(
        [sys.executable, "-c", PROGRAM, "3"], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    assert first.truth.digest == again.truth.digest == elsewhere.stdout.strip()
    assert first.truth.violations == again.truth.violations


def test_another_seed_gives_other_events():
    assert calm(seed=1).truth.digest != calm(seed=2).truth.digest


def test_unsigned_identity_tokens_change_no_event():
    assert calm(seed=4, signed=True).truth.digest == calm(seed=4).truth.digest


def test_a_job_waits_as_long_as_its_vm_takes_to_be_made_and_to_boot():
    arrivals = (Arrival(at=400.0, pool="postsubmit-gpu", seconds=100.0, cpu=0.1),)
    outcome = calm(pools=("postsubmit-gpu",), arrivals=arrivals)
    assumed = outcome.scenario.assumed
    (job,) = outcome.truth.jobs.values()
    (life,) = outcome.truth.lives
    boot = [assumed.boot_kernel_seconds, assumed.boot_bundle_seconds, assumed.boot_preflight_seconds]
    boot += [assumed.boot_install_seconds, assumed.connect_seconds]
    least = assumed.create_seconds + sum(spread.low for spread in boot)
    most = assumed.create_seconds + sum(spread.high for spread in boot) + assumed.deliver_seconds.high + 20
    assert job.waited_seconds is not None
    assert least < job.waited_seconds < most
    assert job.starts == [life.job_at]
    found = report.figures(outcome)
    assert (found.jobs, found.vms, found.waits) == (1, 1, (job.waited_seconds,))
    assert found.least_vm_hours == pytest.approx((100 + job.boot_seconds + assumed.stop_seconds) / 3600)
    assert found.vm_hours > found.least_vm_hours


def test_a_pool_that_keeps_a_vm_idle_starts_its_next_job_at_once():
    arrivals = (Arrival(at=600.0, pool="presubmit-cpu", seconds=60.0, cpu=1.0),)
    outcome = calm(pools=("presubmit-cpu",), arrivals=arrivals)
    (job,) = outcome.truth.jobs.values()
    assert job.waited_seconds is not None
    assert job.waited_seconds <= outcome.scenario.assumed.deliver_seconds.high + 1
    assert outcome.truth.violations == []


def test_under_the_cpu_rule_a_pool_grows_from_its_minimum_and_every_job_runs_once():
    outcome = calm(pools=("presubmit-cpu",), signal="cpu", jobs=16)
    assert outcome.truth.violations == []
    assert all(len(job.starts) == 1 for job in outcome.truth.jobs.values())
    assert outcome.lines == {}, "a listener ran"
    queued = calm(pools=("presubmit-cpu",), jobs=16)
    assert report.quantile(report.figures(queued).waits, 0.95) < report.quantile(report.figures(outcome).waits, 0.95)
