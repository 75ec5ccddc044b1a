"""What an edit would do to a stack, rehearsed: without engine, cloud or credentials, knowing nothing of what exists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pulumi

from rehearsal.against import Comparison, compare
from rehearsal.base import BaseError, base
from rehearsal.inventory import Inventory
from rehearsal.run import rehearse_project
from rollout.config.edit import StackEdit

AS_IT_IS: Final = "the configuration as it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consequence:
    """What an edit changes in one stack; nothing is known where `unknown` says why."""

    stack: str
    comparison: Comparison | None = None
    unknown: str = ""

    def summary(self) -> str:
        """One line."""
        return f"{self.stack}: {self.comparison.summary() if self.comparison else self.unknown}"

    def lines(self) -> list[str]:
        """What changes, counted by owner and kind of resource, and each consequence once. scripts/preview has all."""
        changes = self.comparison.changes if self.comparison else ()
        counted = Counter((change.action, change.owner, change.resource.short.split()[0]) for change in changes)
        said = dict.fromkeys(change.consequence for change in changes if change.consequence)
        found = [f"{action} in {owner}: {count} {kind}" for (action, owner, kind), count in counted.items()]
        return [*found, *(f"→ {consequence}" for consequence in said)]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON can hold it."""
        found = self.comparison.to_json() if self.comparison else None
        return {"stack": self.stack, "comparison": found, "unknown": self.unknown or None}


def consequence(root: Path, edit: StackEdit, on_register: Callable[[int], None] | None = None) -> Consequence:
    """Rehearse a stack before and after an edit.

    A stack that is faulty before, as after an edit of startup/, is compared with the last commit.
    """
    if edit.faults_after:
        return Consequence(stack=edit.stack, unknown="cannot be rehearsed: it has faults, as before the edit")
    try:
        after = rehearse_project(root, edit.stack, edit.after.config, on_register)
        before, label = _before(root, edit, on_register)
    except (BaseError, pulumi.RunError) as error:
        reason = str(error).splitlines()[0]
        return Consequence(stack=edit.stack, unknown=f"nothing to compare with: {reason}")
    return Consequence(stack=edit.stack, comparison=compare(before, after, label))


def _before(root: Path, edit: StackEdit, on_register: Callable[[int], None] | None) -> tuple[Inventory, str]:
    if edit.faults_before:
        return base(root, edit.stack, "HEAD")[0], "HEAD"
    return rehearse_project(root, edit.stack, edit.before.config, on_register), AS_IT_IS
