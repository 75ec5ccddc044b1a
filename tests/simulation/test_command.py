"""`scripts/demo --jobs …`: what it prints, when it fails, and that its replay command replays."""

from __future__ import annotations

import re
import shlex

import pytest

from simulation import command, world
from simulation.assumptions import HASTY
from simulation.report import figures, quantile, replay
from simulation.world import Scenario

QUICK = ["--jobs", "8", "--pools", "presubmit-cpu,postsubmit-gpu", "--hasty", "--seed", "7"]


def test_it_prints_waits_idle_times_hours_and_that_everything_held(capsys):
    assert command.main(QUICK) == 0
    said = capsys.readouterr().out
    for word in (
        "Pools",
        "postsubmit-gpu",
        "VM-hours",
        "least",
        "8 jobs waited",
        "VMs idled",
        "No faults struck.",
        "Held:",
    ):
        assert word in said, word
    assert "\x1b" not in said


def test_it_counts_the_faults_that_struck(capsys):
    assert command.main([*QUICK, "--faults", "token-expiry,stale-busy"]) == 0
    assert re.search(r"Faults that struck: .*stale-busy 1, token-expiry \d", capsys.readouterr().out)


def test_a_violation_is_told_with_the_command_that_replays_it_and_the_exit_status_is_1(capsys, monkeypatch):
    real = world.Checks.in_the_end
    monkeypatch.setattr(world.Checks, "in_the_end", lambda self: (real(self), self._violate("the sky fell")))
    assert command.main([*QUICK, "--faults", "quota", "--set", "create_seconds=33"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "the sky fell" in said
    assert "Replay: scripts/demo --jobs 8 --pools postsubmit-gpu,presubmit-cpu --faults quota --seed 7" in said
    assert "--set create_seconds=33" in said


def test_the_replay_command_gives_the_same_scenario_and_so_the_same_events(capsys):
    scenario = Scenario(seed=9, jobs=8, faults="some", assumed=HASTY)
    digest = world.run(scenario).truth.digest
    assert command.main(shlex.split(replay(scenario))[1:]) in {0, 1}
    assert digest[:16] in capsys.readouterr().out


def test_every_event_can_be_written_to_a_file(tmp_path, capsys):
    assert command.main([*QUICK, "--log", str(tmp_path / "events")]) == 0
    events = (tmp_path / "events").read_text().splitlines()
    assert any("queued for presubmit-cpu" in event for event in events)
    assert any("listens" in event for event in events)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--pools", "none-such"], "--pools is 'none-such'; allowed: some of postsubmit-a100"),
        (["--faults", "locusts"], "no fault is called 'locusts'"),
        (["--set", "speed=1"], "no assumption is called 'speed'"),
    ],
)
def test_what_cannot_be_simulated_is_refused_with_what_is_allowed(arguments, told, capsys):
    assert command.main(["--jobs", "4", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_a_number_of_jobs_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit):
        command.main(["--jobs", "none"])
    assert "allowed: 1 to 100000" in capsys.readouterr().err


def test_a_quantile_is_a_value_that_was_seen():
    values = (1.0, 2.0, 3.0, 4.0)
    assert [quantile(values, share) for share in (0.5, 0.75, 0.95, 1)] == [2.0, 3.0, 4.0, 4.0]
    assert quantile((), 0.5) == 0.0


def test_a_pool_without_jobs_has_figures_of_nothing():
    outcome = world.run(Scenario(seed=1, jobs=1, faults="none", assumed=HASTY, signed=False))
    idle = next(pool for pool in outcome.fleet.pools if not figures(outcome, pool).jobs)
    assert figures(outcome, idle).waits == ()
