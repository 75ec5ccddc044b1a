"""`scripts/rollout hold INSTANCE --for 2h`: keeps a VM for inspection."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any, Final

import click

from fleet.settings import Settings
from rollout.commands import frame
from rollout.commands.frame import Call, Problem
from rollout.exits import Exit

if TYPE_CHECKING:
    from rollout.plans.holding import Place

_DURATION: Final = re.compile(r"([1-9][0-9]{0,4})(m|h|d)")
_UNITS: Final = {"m": 60, "h": 3600, "d": 86_400}
LONGEST_SECONDS: Final = 7 * 86_400
"""A VM that costs money is not forgotten for longer. Its maximum age is shorter in most stacks."""


class Duration(click.ParamType[int]):
    """Such as 90m, 2h or 1d, as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds."""
        match = _DURATION.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is no duration; write one such as 90m, 2h or 1d", param, ctx)
        seconds = int(match[1]) * _UNITS[match[2]]
        if seconds > LONGEST_SECONDS:
            self.fail(f"{value!r} is too long; allowed are 7d at most", param, ctx)
        return seconds


@frame.command(
    "hold",
    stack="option",
    changes=True,
    examples=(
        "scripts/rollout hold gh-runner-presubmit-cpu-us-west1-x7k2 --for 2h --stack prod",
        "scripts/rollout release gh-runner-presubmit-cpu-us-west1-x7k2 --stack prod",
    ),
    exits=(Exit.FAILED, Exit.UNREACHABLE, Exit.REFUSED, Exit.DECLINED),
)
@click.argument("instance", metavar="INSTANCE")
@click.option("--for", "seconds", type=Duration(), required=True, help="How long, from now: 90m, 2h, 1d.")
def command(call: Call, *, instance: str, seconds: int) -> None:
    """Keep INSTANCE for inspection: it is not retired, deleted, healed or reconciled away until then.

    It may still take its one job, and runs no second. Compute Engine deletes it at its maximum age all the same. A hold
    ends by itself; `scripts/rollout release` ends it sooner.
    """
    from rollout.plans.holding import hold_changes  # noqa: PLC0415 - the clients take a while to import
    from rollout.plans.marks import written  # noqa: PLC0415 - the same

    settings = call.settings()
    until = time.time() + seconds
    with call.progress(f"looking for {instance}"):
        place = asyncio.run(find(settings, instance))
    if place.going:
        raise Problem(Exit.REFUSED, f"{instance} is being taken away already; it cannot be held any more")
    if place.ends_at is not None and place.ends_at < until:
        left = max(0, int(place.ends_at - time.time()) // 60)
        call.note(f"warning: Compute Engine deletes it at its maximum age, in {left} min, and no hold keeps it longer")
    answer = {"instance": instance, "zone": place.member.zone, "group": place.group, "until": written(until)}
    if call.dry_run:
        call.say(f"dry run: {instance} would be held until {written(until)}")
        call.result({**answer, "held": False})
        return
    call.ask(f"hold {instance} of {call.stack} until {written(until)}?", settings)
    after, _ = asyncio.run(change(settings, place, hold_changes(until)))
    if after is None or after.going:
        raise Problem(Exit.FAILED, f"{instance} has its mark, and was being taken away by then: it came too late")
    call.say(f"{instance} ({place.member.zone}) is held until {written(until)}")
    call.say(f"its console: gcloud compute instances get-serial-port-output {instance} --zone {place.member.zone}")
    call.result({**answer, "held": True})


async def find(settings: Settings, name: str) -> Place:
    """The VM. Raises Problem where there is none, or nobody can tell."""
    from rollout.cloud.google import Google  # noqa: PLC0415 - the clients take a while to import
    from rollout.plans import holding  # noqa: PLC0415 - the same
    from rollout.view.seen import Unknown  # noqa: PLC0415 - the same

    async with Google(settings.google.project) as google:
        found = await holding.find(settings, google, name)
    if isinstance(found, Unknown):
        raise Problem(Exit.UNREACHABLE, f"{name}: {found.why}; nothing was done")
    if found.value is None:
        raise Problem(
            Exit.FAULT, f"{name}: no group of {settings.environment} has such a VM; is it another stack's, or gone?"
        )
    return found.value


async def change(settings: Settings, place: Place, changes: dict[str, str | None]) -> tuple[Place | None, bool]:
    """Write marks; the VM as it is then, and whether they were not so already. Raises CloudError and Problem."""
    from rollout.cloud.google import Google  # noqa: PLC0415 - the clients take a while to import
    from rollout.plans import holding  # noqa: PLC0415 - the same
    from rollout.view.seen import Unknown  # noqa: PLC0415 - the same

    async with Google(settings.google.project) as google:
        changed = await holding.mark(google, place, changes)
        after = await holding.find(settings, google, place.member.name)
    if isinstance(after, Unknown):
        raise Problem(Exit.FAILED, f"{place.member.name} is marked; whether in time cannot be told: {after.why}")
    same = after.value is not None and after.value.instance.id == place.instance.id
    return after.value if same else None, changed
