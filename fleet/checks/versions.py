"""Versions and the rollout: pins that exist, that GitHub still registers, and that match the tree."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fleet.draft import Draft
from fleet.errors import Fault, show, unknown_name
from fleet.versions import REGISTRATION_FLOOR, below_floor, is_version_id, newest

CUT = "scripts/rollout cut"
_RELEASE = re.compile(r"\d+\.\d+\.\d+")


def version_faults(draft: Draft) -> Iterator[Fault]:
    """Faults of the release table, of every version, and of the pointers at versions."""
    for release in sorted(draft.declared.get("runner_releases", ())):
        if not _RELEASE.fullmatch(release):
            fix = 'write it in quotes, such as "2.337.0"'
            yield Fault(("runner_releases", release), show(release), "a release of actions/runner, X.Y.Z", fix)
    named = {name for name in draft.declared.get("versions", ()) if is_version_id(name)}
    for name in sorted(draft.declared.get("versions", set[str]()) - named):
        fix = f"name it by the day it was cut; {CUT} does"
        yield Fault(("versions", name), show(name), "YYYY-MM-DD, or YYYY-MM-DD-N from the second of a day", fix)
    yield from _pins(draft)
    yield from _newest_is_the_tree(draft, named)
    yield from _pointers(draft)


def _pins(draft: Draft) -> Iterator[Fault]:
    for name, version in draft.versions.items():
        at = ("versions", name, "runner")
        if version.runner not in draft.declared.get("runner_releases", ()):
            yield unknown_name(at, version.runner, draft.declared.get("runner_releases", ()), "runner release")
        elif below_floor(version.runner):
            fix = f"cut a version with a newer release: {CUT}"
            yield Fault(at, show(version.runner), f"{REGISTRATION_FLOOR} or newer: GitHub registers no older one", fix)


def _newest_is_the_tree(draft: Draft, named: set[str]) -> Iterator[Fault]:
    last = newest(dict.fromkeys(named))
    if last is None or last not in draft.versions:
        return
    pinned = draft.versions[last].boot_bundle
    if pinned != draft.tree_bundle:
        yield Fault(
            ("versions", last, "boot_bundle"),
            f"{show(pinned)}, while startup/ makes {draft.tree_bundle}",
            "the newest version pins what the tree holds: no edit of startup/ may be forgotten or reach stable alone",
            f"cut a new version ({CUT}), or take the edit of startup/ back",
        )


def _pointers(draft: Draft) -> Iterator[Fault]:
    rollout = draft.rollout
    if rollout is None:
        return
    declared = draft.declared.get("versions", set[str]())
    for key, version in (("stable", rollout.stable), ("canary", rollout.canary)):
        if version is not None and version not in declared:
            yield unknown_name(("rollout", key), version, declared, "version")
    for version in rollout.keep:
        if version not in declared:
            yield unknown_name(("rollout", "keep"), version, declared, "version")
    pools = draft.declared.get("pools", set[str]())
    for pool in rollout.canary_pools:
        if pool not in pools:
            yield unknown_name(("rollout", "canary_pools"), pool, pools, "pool")
    if rollout.canary_pools and rollout.canary is None:
        seen = f"{show(list(rollout.canary_pools))} without a canary"
        yield Fault(("rollout", "canary_pools"), seen, "pools that try a canary", "remove canary_pools")
    if rollout.canary is not None and rollout.canary == rollout.stable:
        allowed = "a version other than stable, or null"
        yield Fault(("rollout", "canary"), f"{show(rollout.canary)}, the stable version", allowed, "write null")
