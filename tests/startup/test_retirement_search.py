"""An exhaustive search finds no way for production to break a promise, and one for every guard that is taken out."""

from __future__ import annotations

import pytest

from startup.lib import retirement
from startup.lib.retirement import Outcome, Stage
from tests.startup.retirement_model import BROKEN, LAG_SECONDS, PROMPT_ONLY, SOUND, Rules, Verdict, search


def searched(name: str, rules: Rules) -> Verdict:
    verdict = search(rules)
    found = "; ".join(verdict.violations) or "holds"
    print(f"{name}: {verdict.states} states, {verdict.edges} edges: {found}")  # noqa: T201 - the search's figures
    return verdict


@pytest.mark.parametrize("name", SOUND)
def test_no_way_leads_to_a_lost_job_a_leaked_permit_or_a_frozen_listener(name: str) -> None:
    verdict = searched(name, SOUND[name])
    assert verdict.violations == {}
    assert verdict.states > 3000, "the search saw less than it did when it was written"


@pytest.mark.parametrize("guard", BROKEN)
def test_every_guard_is_needed(guard: str) -> None:
    rules, promise = BROKEN[guard]
    verdict = searched(guard, rules)
    assert promise in verdict.violations
    print("    " + " | ".join(verdict.violations[promise]))  # noqa: T201 - a shortest trace


@pytest.mark.parametrize("look", PROMPT_ONLY)
def test_a_look_that_only_ends_an_attempt_early_is_no_guard(look: str) -> None:
    assert searched(look, PROMPT_ONLY[look]).violations == {}


def test_settling_lasts_longer_than_github_lags() -> None:
    assert retirement.SETTLE_SECONDS > LAG_SECONDS
    assert retirement.SETTLE_SECONDS % retirement.POLL_SECONDS == 0


def test_every_action_is_followed_by_a_stage_whatever_its_outcome() -> None:
    acting = set(Stage) - {Stage.RESTING}
    assert {stage for stage, _ in retirement.AFTER} == acting
    calls = acting - {Stage.SETTLING}
    assert calls == {stage for stage, outcome in retirement.AFTER if outcome is Outcome.UNKNOWN}


def test_a_run_knows_every_stage_that_another_may_have_saved() -> None:
    assert set(retirement.BEGIN) == {None} | {stage.value for stage in Stage}


@pytest.mark.parametrize("saved", ["", "RESTING", "leaving", "\0"])
def test_a_stage_that_nobody_can_have_saved_gives_everything_back(saved: str) -> None:
    assert retirement.begin(saved) is Stage.RETURNING
