"""Time limits of a VM that have to agree with each other."""

from __future__ import annotations

from collections.abc import Iterator

from fleet.draft import Draft
from fleet.errors import Fault, show


def lifecycle_faults(draft: Draft) -> Iterator[Fault]:
    """Autohealing waits longer than the boot deadline, so that a slow boot ends itself, with a reason."""
    life = draft.lifecycle
    if life and life.healing_initial_delay_seconds <= life.boot_deadline_seconds:
        yield Fault(
            ("lifecycle", "healing_initial_delay_seconds"),
            show(life.healing_initial_delay_seconds),
            f"more than boot_deadline_seconds, which is {life.boot_deadline_seconds}",
            f"write {life.boot_deadline_seconds + 300}",
        )
