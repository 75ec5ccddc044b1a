"""The one table of assumptions: complete, sourced, changed by one word, and the one that docs/scaling.md shows."""

from __future__ import annotations

import dataclasses
import random
import re
from pathlib import Path

import pytest

from simulation import compare
from simulation.assumptions import HASTY, STANDARD, AssumptionError, Spread

PAGE = Path(__file__).parents[2] / "docs/scaling.md"


def test_the_page_shows_the_table_of_the_code():
    page = PAGE.read_text(encoding="utf-8")
    shown = page[page.index(compare.BEGIN) : page.index(compare.END) + len(compare.END)]
    assert shown == compare.assumptions_table(STANDARD), "write it anew: python -m simulation compare"


def test_every_assumption_says_what_it_means_and_where_it_is_from():
    for name, value, means, source in STANDARD.rows():
        assert value, name
        assert len(means) > 10, name
        assert re.search(r"assumed|#\d+|README|\.py|\.yaml|\.timer|measured|\(\w+/\w+\)", source), (name, source)


def test_a_value_given_by_name_changes_that_one_alone():
    changed = STANDARD.replaced({"create_seconds": "45", "api_seconds": "0.1,0.2,1", "boot_install_seconds": "9"})
    assert (changed.create_seconds, changed.api_seconds) == (45, Spread(0.1, 0.2, 1))
    assert changed.boot_install_seconds == Spread(9, 9, 9)
    different = {
        name for (name, value, *_), row in zip(changed.rows(), STANDARD.rows(), strict=True) if value != row[1]
    }
    assert different == {"create_seconds", "api_seconds", "boot_install_seconds"}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("boots", "1", "no assumption is called 'boots'; there are create_seconds,"),
        ("create_seconds", "fast", "create_seconds is 'fast'; allowed: one number, not negative"),
        ("create_seconds", "1,2,3", "allowed: one number, not negative"),
        ("create_seconds", "-1", "allowed: one number, not negative"),
        ("api_seconds", "3,2,1", "LOW,MODE,HIGH in ascending order"),
        ("api_seconds", "1,2", "LOW,MODE,HIGH in ascending order"),
    ],
)
def test_a_value_that_is_none_is_refused_with_what_is_allowed(name, value, told):
    with pytest.raises(AssumptionError, match=re.escape(told)):
        STANDARD.replaced({name: value})


def test_a_spread_is_drawn_within_its_bounds_and_mostly_near_its_mode():
    chance = random.Random(1)
    drawn = [Spread(10, 12, 40).draw(chance) for _ in range(2000)]
    assert min(drawn) >= 10
    assert max(drawn) <= 40
    assert sum(value < 25 for value in drawn) > 1000


def test_many_seeds_are_run_with_the_same_clouds_and_less_patience():
    fleets_own = {"cpu_job_seconds", "gpu_job_seconds", "idle_timeout_seconds", "retire_pause_seconds"}
    fleets_own |= {"healing_delay_seconds", "max_run_seconds", "standby_look_seconds"}
    fields = [field.name for field in dataclasses.fields(STANDARD)]
    assert {name for name in fields if getattr(HASTY, name) != getattr(STANDARD, name)} == fleets_own
