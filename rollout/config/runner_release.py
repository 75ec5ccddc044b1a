"""What GitHub says of a release of actions/runner, and whether that is enough to install it by.

A digest goes into the table only when two sources agree on it: the release's notes, between markers such as
`BEGIN SHA linux-x64`, and the digest that GitHub computed of the file; or one of them and the file itself, downloaded.
Both architectures' or none. Pre-releases are refused: the original fleet's tool took whatever release was the newest.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from fleet.schema.machine_class import Arch
from fleet.schema.version import RunnerRelease
from fleet.versions import release_key
from rollout.cloud.releases import Asset, Release
from rollout.config.edit import Wanted, plain
from rollout.config.yaml_text import HandError, has, indentation, insert_after, set_value, written
from rollout.exits import Exit, Problem

SECTION: Final = ("config", "runner-fleet:runner_releases", "value")
ARCHITECTURES: Final[tuple[Arch, ...]] = get_args(Arch)
_RELEASE: Final = re.compile(r"\d+\.\d+\.\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A release as it is to be listed."""

    release: str
    released: datetime.date
    sha256: Mapping[Arch, str] = field(default_factory=dict[Arch, str])
    """Empty for one that is listed for its day alone, which starts the deadline of the one before it."""


def choose(releases: Iterable[Release], asked: str | None) -> Release:
    """The release asked for, or the newest. Raises Problem for a pre-release, a draft, and one that is not there."""
    listed = {each.tag.removeprefix("v"): each for each in releases}
    final = [name for name, each in listed.items() if _is_final(name, each)]
    if not final:
        raise Problem(Exit.UNREACHABLE, "GitHub lists no release of actions/runner; nothing was concluded from that")
    last = max(final, key=release_key)
    if asked is None:
        return listed[last]
    if asked not in listed:
        raise Problem(Exit.FAULT, f"{asked}: GitHub lists no such release of actions/runner; the newest is {last}")
    if asked not in final:
        raise Problem(Exit.REFUSED, f"{asked} is a pre-release of actions/runner; the newest release is {last}")
    return listed[asked]


def between(releases: Iterable[Release], newest_listed: str, chosen: str) -> list[Upstream]:
    """The releases that came between the table's newest and the chosen one: each starts its predecessor's deadline."""
    found = [
        Upstream(release=each.tag.removeprefix("v"), released=_day(each))
        for each in releases
        if _is_final(each.tag.removeprefix("v"), each)
        and release_key(newest_listed) < release_key(each.tag.removeprefix("v")) < release_key(chosen)
    ]
    return sorted(found, key=lambda each: release_key(each.release))


def archive(release: Release, arch: Arch) -> Asset:
    """The file for Linux on an architecture. Raises Problem where the release has none."""
    name = f"actions-runner-linux-{arch}-{release.tag.removeprefix('v')}.tar.gz"
    for asset in release.assets:
        if asset.name == name:
            return asset
    raise Problem(Exit.REFUSED, f"{release.tag} of actions/runner has no file {name}; nothing was written")


def judged(release: Release, downloaded: Mapping[Arch, str] | None) -> Upstream:
    """The release with the digests that two sources agree on. Raises Problem where they do not, or are not two.

    `downloaded` holds the digests of the files themselves, where they were fetched.
    """
    digests: dict[Arch, str] = {
        arch: _agreed(release, arch, downloaded[arch] if downloaded else "") for arch in ARCHITECTURES
    }
    return Upstream(release=release.tag.removeprefix("v"), released=_day(release), sha256=digests)


def list_releases(found: Iterable[Upstream], table: Mapping[str, RunnerRelease]) -> Wanted:
    """List releases; of those that are there, add the digests that are missing. Raises Problem where one differs.

    `table` is what is listed now. The day of a release that is listed stays as it is.
    """
    wanted = list(found)
    for each in wanted:
        if each.release in table:
            _refuse_other_digests(each, table[each.release])

    def change(text: str) -> str:
        for each in wanted:
            text = _listed(text, each)
        return text

    def meant(document: dict[str, Any]) -> None:
        listed = document[SECTION[0]][SECTION[1]][SECTION[2]]
        for each in wanted:
            entry = listed.setdefault(each.release, {"released": each.released})
            if each.sha256:
                entry["sha256"] = {**entry.get("sha256", {}), **each.sha256}

    by_hand = "; ".join(f"list {each.release}, released {each.released}, {written(each.sha256)}" for each in wanted)
    return Wanted(change=change, meant=meant, by_hand=by_hand)


def _agreed(release: Release, arch: Arch, downloaded: str) -> str:
    asset = archive(release, arch)
    said = re.findall(rf"BEGIN SHA linux-{arch}\W+([0-9a-fA-F]{{64}})\W+END SHA linux-{arch}\b", release.body)
    sources = {
        "the notes": said[0].lower() if len(said) == 1 else "",
        "GitHub's digest of the file": asset.digest.removeprefix("sha256:"),
        "the file": downloaded,
    }
    known = {source: digest for source, digest in sources.items() if digest}
    if len(said) > 1 or len(set(known.values())) > 1:
        which = "; ".join(f"{source}: {digest}" for source, digest in known.items()) or f"{len(said)} in the notes"
        raise Problem(
            Exit.REFUSED, f"the digests of {asset.name} do not agree: {which}; somebody has to look into that"
        )
    if len(known) < 2:
        source = ", ".join(known) or "nothing"
        fix = "look at the release" if downloaded else "--verify downloads the file and compares"
        raise Problem(Exit.REFUSED, f"only {source} tells the digest of {asset.name}, and two sources must: {fix}")
    return next(iter(known.values()))


def _refuse_other_digests(found: Upstream, entry: RunnerRelease) -> None:
    for arch, digest in found.sha256.items():
        listed = entry.sha256.get(arch, digest)
        if listed != digest:
            what = f"runner_releases has another digest of {found.release} for {arch}: {listed}, GitHub says {digest}"
            raise Problem(Exit.REFUSED, f"{what}; somebody has to look into that")


def _listed(text: str, found: Upstream) -> str:
    path = (*SECTION, found.release)
    if has(text, path):
        if found.sha256 and not has(text, (*path, "sha256")):
            return set_value(text, (*path, "sha256"), found.sha256)
        for arch, digest in found.sha256.items():
            if not has(text, (*path, "sha256", arch)):
                text = set_value(text, (*path, "sha256", arch), digest)
        return text
    before = _predecessor(text, found.release)
    margin = indentation(text, (*SECTION, before))
    lines = [f'{margin}"{found.release}":', f"{margin}  released: {found.released}"]
    if found.sha256:
        lines.append(f"{margin}  sha256:")
        lines += [f"{margin}    {arch}: {written(digest)}" for arch, digest in found.sha256.items()]
    return insert_after(text, (*SECTION, before), "\n".join(lines) + "\n")


def _predecessor(text: str, release: str) -> str:
    listed = plain(text)[SECTION[0]][SECTION[1]][SECTION[2]]
    older = [name for name in listed if release_key(name) < release_key(release)]
    if not older:
        raise HandError
    return max(older, key=release_key)


def _is_final(name: str, release: Release) -> bool:
    return bool(_RELEASE.fullmatch(name)) and not release.prerelease and not release.draft


def _day(release: Release) -> datetime.date:
    if release.published is None:
        raise Problem(Exit.REFUSED, f"GitHub does not say when {release.tag} of actions/runner was published")
    return datetime.datetime.fromtimestamp(release.published, tz=datetime.UTC).date()
