"""The one way in which commands run a plan: in runs/<id>/, shown on a stream, stoppable by signals, to be resumed.

What it takes to make the plan again is kept beside the journal as a recipe: the name of a function of `rollout.plans`
and its arguments. A resumed run has the plan made anew, and the journal refuses one that is another.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, cast

from rollout.engine.backend import Backend
from rollout.engine.journal import Journal
from rollout.engine.limits import Limits
from rollout.engine.report import Report
from rollout.engine.run import Run
from rollout.engine.spec import Plan
from rollout.engine.stop import stop_on_signals
from rollout.observers.choose import renderer
from rollout.observers.log_manager import LogManager
from rollout.observers.run_folder import RunFolder, fresh_id, sweep, write_whole
from rollout.observers.timeline import TimingReport

RUNS: Final = "runs"
RECIPE: Final = "recipe.json"
_MAKERS: Final = "rollout.plans."


class RecipeError(Exception):
    """A run cannot be made again from what it left. The text is one line for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A plan, and what runs it. Backends open what they need in their first try, and free it in `close`."""

    plan: Plan
    backends: Mapping[str, Backend]
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a plan is made: `maker` is "module:function" of (root, arguments), giving Prepared."""

    maker: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """JSON values, none of them secret."""

    def prepare(self, root: Path) -> Prepared:
        """Make it. Raises RecipeError for a maker that is not ours, and whatever the maker raises."""
        module, _, function = self.maker.partition(":")
        if not module.startswith(_MAKERS):
            raise RecipeError(f"the recipe's maker is {self.maker!r}; allowed are functions of {_MAKERS}*")
        try:
            made = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError):
            raise RecipeError(f"there is no {self.maker!r} any more: begin a new run") from None
        return made(root, self.arguments)


async def drive(root: Path, recipe: Recipe, *, stream: IO[str] | None = None, run_id: str | None = None) -> Report:
    """Run a plan from its beginning. Raises what the maker raises, GraphError, RunFolderError and OSError.

    Once the run has begun it raises nothing: what steps, services and observers do is in the report.
    """
    prepared = recipe.prepare(root)
    runs = root / RUNS
    sweep(runs)
    with RunFolder.create(runs, run_id or fresh_id(prepared.plan.name, time.time())) as folder:
        kept = {"maker": recipe.maker, "arguments": dict(recipe.arguments)}
        write_whole(folder.path / RECIPE, json.dumps(kept, indent=2) + "\n")
        journal = Journal.create(folder.journal, prepared.plan, run_id=folder.run_id)
        return await _run(folder, prepared, journal, stream or sys.stdout)


async def resume(root: Path, run_id: str, *, stream: IO[str] | None = None) -> Report:
    """Go on with a run whose process ended. Raises as `drive`, RecipeError, JournalError.

    A run that was stopped has ended, its steps with it: it is begun anew from its recipe, under an id of its own. One
    that passed or failed is not: its report comes again.
    """
    with RunFolder.open(root / RUNS, run_id) as folder:
        recipe = _recipe(folder)
        if _verdict(folder) != "stopped":
            prepared = recipe.prepare(root)
            journal = Journal.open(folder.journal, prepared.plan)
            return await _run(folder, prepared, journal, stream or sys.stdout)
    return await drive(root, recipe, stream=stream)


def _verdict(folder: RunFolder) -> str:
    """How a run ended; empty where it has not."""
    try:
        said: Any = json.loads(folder.report.read_text(encoding="utf-8"))
        return str(cast("dict[str, Any]", said)["verdict"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _recipe(folder: RunFolder) -> Recipe:
    try:
        said: Any = json.loads((folder.path / RECIPE).read_text(encoding="utf-8"))
        fields = cast("dict[str, Any]", said)
        return Recipe(maker=str(fields["maker"]), arguments=dict(fields["arguments"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise RecipeError(f"run {folder.run_id} has no {RECIPE} that can be read: begin a new run") from None


async def _run(folder: RunFolder, prepared: Prepared, journal: Journal, stream: IO[str]) -> Report:
    logs = LogManager(folder)
    run = Run(
        prepared.plan,
        prepared.backends,
        limits=prepared.limits,
        journal=journal,
        observers=(renderer(stream, os.environ), logs, TimingReport(folder)),
        logs=logs,
        run_id=folder.run_id,
    )
    with stop_on_signals(run):
        report = await run.execute()
    folder.write_report(report.to_json())
    return report
