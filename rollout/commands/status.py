"""`scripts/rollout status [STACK]`: the fleet as it is, against what the stack declares."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

import click
from rich.console import Console
from rich.live import Live

from fleet.settings import Settings
from rehearsal import stack_files
from rehearsal.stack_files import StackFileError
from rollout.commands import frame
from rollout.commands.evidence_options import evidence_options
from rollout.commands.frame import Call, Problem
from rollout.exits import Exit
from rollout.view.evidence import Thresholds
from rollout.view.status_page import Page

REFRESH_SECONDS: Final = 30.0


@frame.command(
    "status",
    stack="optional",
    changes=False,
    examples=(
        "scripts/rollout status prod",
        "scripts/rollout status prod --watch 60",
        "scripts/rollout status prod --json | jq '.disagreements'",
    ),
    exits=(Exit.UNREACHABLE,),
)
@click.option(
    "--watch",
    "watch_seconds",
    metavar="SECONDS",
    type=click.FloatRange(min=5),
    is_flag=False,
    flag_value=REFRESH_SECONDS,
    help="Look again so often, 30 without a number, until Ctrl-C.",
)
@evidence_options
def command(call: Call, *, watch_seconds: float | None, thresholds: Thresholds) -> None:
    """Show a stack's fleet: versions, groups, VMs by state, the canary's evidence, and what disagrees.

    It only looks. What could not be asked is shown as unknown, beside all that could, and the exit code says so.
    """
    settings = call.settings()
    prefixes = other_prefixes(call.root, call.stack)
    if watch_seconds is not None:
        _watch(call, settings, prefixes, thresholds, watch_seconds)
        return
    with call.progress(f"looking at {call.stack}"):
        page = look(settings, prefixes, thresholds)
    if not call.json:
        _print(page)
    call.result(to_json(page))
    if unknown := _unknown(page):
        raise Problem(Exit.UNREACHABLE, unknown)


def look(settings: Settings, prefixes: Collection[str], thresholds: Thresholds) -> Page:
    """One look at everything."""
    from rollout.plans.status import status_page  # noqa: PLC0415 - the clients take a while to import

    return asyncio.run(status_page(settings, other_prefixes=prefixes, thresholds=thresholds))


def other_prefixes(root: Path, stack: str) -> tuple[str, ...]:
    """How other stacks' groups are called, so that they are no strangers; a faulty stack's are not known."""
    found: list[str] = []
    for other in stack_files.stacks(root):
        with suppress(StackFileError):
            google: Any = {} if other == stack else stack_files.read(root, other).sections.get("google")
            prefix: Any = cast("dict[str, Any]", google).get("name_prefix") if isinstance(google, dict) else None
            found += [prefix] if isinstance(prefix, str) else []
    return tuple(found)


def to_json(page: Page) -> dict[str, Any]:
    """As --json prints it."""
    return {**page.fleet.to_json(), "evidence": page.evidence.to_json() if page.evidence else None}


def _print(page: Page) -> None:
    console = Console()
    if console.is_terminal:
        console.print(page.tables(console.width))
    else:
        click.echo(page.plain())


def _unknown(page: Page) -> str:
    """What could not be asked, in a line; empty where everything could."""
    sources = [*page.fleet.unknown, *(["the canary's evidence"] if page.evidence and page.evidence.unknown else [])]
    if not sources:
        return ""
    more = f" and {len(sources) - 3} more" if len(sources) > 3 else ""
    return f"not all could be asked: {', '.join(sources[:3])}{more} unknown; what is shown of the rest holds"


def _watch(call: Call, settings: Settings, prefixes: Collection[str], thresholds: Thresholds, seconds: float) -> None:
    """Until Ctrl-C, which is how one ends it. On a terminal in place; elsewhere one after the other."""
    if call.json:
        raise Problem(Exit.FAULT, "--watch draws for people, and --json prints one value: use one of them")
    console = Console()
    with suppress(KeyboardInterrupt):
        if not sys.stdout.isatty():
            while True:
                click.echo(look(settings, prefixes, thresholds).plain() + "\n")
                time.sleep(seconds)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                page = look(settings, prefixes, thresholds)
                live.update(page.tables(console.width), refresh=True)
                time.sleep(seconds)
