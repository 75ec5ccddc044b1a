"""Waiting after an edit: a plan is driven, and how it ends is how the command ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import IO, Any

import click

from rollout.commands.frame import Call, Problem
from rollout.engine.report import Report
from rollout.exits import Exit

interval_option = click.option(
    "--interval",
    "interval_seconds",
    type=click.FloatRange(0.1, 3600),
    default=30.0,
    show_default=True,
    help="With --wait: seconds between two looks.",
)
wait_option = click.option(
    "--wait", "waits", is_flag=True, help="Then wait until it is deployed and no VM of another version is left."
)


def drive(call: Call, waiting: Callable[[IO[str]], Coroutine[Any, Any, Report]], failure: tuple[Exit, str]) -> None:
    """Wait with a plan. `failure` is how the command ends where the plan fails. Raises Problem."""
    report = asyncio.run(waiting(sys.stderr if call.json else sys.stdout))
    match report.verdict:
        case "passed":
            return
        case "failed":
            code, text = failure
            raise Problem(code, f"{text}; see runs/{report.run_id}")
        case _:
            raise Problem(Exit.INTERRUPTED, f"stopped; to go on: scripts/rollout resume {report.run_id}")


def turn_over(call: Call, interval_seconds: float) -> None:
    """Wait until the stack's groups are what its files say. Raises Problem."""
    from rollout.plans import turnover  # noqa: PLC0415 - the clients take a while to import, and few commands wait

    settings = call.settings()

    def waiting(stream: IO[str]) -> Coroutine[Any, Any, Report]:
        return turnover.wait(settings, root=call.root, stream=stream, interval_seconds=interval_seconds)

    drive(call, waiting, (Exit.FAILED, f"{call.stack} is not as its files say"))
