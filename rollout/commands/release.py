"""`scripts/rollout release INSTANCE`: lets a held VM go."""

from __future__ import annotations

import asyncio

import click

from rollout.commands import frame
from rollout.commands.frame import Call
from rollout.commands.hold import change, find
from rollout.exits import Exit


@frame.command(
    "release",
    stack="option",
    changes=True,
    examples=(
        "scripts/rollout release gh-runner-presubmit-cpu-us-west1-x7k2 --stack prod",
        "scripts/rollout release gh-runner-presubmit-cpu-us-west1-x7k2 --drained --stack prod",
    ),
    exits=(Exit.FAILED, Exit.UNREACHABLE, Exit.DECLINED),
)
@click.argument("instance", metavar="INSTANCE")
@click.option("--drained", is_flag=True, help="Take the mark of a drain away, too, so that it stays.")
def command(call: Call, *, instance: str, drained: bool) -> None:
    """End the hold of INSTANCE: it goes on as any other, and one that was done is deleted within a minute."""
    from rollout.plans.holding import release_changes  # noqa: PLC0415 - the clients take a while to import

    settings = call.settings()
    with call.progress(f"looking for {instance}"):
        place = asyncio.run(find(settings, instance))
    marked = place.held_until is not None or (drained and place.drained)
    answer = {"instance": instance, "zone": place.member.zone, "group": place.group}
    if not marked or call.dry_run:
        call.say(f"dry run: {instance} would be released" if marked else f"{instance} is not held")
        call.result({**answer, "released": False})
        return
    call.ask(f"release {instance} of {call.stack}?", settings)
    asyncio.run(change(settings, place, release_changes(drained=drained)))
    call.say(f"{instance} is released")
    call.result({**answer, "released": True})
