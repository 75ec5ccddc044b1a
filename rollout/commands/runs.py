"""`scripts/rollout runs`: which runs there were, and how they ended."""

from __future__ import annotations

import click

from rehearsal.render import Sheet, aligned
from rollout.commands import frame
from rollout.commands.frame import Call
from rollout.plans.past_runs import PastRun, past_runs

SHOWN = 20


@frame.command(
    "runs",
    stack="none",
    changes=False,
    examples=("scripts/rollout runs", "scripts/rollout runs --all --json"),
    exits=(),
)
@click.option("--all", "everything", is_flag=True, help=f"All that are kept; without it the newest {SHOWN}.")
def command(call: Call, *, everything: bool) -> None:
    """List the runs that were begun here, the newest first, with their verdicts.

    An unfinished one runs in another process, or its process ended: scripts/rollout resume RUN goes on with it.
    """
    found = past_runs(call.root)
    shown = found if everything else found[:SHOWN]
    call.result({"runs": [run.to_json() for run in shown]})
    if call.json:
        return
    if not shown:
        click.echo("No run was begun here yet.")
        return
    click.echo(
        aligned(Sheet("Runs", ("run", "verdict", "took", "steps", "what", "ended badly"), tuple(map(_row, shown))))
    )
    if len(found) > len(shown):
        click.echo(f"and {len(found) - len(shown)} older ones: --all")


def _row(run: PastRun) -> tuple[str, ...]:
    seconds = (run.ended - run.began).total_seconds() if run.began and run.ended else None
    took = "-" if seconds is None else f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
    bad = ", ".join(run.bad[:3]) + (f" and {len(run.bad) - 3} more" if len(run.bad) > 3 else "")
    return (run.run_id, run.standing, took, str(run.steps or "-"), run.plan, bad)
