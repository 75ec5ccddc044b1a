"""`scripts/rollout drain STACK --pool POOL …`: has idle or outdated VMs leave, safely and a few at a time."""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from fleet.errors import one_of
from fleet.settings import Settings
from rollout.commands import frame
from rollout.commands.frame import Call, Problem
from rollout.exits import Exit

if TYPE_CHECKING:
    from rollout.plans.drain import Choice, Target
    from rollout.view.snapshot import Snapshot

_RATE: Final = re.compile(r"([1-9][0-9]{0,3})/(s|min|h)")
_PERIODS: Final = {"s": 1.0, "min": 60.0, "h": 3600.0}
_ENDS: Final = {"left": "left", "busy": "leave when their jobs are done", "held": "are held"}


class Rate(click.ParamType[tuple[int, float]]):
    """Such as 5/min: a count, and the seconds of its period."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, float]:
        """Count and seconds."""
        match = _RATE.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is no rate; write one such as 5/min, 1/s or 100/h", param, ctx)
        return int(match[1]), _PERIODS[match[2]]


@frame.command(
    "drain",
    stack="argument",
    changes=True,
    examples=(
        "scripts/rollout drain prod --pool presubmit-cpu --outdated --dry-run",
        "scripts/rollout drain prod --pool presubmit-cpu --region us-west1 --version 2026-11-22",
        "scripts/rollout drain testing --pool postsubmit-gpu --idle --most 1 --rate 1/min",
    ),
    exits=(Exit.FAILED, Exit.UNREACHABLE, Exit.DECLINED),
)
@click.option("--pool", required=True, shell_complete=frame.complete_pools, help="The pool whose VMs are to leave.")
@click.option("--region", default="", help="Only in this region.")
@click.option("--version", default="", shell_complete=frame.complete_versions, help="VMs of this version.")
@click.option("--outdated", is_flag=True, help="VMs of versions that their group gives to no new VM.")
@click.option("--idle", is_flag=True, help="VMs that have no job, of any version.")
@click.option("--rate", type=Rate(), default="5/min", show_default=True, help="How many are marked in what time.")
@click.option(
    "--most",
    type=click.IntRange(min=1),
    help="How many of a group at once; without it a quarter, which is also the most that the deleter lets be missing.",
)
def command(
    call: Call,
    *,
    pool: str,
    region: str,
    version: str,
    outdated: bool,
    idle: bool,
    rate: tuple[int, float],
    most: int | None,
) -> None:
    """Have VMs of a pool leave: idle ones, those of a version, or outdated ones.

    Each is marked and leaves by itself within some ten minutes, in the way in which idle VMs leave; one that has a job
    runs it to its end. A VM of the current version takes its place where it is wanted. VMs that are marked leave also
    when this is interrupted.
    """
    from rollout.plans.drain import Choice  # noqa: PLC0415 - the clients take a while to import

    settings = call.settings()
    _check(settings, pool, region, [bool(version), outdated, idle])
    choice = Choice(pool=pool, region=region, version=version, outdated=outdated, idle=idle)
    with call.progress(f"looking at {call.stack}"):
        seen, targets = asyncio.run(_chosen(settings, choice))
    longest = max((len(target.name) for target in targets), default=0)
    for target in targets:
        call.say(f"{target.name:{longest}}  {target.version or 'unknown':14}  {target.state:12}  {target.zone}")
    chosen = [{"name": each.name, "version": each.version, "state": each.state, "zone": each.zone} for each in targets]
    if not targets or call.dry_run:
        call.say("dry run: nothing is marked" if targets else f"no VM of {pool} is to leave")
        call.result({"vms": chosen, "marked": False})
        return
    call.ask(f"have {_vms(len(targets))} of {pool} in {call.stack} leave?", settings)
    _run(call, seen, targets, pool=pool, rate=rate, most=most)


def _check(settings: Settings, pool: str, region: str, chosen: Sequence[bool]) -> None:
    if pool not in settings.pools:
        raise Problem(Exit.FAULT, f"--pool {pool}: there is none; the pools are {one_of(settings.pools)}")
    regions = [group.region for group in settings.groups(pool)]
    if region and region not in regions:
        raise Problem(Exit.FAULT, f"--region {region}: {pool} is not there; it is in {one_of(regions)}")
    if sum(chosen) != 1:
        raise Problem(Exit.FAULT, "say which VMs: exactly one of --idle, --outdated and --version VERSION")


async def _chosen(settings: Settings, choice: Choice) -> tuple[Snapshot, tuple[Target, ...]]:
    from rollout.cloud.github import GitHub  # noqa: PLC0415 - the clients take a while to import
    from rollout.cloud.google import Google  # noqa: PLC0415 - the same
    from rollout.plans.drain import UnknownFleetError, choose  # noqa: PLC0415 - the same
    from rollout.view.gather import gather  # noqa: PLC0415 - the same

    async with Google(settings.google.project) as google, GitHub(settings.github.organization) as github:
        seen = await gather(settings, google, github)
    try:
        return seen, choose(settings, seen, choice)
    except UnknownFleetError as error:
        raise Problem(Exit.UNREACHABLE, f"{error}; nothing is drained") from None


def _run(
    call: Call,
    seen: Snapshot,
    targets: Sequence[Target],
    *,
    pool: str,
    rate: tuple[int, float],
    most: int | None,
) -> None:
    from rollout.plans.drain import arguments, at_once  # noqa: PLC0415 - the engine takes a while to import
    from rollout.plans.drive import Recipe, drive  # noqa: PLC0415 - the same
    from rollout.plans.leaving import Pace  # noqa: PLC0415 - the same

    places = {group: at_once(seen, group, most) for group in {target.group for target in targets}}
    pace = Pace(marks=rate[0], per_seconds=rate[1])
    recipe = Recipe(
        maker="rollout.plans.drain:made", arguments=arguments(call.stack, pool, targets, places=places, pace=pace)
    )
    report = asyncio.run(drive(call.root, recipe, stream=sys.stderr if call.json else sys.stdout))
    ends = Counter(str((result.output or {}).get("end", "stay")) for result in report.results)
    call.say(", ".join(f"{ends[end]} {words}" for end, words in _ENDS.items() if ends[end]) or "none has left")
    call.result({"vms": [target.name for target in targets], "marked": True, "run": report.run_id, "ends": dict(ends)})
    if report.verdict == "stopped":
        again = f"scripts/rollout resume {report.run_id}"
        raise Problem(Exit.INTERRUPTED, f"stopped; VMs that are marked leave all the same; to go on: {again}")
    if report.verdict != "passed":
        raise Problem(Exit.FAILED, f"{_vms(ends['stay'])} did not leave; runs/{report.run_id} says why")


def _vms(count: int) -> str:
    return f"{count} VM{'' if count == 1 else 's'}"
