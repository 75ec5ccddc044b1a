"""`scripts/rollout remove-stuck STACK`: removes VMs that never registered, after proof and after asking."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from fleet.errors import one_of
from fleet.settings import Settings
from rollout.commands import frame
from rollout.commands.frame import Call, Problem
from rollout.exits import Exit

if TYPE_CHECKING:
    from rollout.plans.stuck import Judgement, Suspect

_DEFAULT_PERCENT: Final = 20


@frame.command(
    "remove-stuck",
    stack="argument",
    changes=True,
    examples=(
        "scripts/rollout remove-stuck prod --dry-run",
        "scripts/rollout remove-stuck prod --pool presubmit-gpu",
        "scripts/rollout remove-stuck testing --percent 50 --yes",
    ),
    exits=(Exit.FAILED, Exit.UNREACHABLE, Exit.DECLINED),
)
@click.option("--pool", default="", shell_complete=frame.complete_pools, help="Only of this pool.")
@click.option(
    "--percent",
    type=click.IntRange(1, 100),
    default=_DEFAULT_PERCENT,
    show_default=True,
    help="Of a pool's VMs, how many may go at most. One may always go.",
)
def command(call: Call, *, pool: str, percent: int) -> None:
    """Remove VMs that never registered: past the boot deadline, unknown to GitHub, never given a configuration.

    It lists them and asks before anything is done. Held VMs and those of a reserve stay. What Google, GitHub or the
    broker's records do not say for certain counts as a no, and each VM is looked at once more right before it goes.
    """
    settings = call.settings()
    if pool and pool not in settings.pools:
        raise Problem(Exit.FAULT, f"--pool {pool}: there is none; the pools are {one_of(settings.pools)}")
    with call.progress(f"looking at {call.stack}"):
        found = asyncio.run(_look(settings, [pool] if pool else list(settings.pools), percent))
    _print(call, found)
    if found.doubts:
        raise Problem(Exit.UNREACHABLE, f"{found.doubts[0]}; nothing is removed")
    answer = {"stuck": [asdict(one) for one in found.stuck], "spared": [asdict(one) for one in found.spared]}
    if not found.stuck or call.dry_run:
        call.say("dry run: nothing is removed" if found.stuck else "no VM is proved to be stuck")
        call.result({**answer, "removed": False})
        return
    call.ask(f"remove {_vms(len(found.stuck))} of {call.stack}?", settings, always=True)
    _run(call, found.stuck, answer)


async def _look(settings: Settings, pools: Sequence[str], percent: int) -> Judgement:
    from rollout.cloud.github import GitHub  # noqa: PLC0415 - the clients take a while to import
    from rollout.cloud.google import Google  # noqa: PLC0415 - the same
    from rollout.plans.removal import look  # noqa: PLC0415 - the same
    from rollout.plans.stuck import judge  # noqa: PLC0415 - the same

    async with Google(settings.google.project) as google, GitHub(settings.github.organization) as github:
        seen = await look(settings, google, github, pools)
    return judge(settings, seen, pools, now=time.time(), percent=percent)


def _print(call: Call, found: Judgement) -> None:
    from rollout.plans.stuck import age_text  # noqa: PLC0415 - the clients take a while to import

    everybody = (*found.stuck, *found.spared)
    name, zone = (max((len(text) for text in texts), default=0) for texts in _columns(everybody))
    for suspect in everybody:
        fate = f"stays: {suspect.spared}" if suspect.spared else "stuck: it never registered"
        where = f"{suspect.name:{name}}  {suspect.zone:{zone}}"
        call.say(f"{where}  {age_text(suspect.age_seconds):>8} old  {fate}")


def _columns(suspects: Sequence[Suspect]) -> tuple[list[str], list[str]]:
    return [suspect.name for suspect in suspects], [suspect.zone for suspect in suspects]


def _run(call: Call, stuck: Sequence[Suspect], answer: Mapping[str, Any]) -> None:
    from rollout.plans.drive import Recipe, drive  # noqa: PLC0415 - the engine takes a while to import

    arguments = {"stack": call.stack, "suspects": [asdict(suspect) for suspect in stuck]}
    recipe = Recipe(maker="rollout.plans.removal:made", arguments=arguments)
    report = asyncio.run(drive(call.root, recipe, stream=sys.stderr if call.json else sys.stdout))
    ends = Counter(str(result.output.get("end", "not removed")) for result in report.results)
    call.say(", ".join(f"{count} {end}" for end, count in sorted(ends.items())))
    call.result({**answer, "removed": bool(ends["removed"]), "run": report.run_id, "ends": dict(ends)})
    if report.verdict == "stopped":
        raise Problem(Exit.INTERRUPTED, f"stopped; to go on: {call.again}")
    if report.verdict != "passed":
        raise Problem(Exit.FAILED, f"not all could be removed; runs/{report.run_id} says why")


def _vms(count: int) -> str:
    return f"{count} VM{'' if count == 1 else 's'}"
