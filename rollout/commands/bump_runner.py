"""`scripts/rollout bump-runner [RELEASE]`: lists a release of actions/runner, with digests that are sure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import click

from fleet.draft import parse
from fleet.schema.machine_class import Arch
from fleet.schema.version import RunnerRelease
from fleet.versions import release_key
from rehearsal import stack_files
from rollout.commands import frame
from rollout.commands.editing import offer
from rollout.commands.frame import Call, Problem
from rollout.config.edit import PROJECT_FILE, prepare
from rollout.config.runner_release import ARCHITECTURES, archive, between, choose, judged, list_releases
from rollout.exits import Exit

if TYPE_CHECKING:
    from rollout.cloud.releases import Release

REPOSITORY: Final = "actions/runner"
_MEGABYTE: Final = 1_000_000


@frame.command(
    "bump-runner",
    stack="none",
    changes=True,
    examples=(
        "scripts/rollout bump-runner",
        "scripts/rollout bump-runner 2.338.0 --verify",
    ),
    exits=(Exit.FAILED, Exit.UNREACHABLE, Exit.REFUSED),
)
@click.argument("release", required=False)
@click.option("--verify", is_flag=True, help="Download both archives, about 200 MB each, and compare their digests.")
def command(call: Call, *, release: str | None, verify: bool) -> None:
    """List a runner release, the newest by default.

    A digest is written when the release's notes and GitHub's own digest of the file agree, for both architectures.
    Releases that came in between are listed by their day: it starts the deadline of the one before. Pre-releases are
    refused. The next version that is cut pins it.
    """
    table = _table(call)
    with call.progress("asking GitHub for the releases of actions/runner"):
        releases = asyncio.run(_releases())
    chosen = choose(releases, release)
    name = chosen.tag.removeprefix("v")
    downloaded = _downloaded(call, chosen) if verify else None
    found = [*between(releases, max(table, key=release_key), name), judged(chosen, downloaded)]
    for each in found:
        if each.release in table and (day := table[each.release].released) != each.released:
            call.note(f"warning: {each.release} is listed as of {day}, GitHub says {each.released}; the table stays so")
    offer(
        call,
        prepare(call.root, PROJECT_FILE, list_releases(found, table)),
        what=f"list {', '.join(each.release for each in found)}",
        already=f"{name} is listed, with both digests, as GitHub has them",
        asks=False,
        following=(f"scripts/rollout cut --runner {name}",),
        facts={
            "release": name,
            "released": found[-1].released.isoformat(),
            "sha256": dict(found[-1].sha256),
            "downloaded": verify,
        },
    )


def _table(call: Call) -> Mapping[str, RunnerRelease]:
    """The releases that are listed: all stacks share them."""
    stack = stack_files.stacks(call.root)[0]
    draft, _ = parse(stack_files.read(call.root, stack).sections, stack, "")
    if not draft.runner_releases:
        raise Problem(Exit.FAULT, f"{PROJECT_FILE} lists no runner release to add to; list a first one by hand")
    return draft.runner_releases


async def _releases() -> tuple[Release, ...]:
    from rollout.cloud.github import GitHub  # noqa: PLC0415 - it takes a while to import

    async with GitHub(REPOSITORY.partition("/")[0]) as github:
        return await github.releases(REPOSITORY)


def _downloaded(call: Call, release: Release) -> dict[Arch, str]:
    """The digests of the archives themselves, one after the other."""
    from rollout.config.download import sha256_of  # noqa: PLC0415 - the same

    found: dict[Arch, str] = {}
    for arch in ARCHITECTURES:
        asset = archive(release, arch)
        with call.progress(f"downloading {asset.name}") as more:
            found[arch] = asyncio.run(sha256_of(asset.url, asset.size, _megabytes(more, asset.size)))
    return found


def _megabytes(more: Callable[[str], None], size_bytes: int) -> Callable[[int], None]:
    return lambda seen: more(f"{seen / _MEGABYTE:,.0f} of {size_bytes / _MEGABYTE:,.0f} MB")
