"""`scripts/rollout resume RUN`: goes on with a run that was interrupted."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem

from rollout.commands import frame
from rollout.commands.frame import Call, Problem
from rollout.exits import Exit

_EXITS: Final = {"failed": Exit.FAILED, "stopped": Exit.INTERRUPTED}


def complete_runs(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The runs that begin so, the newest first."""
    from rollout.plans.past_runs import past_runs  # noqa: PLC0415 - completion is to be quick for everything else

    return [CompletionItem(run.run_id) for run in past_runs(Path.cwd()) if run.run_id.startswith(begun)]


@frame.command(
    "resume",
    stack="none",
    changes=False,
    examples=(
        "scripts/rollout runs",
        "scripts/rollout resume 20261125-120003-canary-9f2c",
        "scripts/rollout resume latest",
    ),
    exits=(Exit.FAILED,),
)
@click.argument("run", metavar="RUN", shell_complete=complete_runs)
def command(call: Call, *, run: str) -> None:
    """Go on with RUN, the name of a folder in runs/.

    Where its process ended before it did, what had ended stays ended; what ran is attached to again, if it has a name
    outside, and begun anew if it has none. A run that was stopped is begun anew as another run; one that has a verdict
    shows it again.
    """
    from rollout.engine.journal import JournalError  # noqa: PLC0415 - the engine takes a while to import
    from rollout.observers.run_folder import RunFolderError  # noqa: PLC0415 - the same
    from rollout.plans.drive import RecipeError, resume  # noqa: PLC0415 - the same

    stream = sys.stderr if call.json else sys.stdout
    try:
        report = asyncio.run(resume(call.root, run, stream=stream))
    except (RunFolderError, RecipeError, JournalError, ValueError) as error:
        raise Problem(Exit.FAULT, str(error)) from None
    call.result(report.to_json())
    code = _EXITS.get(report.verdict)
    if code is not None:
        raise Problem(code, f"run {report.run_id}: {report.verdict}; runs/{report.run_id} has its logs and report.html")
