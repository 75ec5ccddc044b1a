"""Time limits of a VM that have to agree with each other."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.draft import Draft
from fleet.errors import Fault, show


def lifecycle_faults(draft: Draft) -> Iterator[Fault]:
    """Autohealing waits longer than the boot deadline, so that a slow boot ends itself, with a reason.

    And an idle VM asks to leave before Compute Engine deletes it.
    """
    life = draft.lifecycle
    if life and life.boot_deadline_seconds + life.idle_timeout_seconds >= life.max_run_seconds:
        most = life.max_run_seconds - life.boot_deadline_seconds
        yield Fault(
            ("lifecycle", "idle_timeout_seconds"),
            show(life.idle_timeout_seconds),
            f"less than max_run_seconds without boot_deadline_seconds, which is {most}",
            f"write {min(900, most - 1)}",
        )
    if life and life.healing_initial_delay_seconds <= life.boot_deadline_seconds:
        yield Fault(
            ("lifecycle", "healing_initial_delay_seconds"),
            show(life.healing_initial_delay_seconds),
            f"more than boot_deadline_seconds, which is {life.boot_deadline_seconds}",
            f"write {life.boot_deadline_seconds + 300}",
        )
