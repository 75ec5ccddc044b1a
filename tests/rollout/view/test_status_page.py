"""What `status` draws: looked at whenever it changes, at two widths and for a pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from rollout.view.evidence import Thresholds, judge
from rollout.view.fleet_view import view
from rollout.view.seen import Known, Unknown
from rollout.view.snapshot import Reconciled
from rollout.view.status_page import FULL, Page
from tests.rollout.view.seen_fleet import CANARY, NOW, STABLE, SeenFleet, minutes, settings_with

CPU = "presubmit-cpu"
TWO = (CPU, "presubmit-a100")


@pytest.fixture
def small() -> SeenFleet:
    """Two pools, with a bit of everything."""
    fleet = SeenFleet(settings_with(only_pools=TWO))
    for runner in ("busy", "busy", "idle"):
        fleet.vm(CPU, "us-west1", runner=runner)
    fleet.vm(CPU, "us-west1", runner="", age=20)
    fleet.vm(CPU, "us-west1", runner="idle", version=CANARY)
    fleet.change(CPU, "us-west1", target=6)
    fleet.says(CPU, waiting=2, running=2, reasons=("no capacity in us-west1-a/b since 11:40",))
    fleet.says("presubmit-a100", expires=NOW - minutes(30))
    return fleet


def page(fleet: SeenFleet) -> Page:
    seen = fleet.snapshot()
    evidence = judge(CANARY, STABLE, Known(()), pools=TWO, now=NOW, thresholds=Thresholds())
    return Page(
        fleet=view(fleet.settings, seen),
        evidence=evidence,
        reconciled=Reconciled(written=NOW - minutes(3), dry_run=True, disagreements=()),
    )


def drawn(shown: Page, width: int, *, terminal: bool = False) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=terminal, color_system="standard" if terminal else None).print(
        shown.tables(width)
    )
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def test_for_a_pipe_it_is_words_in_columns(small: SeenFleet):
    assert (
        page(small)
        .plain()
        .startswith(
            """\
prod: stable 2026-11-25, canary 2026-11-27; seen 2026-11-28 12:00:00 UTC

Versions
  version     role    runner   runner deadline  state   VMs
  2026-11-27  canary  2.337.0  none             newest    1
  2026-11-25  stable  2.337.0  none             newest    4

Pools, * is the canary
  pool            region          VMs  version       doing                           jobs             deployed
  presubmit-cpu   us-west1     5→6/10  2026-11-27 *  1 idle                          2 run, 2 wait    yes
                                       2026-11-25    2 busy, 1 idle, 1 unregistered
                  us-central1    0/10  2026-11-27 *  none yet                                         yes
  presubmit-a100  us-west1        0/1  -             -                               listener silent  yes
                  us-central1     0/1  2026-11-27 *  none yet                                         yes
                  us-east1        0/1  -             -                                                yes
                  us-west4        0/1  -             -                                                yes

disagreement (listener-silent): presubmit-a100: the demand listener is silent since 2026-11-28 11:30 UTC: """
        )
    )


def test_the_notes_stand_in_the_order_in_which_one_acts(small: SeenFleet):
    notes = page(small).plain().rpartition("\n\n")[2].splitlines()
    heads = [line.partition(":")[0] for line in notes if not line.startswith(" ")]
    assert heads == [
        "disagreement (listener-silent)",
        "disagreement (vm-without-registration)",
        "jobs wait (presubmit-cpu)",
        "canary 2026-11-27",
        "stable 2026-11-25",
        "still missing",
        "still missing",
        "still missing",
        "note",
        "reconciler",
    ]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_on_a_terminal_no_line_is_wider_than_it(small: SeenFleet, width: int):
    text = drawn(page(small), width)
    assert max(map(len, text.splitlines())) <= width
    assert "presubmit-a100" in text
    assert "1 unregistered" in " ".join(text.split())


def test_a_narrow_terminal_says_which_columns_it_does_without(small: SeenFleet):
    assert "Pools, * is the canary (too narrow for deployed, jobs)" in drawn(page(small), 80)
    assert "too narrow" not in drawn(page(small), 130)


def test_a_pipe_gets_no_escape_codes_and_a_terminal_gets_colours(small: SeenFleet):
    assert "\x1b" not in page(small).plain()
    assert "\x1b[" in drawn(page(small), 120, terminal=True)


def test_unknown_comes_first_and_marks_what_it_hides(small: SeenFleet):
    small.replaced["runners"] = Unknown("GitHub: answered HTTP 502 (the organization's runners)")
    small.groups[small.name(CPU, "us-central1")] = Unknown("compute: answered HTTP 500")
    text = page(small).plain()
    notes = text.rpartition("\n\n")[2].splitlines()
    assert notes[0] == f"unknown: group {small.name(CPU, 'us-central1')}: compute: answered HTTP 500"
    assert notes[1] == "unknown: runners: GitHub: answered HTTP 502 (the organization's runners)"
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "us-central1 ?/10 ? ? ?" in rows
    assert f"{STABLE} 4 unknown" in rows


def test_many_unknown_groups_are_one_line(small: SeenFleet):
    for name in small.groups:
        small.groups[name] = Unknown("compute: answered HTTP 403")
    notes = page(small).plain().rpartition("\n\n")[2].splitlines()
    assert len(small.groups) > FULL
    head = f"unknown: group {min(small.groups)} and {len(small.groups) - 1} more of its kind (group)"
    assert [line for line in notes if line.startswith("unknown: ")] == [f"{head}: compute: answered HTTP 403"]


@pytest.mark.parametrize(
    ("released", "text"), [("2026-11-08", "in 10 days"), ("2026-10-29", "today"), ("2026-10-19", "10 days ago")]
)
def test_a_runners_deadline_is_a_warning_with_its_runbook(released: str, text: str):
    releases = {"2.338.0": {"released": f"{released}T00:00:00Z", "sha256": {}}}
    fleet = SeenFleet(settings_with(only_pools=TWO, runner_releases=releases))
    plain = page(fleet).plain()
    assert f", {text}: docs/runbooks/runner-deadline.md" in plain


def test_a_reconciler_that_is_late_says_where_to_look(small: SeenFleet):
    shown = page(small)
    assert "reconciler: 3 min ago, dry run, 0 disagreements" in shown.plain()
    late = Page(fleet=shown.fleet, evidence=None, reconciled=Reconciled(written=NOW - minutes(99), dry_run=False))
    assert "reconciler: 99 min ago, 0 disagreements; it should report every five minutes" in late.plain()
