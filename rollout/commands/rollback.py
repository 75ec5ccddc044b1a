"""`scripts/rollout rollback`: ends a trial; or makes an older version the stable one again."""

from __future__ import annotations

import click

from fleet.errors import one_of
from fleet.versions import version_key
from rollout.commands import frame
from rollout.commands.editing import offer
from rollout.commands.frame import Call, Problem
from rollout.commands.waiting import interval_option, turn_over, wait_option
from rollout.config.edit import prepare
from rollout.config.history import stable_before
from rollout.config.pointers import file_of, point
from rollout.exits import Exit


@frame.command(
    "rollback",
    stack="option",
    changes=True,
    examples=(
        "scripts/rollout rollback --stack prod",
        "scripts/rollout rollback --to 2026-11-22 --stack prod",
        "scripts/rollout rollback --stack prod --wait",
    ),
    exits=(Exit.FAILED, Exit.DECLINED),
)
@click.option(
    "--to", "target", metavar="VERSION", shell_complete=frame.complete_versions, help="Make this older version stable."
)
@wait_option
@interval_option
def command(call: Call, *, target: str | None, waits: bool, interval_seconds: float) -> None:
    """End a trial; with --to, take a promotion back.

    VMs of the version that goes run until their job ends. Nothing has to be made: the older version's templates are
    there while Pulumi.yaml lists it.
    """
    settings = call.settings()
    rollout = settings.rollout
    stable = target or rollout.stable
    if stable not in settings.versions:
        raise Problem(Exit.FAULT, f"no version {stable} in Pulumi.yaml, which lists {one_of(settings.versions)}")
    if version_key(stable) > version_key(rollout.stable):
        fix = f"scripts/rollout canary {stable} --stack {call.stack}"
        raise Problem(
            Exit.FAULT, f"--to {stable}: newer than {rollout.stable}, which is stable; the way forward: {fix}"
        )
    leaves = [version for version in (rollout.canary, rollout.stable) if version and version != stable]
    already = f"{call.stack} runs {stable}, and tries none"
    before = None if rollout.canary or target else stable_before(call.root, call.stack, stable)
    if before in settings.versions:
        already += (
            f"; to take the promotion of {stable} back: scripts/rollout rollback --to {before} --stack {call.stack}"
        )
    done = offer(
        call,
        prepare(call.root, file_of(call.stack), point(stable=stable, canary=None)),
        what=f"stack {call.stack} runs {stable} and tries none: away from {', '.join(leaves)}",
        already=already,
        following=(
            "commit and deploy it",
            f"scripts/rollout status {call.stack} shows the VMs that still run the other",
        ),
        facts={"stable": stable, "before": before},
    )
    if waits and done:
        turn_over(call, interval_seconds)
