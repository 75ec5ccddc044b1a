"""`scripts/rollout cut [ID]`: adds a version to Pulumi.yaml that pins the boot bundle which the tree makes now.

A version is worth cutting even when all its pins stay: its templates are made anew, with the machine classes as they
are now. That takes an ID; without one there is nothing to cut when the newest version has these pins.
"""

from __future__ import annotations

import datetime
from typing import Any

import click

from fleet.draft import parse
from fleet.schema.machine_class import Arch
from fleet.versions import newest
from rehearsal import stack_files
from rollout.commands import frame
from rollout.commands.editing import offer
from rollout.commands.frame import Call, Problem
from rollout.config.edit import PROJECT_FILE, prepare
from rollout.config.version_cut import check_id, choose_release, cut, image_source, next_id
from rollout.exits import Exit
from startup import bundle


@frame.command(
    "cut",
    stack="none",
    changes=True,
    examples=(
        "scripts/rollout cut",
        "scripts/rollout cut 2026-11-30 --runner 2.337.0",
        "scripts/rollout cut --image gpu=projects/my-project/global/snapshots/gpu-2026-11-30",
    ),
    exits=(Exit.FAILED,),
)
@click.argument("version", metavar="[ID]", required=False)
@click.option(
    "--runner",
    metavar="RELEASE",
    shell_complete=frame.complete_releases,
    help="Pin this runner release, one of runner_releases; without it the newest that all pools can use.",
)
@click.option("--image", "images", metavar="KEY=SOURCE", multiple=True, help="Pin another image or snapshot.")
def command(call: Call, *, version: str | None, runner: str | None, images: tuple[str, ...]) -> None:
    """Add a version that pins this tree's boot bundle.

    ID is the day, such as 2026-11-30; a second one of that day is 2026-11-30-1. Without ID it is the next free one. The
    entry is a copy of the newest one, comments included; what is pinned differently is all that differs.
    """
    add_version(call, version=version, runner=runner, images=images)


def add_version(
    call: Call, *, version: str | None = None, runner: str | None = None, images: tuple[str, ...] = ()
) -> None:
    """What the command does, for those that go on to it. Raises Problem."""
    today = datetime.datetime.now(tz=datetime.UTC).date()
    listed, needed, releases = _known(call)
    last = newest(listed)
    if last is None:
        raise Problem(Exit.FAULT, "runner-fleet:versions lists no version to start from; add the first one by hand")
    chosen = choose_release(runner, releases, needed)
    old = listed[last]
    new = {
        "runner": chosen.release,
        "boot_bundle": bundle.build(call.root / "startup").digest,
        "images": {**old["images"], **dict(image_source(text) for text in images)},
    }
    same = version or last
    if listed.get(same) == new:
        call.say(f"already so: version {same} pins just that")
        if version is None:
            call.say("next: for an edit of a machine class, which needs no other pins: scripts/rollout cut ID")
        call.result({"version": same, "pins": new, "changes": False, "written": False})
        return
    version = version or next_id(listed, today)
    check_id(version, listed)
    if chosen.remark:
        call.note(f"warning: {chosen.remark}")
    offer(
        call,
        prepare(call.root, PROJECT_FILE, cut(version, last, old, new)),
        what=f"add version {version}: runner {new['runner']}, boot bundle {new['boot_bundle'][:19]}…",
        already="",
        asks=False,
        following=(f"scripts/rollout canary {version} --stack STACK tries it; cutting alone moves no VM",),
        facts={"version": version, "pins": new},
    )


def _known(call: Call) -> tuple[dict[str, Any], set[Arch], Any]:
    """The versions as plain data, the architectures that pools of any stack use, and the runner releases."""
    versions: dict[str, Any] = {}
    releases: dict[str, Any] = {}
    needed: set[Arch] = set()
    for stack in stack_files.stacks(call.root):
        sections = stack_files.read(call.root, stack).sections
        draft, _ = parse(sections, stack, "")
        versions |= {name: sections["versions"][name] for name in draft.versions}
        releases |= draft.runner_releases
        classes = draft.machine_classes
        needed |= {classes[p.machine_class].arch for p in draft.pools.values() if p.machine_class in classes}
    return versions, needed, releases
