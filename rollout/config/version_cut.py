"""A new version: a copy of the newest one with other pins, right below it, comments included."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from fleet.errors import one_of
from fleet.schema.machine_class import Arch
from fleet.schema.version import RunnerRelease
from fleet.versions import below_floor, deadline, is_version_id, newest, release_key, version_key
from rollout.config.edit import Wanted
from rollout.config.yaml_text import entry, has, insert_after, remove, rename, set_value, written
from rollout.exits import Exit, Problem

SECTION: Final = ("config", "runner-fleet:versions", "value")

Pins = Mapping[str, Any]
"""A version as plain data: runner, boot_bundle, images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A runner release for a new version, and what should be said about it."""

    release: str
    remark: str = ""


def next_id(listed: Collection[str], today: datetime.date) -> str:
    """The first free id of that day, or of the newest version's where that is a later one."""
    day = today.isoformat()
    last = newest(dict.fromkeys(listed))
    if last is None or version_key(day) > version_key(last):
        return day
    day, count = version_key(last)
    return f"{day}-{count + 1}"


def check_id(version: str, listed: Collection[str]) -> None:
    """Raise Problem for an id that cannot be the newest one's."""
    if not is_version_id(version):
        what = f"ID {version}: allowed is YYYY-MM-DD, or YYYY-MM-DD-N, N from 1 to 99, from the second of a day"
        raise Problem(Exit.FAULT, what)
    last = newest(dict.fromkeys(listed))
    if last is not None and version_key(version) <= version_key(last):
        day, count = version_key(last)
        reason = "exists, and versions are immutable" if version in listed else f"sorts before the newest, {last}"
        raise Problem(Exit.FAULT, f"ID {version}: {reason}; the next free one is {day}-{count + 1}")


def choose_release(asked: str | None, releases: Mapping[str, RunnerRelease], needed: Collection[Arch]) -> Chosen:
    """The release asked for, or the newest that GitHub registers and that has a digest for every architecture.

    Raises Problem for one that no runner could be installed from.
    """
    ordered = sorted(releases, key=release_key, reverse=True)
    if asked is None:
        release = next((name for name in ordered if not _objection(name, releases, needed)), None)
        if release is None:
            raise Problem(
                Exit.FAULT, f"no release of runner_releases will do: {_objection(ordered[0], releases, needed)}"
            )
    else:
        release = asked
        objection = _objection(release, releases, needed)
        if objection:
            raise Problem(Exit.FAULT, f"--runner {objection}")
    if release == ordered[0]:
        return Chosen(release=release)
    why = _objection(ordered[0], releases, needed) if asked is None else f"{ordered[0]} is"
    due = f"GitHub may give it no jobs after {deadline(release, releases)}"
    return Chosen(release=release, remark=f"{release} is not the newest release of runner_releases: {why}; {due}")


def _objection(release: str, releases: Mapping[str, RunnerRelease], needed: Collection[Arch]) -> str:
    """Why no version can be cut with a release; empty where one can."""
    if release not in releases:
        listed = one_of(releases)
        return f"{release}: not in runner_releases, which lists {listed}; scripts/rollout bump-runner {release} adds it"
    if below_floor(release):
        return f"{release}: GitHub does not register it any more"
    missing = sorted(set(needed) - set(releases[release].sha256))
    if missing:
        which = ", ".join(missing)
        fix = f"scripts/rollout bump-runner {release} adds it"
        return f"{release}: runner_releases has no digest of it for {which}; {fix}"
    return ""


def image_source(text: str) -> tuple[str, dict[str, str]]:
    """KEY=SOURCE, SOURCE being projects/P/global/images/I or projects/P/global/snapshots/S, as key and pin."""
    key, equals, source = text.partition("=")
    kinds = {"images": "source_image", "snapshots": "source_snapshot"}
    parts = source.split("/")
    if not key or not equals or len(parts) != 5 or parts[3] not in kinds:
        allowed = "KEY=projects/PROJECT/global/images/IMAGE, or …/global/snapshots/SNAPSHOT"
        raise Problem(Exit.FAULT, f"--image {text}: allowed is {allowed}")
    return key, {kinds[parts[3]]: source}


def cut(version: str, last: str, old: Pins, new: Pins) -> Wanted:
    """Add a version that differs from the newest one, `last`, in what `old` and `new` differ in."""

    def change(text: str) -> str:
        lines = rename(entry(text, (*SECTION, last)), (last,), version)
        for key in ("runner", "boot_bundle"):
            if old[key] != new[key]:
                lines = set_value(lines, (version, key), new[key])
        for key, source in cast("Mapping[str, Mapping[str, str]]", new["images"]).items():
            if old["images"].get(key) != source:
                lines = _with_image(lines, (version, "images", key), source)
        return insert_after(text, (*SECTION, last), lines)

    def meant(document: dict[str, Any]) -> None:
        document[SECTION[0]][SECTION[1]][SECTION[2]][version] = dict(new)

    return Wanted(change=change, meant=meant, by_hand=f"copy the entry {last} as {version}, with {written(new)}")


def retire(version: str) -> Wanted:
    """Take a version out."""

    def meant(document: dict[str, Any]) -> None:
        document[SECTION[0]][SECTION[1]][SECTION[2]].pop(version, None)

    return Wanted(
        change=lambda text: remove(text, (*SECTION, version)), meant=meant, by_hand=f"remove versions.{version}"
    )


def _with_image(lines: str, path: tuple[str, ...], source: Mapping[str, str]) -> str:
    """Pin another image: in the entry that is there, whichever of the two kinds it names."""
    ((kind, value),) = source.items()
    other = {"source_image": "source_snapshot", "source_snapshot": "source_image"}[kind]
    if not has(lines, path):
        return set_value(lines, path, source)
    if has(lines, (*path, other)):
        lines = rename(lines, (*path, other), kind)
    return set_value(lines, (*path, kind), value)
