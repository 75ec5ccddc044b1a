"""Trust levels: nothing shared by two, and no event on a trusted one that a stranger can cause."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fleet.catalog.github_events import EVENTS
from fleet.draft import Draft
from fleet.errors import Fault, Path, did_you_mean, one_of, show, unknown_name
from fleet.naming import Names
from fleet.schema.trust_level import TrustSettings
from fleet.trust import LEVELS, Rights

_REF = re.compile(r"refs/[^\s~^:?\[\\]+")
_WORKFLOW = re.compile(r"[\w.-]+/[\w.-]+/\.github/workflows/[\w./-]+\.ya?ml@\S+")


def trust_faults(draft: Draft) -> Iterator[Fault]:
    """Faults of each level, then of what two levels share."""
    for level in sorted(draft.declared.get("trust_levels", ())):
        if level not in LEVELS:
            yield unknown_name(("trust_levels", level), level, LEVELS, "trust level")
    for level, settings in draft.trust_levels.items():
        at = ("trust_levels", level)
        if level in LEVELS:
            yield from _events((*at, "allowed_events"), level, LEVELS[level], settings)
        for ref in settings.allowed_refs:
            if not _REF.fullmatch(ref):
                fix = f"write refs/heads/{ref}" if "/" not in ref else "write the full ref"
                yield Fault((*at, "allowed_refs"), show(ref), "a full ref such as refs/heads/main", fix)
        for workflow in settings.workflows:
            if not _WORKFLOW.fullmatch(workflow):
                allowed = "OWNER/REPO/.github/workflows/FILE.yml@REF"
                yield Fault((*at, "workflows"), show(workflow), allowed, "write the full path and ref")
    yield from _shared(draft)


def _events(at: Path, level: str, rights: Rights, settings: TrustSettings) -> Iterator[Fault]:
    if settings.allowed_events == "any":
        if rights.events != EVENTS:
            allowed = f"a list out of {one_of(rights.events)}"
            yield Fault(at, '"any"', allowed, f"list the events that may reach {level}")
        return
    for event in settings.allowed_events:
        if event not in EVENTS:
            fix = did_you_mean(event, EVENTS, "remove it")
            yield Fault(at, f"{show(event)}, an event that GitHub does not have", one_of(rights.events), fix)
        elif event not in rights.events:
            seen = f"{show(event)}, which untrusted code or people can cause"
            yield Fault(at, seen, f"at level {level} only {one_of(rights.events)}", "remove it")


def _shared(draft: Draft) -> Iterator[Fault]:
    groups: dict[str, str] = {}
    for level, settings in draft.trust_levels.items():
        # GitHub compares group names without case.
        owner = groups.setdefault(settings.runner_group.lower(), level)
        if owner != level:
            seen = f"{show(settings.runner_group)}, which {owner} has"
            allowed = "a runner group of its own for each level"
            yield Fault(("trust_levels", level, "runner_group"), seen, allowed, f"name it {level}")
    if draft.names is not None:
        yield from _shared_buckets(draft, draft.names)


def _shared_buckets(draft: Draft, names: Names) -> Iterator[Fault]:
    """Whatever one level writes must never be what another reads as its own: all buckets are told apart."""
    owners = {names.boot_bucket: "the boot bundles"}
    owners |= {names.cache_bucket(level): f"{level}'s cache" for level in draft.trust_levels}
    # First the names that levels have by default, so that the fault is where a name was written.
    for level, settings in sorted(draft.trust_levels.items(), key=lambda item: item[1].artifacts.bucket is not None):
        bucket = names.artifact_bucket(level, settings.artifacts.bucket)
        owner = owners.setdefault(bucket, f"{level}'s artifacts")
        if owner != f"{level}'s artifacts":
            seen = f"{show(bucket)}, which holds {owner}"
            allowed = "a bucket of its own: what presubmit writes must never be read as trusted"
            fix = "leave it out, and one is named for the level"
            yield Fault(("trust_levels", level, "artifacts", "bucket"), seen, allowed, fix)
