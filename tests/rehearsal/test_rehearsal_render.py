"""Tables fit their terminal, text keeps its columns, and Markdown stays a table whatever stands in it."""

from __future__ import annotations

import datetime
import io
from dataclasses import replace

import pytest
from rich.console import Console

from fleet.schema.pool import Standby
from rehearsal.against import compare
from rehearsal.render import Page, Sheet
from rehearsal.review import review

SHEET = Sheet(
    "Pools",
    ("pool", "zones", "max"),
    (("presubmit-cpu", "a b c", "10"), ("", "a b", "2")),
    frozenset({"max"}),
    spare=("zones",),
)


@pytest.fixture(scope="module")
def page(prod_settings, prod, testing):
    seen = review(prod_settings, prod, datetime.date(2026, 11, 22), ("versions.x: look at this",))
    return Page(seen, compare(testing, prod, "testing"))


def drawn(page, width):
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=True, color_system=None).print(page.tables(width))
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_no_line_is_wider_than_the_terminal(page, width):
    assert max(len(line) for line in drawn(page, width).splitlines()) <= width


def test_a_narrow_terminal_loses_whole_columns_and_is_told_which():
    narrow = SHEET.fitted(29)
    assert narrow.columns == ("pool", "max")
    assert narrow.rows == (("presubmit-cpu", "10"), ("", "2"))
    assert narrow.title == "Pools (too narrow for zones)"


def test_a_wide_terminal_loses_nothing():
    assert SHEET.fitted(200).columns == SHEET.columns


def test_names_of_pools_are_never_broken_at_eighty_columns(page):
    text = drawn(page, 80)
    assert all(pool.key in text for pool in page.review.pools)


def test_a_reserve_stands_beside_the_maximum(page):
    pools = [replace(pool, groups=tuple(replace(group, standby=Standby(suspended=2)) for group in pool.groups))
             if pool.key == "presubmit-cpu" else pool for pool in page.review.pools]  # fmt: skip
    rows = Page(replace(page.review, pools=tuple(pools)), None).plain().splitlines()
    assert sum("  10 +2  " in row for row in rows) == len(next(p for p in pools if p.key == "presubmit-cpu").groups)
    assert not [line for line in page.plain().splitlines() if " +2 " in line]


def test_a_pipe_gets_every_column_however_wide(page):
    header = next(line for line in page.plain().splitlines() if line.lstrip().startswith("pool "))
    assert header.split()[:3] == ["pool", "trust", "class"]
    assert "runner deadline" in header


def test_warnings_are_said_in_every_form(page):
    assert "warning: versions.x: look at this" in page.plain()
    assert "warning: versions.x: look at this" in drawn(page, 200)
    assert "- warning: versions.x: look at this" in page.markdown()


def test_markdown_rows_have_as_many_cells_as_their_heads(page):
    cells = 0
    for line in page.markdown().splitlines():
        if line.startswith(("| ---", "| ---:")):
            continue
        if line.startswith("| "):
            count = line.replace("\\|", "").count(" |")
            assert cells in {0, count}, line
            cells = count
        else:
            cells = 0


def test_a_group_under_trial_says_so(prod_settings, prod):
    from dataclasses import replace

    rollout = prod_settings.rollout.model_copy(update={"canary": "2027-01-05"})
    versions = {**prod_settings.versions, "2027-01-05": prod_settings.versions["2026-11-25"]}
    tried = replace(prod_settings, rollout=rollout, versions=versions)
    text = Page(review(tried, prod, datetime.date(2026, 11, 22), ()), None).plain()
    assert "2027-01-05 (1 VM)" in text
    assert "2027-01-05 (whole group)" in text
