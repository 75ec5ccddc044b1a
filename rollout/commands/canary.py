"""`scripts/rollout canary VERSION`: names the version that a stack tries."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Mapping
from typing import IO, Any, Final

import click

from fleet.errors import one_of
from fleet.schema.pool import CanaryInstances
from fleet.settings import Settings
from rollout.commands import frame
from rollout.commands.editing import offer
from rollout.commands.evidence_options import evidence_options
from rollout.commands.frame import Call, Problem
from rollout.commands.waiting import drive, interval_option
from rollout.config.edit import prepare
from rollout.config.pointers import file_of, point
from rollout.engine.report import Report
from rollout.exits import Exit
from rollout.view.evidence import Thresholds

NONE: Final = "no VM"


@frame.command(
    "canary",
    stack="option",
    changes=True,
    examples=(
        "scripts/rollout canary 2026-11-30 --stack testing",
        "scripts/rollout canary 2026-11-30 --stack prod --pools presubmit-cpu,presubmit-arm64",
        "scripts/rollout canary 2026-11-30 --stack prod --wait",
    ),
    exits=(Exit.FAILED, Exit.UNREACHABLE, Exit.REFUSED, Exit.DECLINED),
)
@click.argument("version", shell_complete=frame.complete_versions)
@click.option(
    "--pools",
    metavar="POOL,…",
    shell_complete=frame.complete_pools,
    help="Try it in these pools alone; without it all pools try it.",
)
@click.option("--wait", "waits", is_flag=True, help="Then wait until it is deployed and there is enough evidence.")
@interval_option
@evidence_options
def command(
    call: Call, *, version: str, pools: str | None, waits: bool, interval_seconds: float, thresholds: Thresholds
) -> None:
    """Name the version that a stack tries.

    Which VMs try it is each pool's `canary`: so many VMs or so many percent of each group, or whole regions where a
    group can hold one version only. The edit is to be deployed as any other.
    """
    settings = call.settings()
    rollout = settings.rollout
    if version == rollout.stable:
        raise Problem(Exit.FAULT, f"{version} is the stable version of {call.stack}; name another one")
    if version not in settings.versions:
        raise Problem(Exit.FAULT, f"no version {version} in Pulumi.yaml, which lists {one_of(settings.versions)}")
    wanted = tuple(dict.fromkeys(word for word in (pools or "").split(",") if word))
    instead = f", in place of {rollout.canary}" if rollout.canary not in {None, version} else ""
    where = f" in {', '.join(wanted)} alone" if wanted else ""
    edit = prepare(call.root, file_of(call.stack), point(stable=rollout.stable, canary=version, pools=wanted))
    if version != settings.newest_version and edit.changes:
        call.note(
            f"warning: {version} is not the newest version; its boot bundle is only in the buckets of stacks that were "
            "deployed while it was"
        )
    tried = frame.settings_of(edit.stacks[0].after)
    trials = dict(_trials(tried))
    if all(which.startswith(NONE) for which in trials.values()):
        raise Problem(Exit.FAULT, f"no VM{where} would try {version}: {trials[wanted[0]] if wanted else NONE}")
    done = offer(
        call,
        edit,
        what=f"try {version} in stack {call.stack}{where}{instead}",
        already=f"{call.stack} tries {version}{where}",
        details=tuple(_details(trials)),
        facts={"version": version, "trials": trials},
        following=(f"deploy it; then scripts/rollout canary {version} --stack {call.stack}{_pools(wanted)} --wait",),
    )
    if waits and done:
        _wait(call, tried, version, thresholds, interval_seconds)


def _pools(wanted: tuple[str, ...]) -> str:
    return f" --pools {','.join(wanted)}" if wanted else ""


def _trials(settings: Settings) -> Iterator[tuple[str, str]]:
    """Which VMs of each pool run the version under trial."""
    only = settings.rollout.canary_pools
    for key in sorted(settings.pools):
        groups = [group for group in settings.groups(key) if group.canary]
        regions = ", ".join(group.region for group in groups)
        if not groups:
            yield (
                key,
                f"{NONE}: " + ("not among these pools" if only and key not in only else "BALANCED, in one region"),
            )
            continue
        match groups[0].canary_share:
            case None:
                yield key, f"all of region {regions}"
            case CanaryInstances(instances=count):
                yield key, f"{count} VM{'' if count == 1 else 's'} of each group ({regions})"
            case share:
                yield key, f"{share.percent} % of each group ({regions})"


def _details(trials: Mapping[str, str]) -> Iterator[str]:
    """Those that try it, a line each; the others in a line for each reason."""
    yield from (f"{pool}: {which}" for pool, which in trials.items() if not which.startswith(NONE))
    for reason in dict.fromkeys(which for which in trials.values() if which.startswith(NONE)):
        pools = ", ".join(pool for pool, which in trials.items() if which == reason)
        yield f"{NONE} of {pools}: {reason.removeprefix(f'{NONE}: ')}"


def _wait(call: Call, settings: Settings, version: str, thresholds: Thresholds, interval_seconds: float) -> None:
    """Drive the plan; how it ended is how the command ends."""
    from rollout.plans.canary import wait  # noqa: PLC0415 - the clients take a while to import, and few commands wait

    def waiting(stream: IO[str]) -> Coroutine[Any, Any, Report]:
        return wait(
            settings,
            version,
            root=call.root,
            thresholds=thresholds,
            stream=stream,
            interval_seconds=interval_seconds,
        )

    drive(call, waiting, (Exit.REFUSED, f"the evidence is against {version}, or too little"))
