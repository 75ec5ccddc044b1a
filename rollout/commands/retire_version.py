"""`scripts/rollout retire-version VERSION`: takes a version out of Pulumi.yaml, once nothing is of it any more."""

from __future__ import annotations

import asyncio

import click

from fleet.draft import parse
from fleet.errors import one_of
from fleet.settings import Settings
from fleet.versions import is_version_id, role
from rehearsal import stack_files
from rollout.commands import frame
from rollout.commands.editing import offer
from rollout.commands.frame import Call, Problem
from rollout.config.edit import PROJECT_FILE, prepare
from rollout.config.version_cut import retire
from rollout.exits import Exit
from rollout.view.seen import Known, Seen

_SHOWN = 5


@frame.command(
    "retire-version",
    stack="none",
    changes=True,
    examples=("scripts/rollout retire-version 2026-11-22",),
    exits=(Exit.FAILED, Exit.UNREACHABLE, Exit.REFUSED, Exit.DECLINED),
)
@click.argument("version", shell_complete=frame.complete_versions)
def command(call: Call, *, version: str) -> None:
    """Take a version out that nothing runs any more.

    It is refused while a stack runs, tries or keeps the version, and while a VM of any stack is of it. Its templates
    and images go with the next deployment.
    """
    if not is_version_id(version):
        raise Problem(Exit.FAULT, f"{version}: no version; allowed is YYYY-MM-DD, or YYYY-MM-DD-N")
    stacks = stack_files.stacks(call.root)
    listed: set[str] = set()
    for stack in stacks:
        draft, _ = parse(stack_files.read(call.root, stack).sections, stack, "")
        listed |= draft.declared.get("versions", set[str]())
        if draft.rollout and role(version, draft.rollout) != "unused":
            what = f"stack {stack} has it as {role(version, draft.rollout)}"
            raise Problem(Exit.REFUSED, f"{version} is in use: {what}; name another version there first")
    edit = prepare(call.root, PROJECT_FILE, retire(version))
    if edit.changes:
        for stack in stacks:
            _refuse_while_running(call, frame.settings_of(stack_files.read(call.root, stack)), version)
    offer(
        call,
        edit,
        what=f"take version {version} out",
        already=f"Pulumi.yaml lists no version {version}; it lists {one_of(listed)}",
        following=("commit and deploy it in every stack: its templates and images go then",),
        facts={"version": version},
    )


def ask_in_use(settings: Settings, version: str) -> Seen[tuple[str, ...]]:
    """The VMs that run a version now, asked of Google."""
    from rollout.plans.promotion import in_use  # noqa: PLC0415 - the clients take a while to import

    return asyncio.run(in_use(settings, version))


def _refuse_while_running(call: Call, settings: Settings, version: str) -> None:
    with call.progress(f"asking for VMs of {version} in {settings.environment}"):
        seen = ask_in_use(settings, version)
    if not isinstance(seen, Known):
        raise Problem(Exit.UNREACHABLE, f"whether a VM of {settings.environment} runs {version} is unknown: {seen.why}")
    if seen.value:
        more = f" and {len(seen.value) - _SHOWN} more" if len(seen.value) > _SHOWN else ""
        names = f"{', '.join(seen.value[:_SHOWN])}{more}"
        fix = f"scripts/rollout drain {settings.environment} retires those that are idle"
        raise Problem(Exit.REFUSED, f"{version} is in use in {settings.environment}: {names}; {fix}")
