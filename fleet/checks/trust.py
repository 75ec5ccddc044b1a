"""Trust levels: nothing shared by two, and no event on a trusted one that a stranger can cause."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fleet.catalog.github_events import EVENTS
from fleet.draft import Draft
from fleet.errors import Fault, Path, nearest, one_of, show, unknown_name
from fleet.schema.trust_level import TrustSettings
from fleet.trust import LEVELS, Rights

_REF = re.compile(r"^refs/[^\s~^:?\[\\]+$")
_WORKFLOW = re.compile(r"^[\w.-]+/[\w.-]+/\.github/workflows/[\w./-]+\.ya?ml@\S+$")


def trust_faults(draft: Draft) -> Iterator[Fault]:
    """Faults of each level, then of what two levels share."""
    for level in draft.declared.get("trust_levels", ()):
        if level not in LEVELS:
            yield unknown_name(("trust_levels", level), level, LEVELS, "trust level")
    for level, settings in draft.trust_levels.items():
        at = ("trust_levels", level)
        if level in LEVELS:
            yield from _events((*at, "allowed_events"), level, LEVELS[level], settings)
        for ref in settings.allowed_refs:
            if not _REF.match(ref):
                fix = f"write refs/heads/{ref}" if "/" not in ref else "write the full ref"
                yield Fault((*at, "allowed_refs"), show(ref), "a full ref such as refs/heads/main", fix)
        for workflow in settings.workflows:
            if not _WORKFLOW.match(workflow):
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
            guess = nearest(event, EVENTS)
            fix = f"did you mean {guess}?" if guess else "remove it"
            yield Fault(at, f"{show(event)}, an event that GitHub does not have", one_of(rights.events), fix)
        elif event not in rights.events:
            seen = f"{show(event)}, which untrusted code or people can cause"
            yield Fault(at, seen, f"at level {level} only {one_of(rights.events)}", "remove it")


def _shared(draft: Draft) -> Iterator[Fault]:
    groups: dict[str, str] = {}
    buckets: dict[str, str] = {}
    for level, settings in draft.trust_levels.items():
        at = ("trust_levels", level)
        # GitHub compares group names without case.
        group = settings.runner_group.lower()
        if group in groups:
            seen = f"{show(settings.runner_group)}, which {groups[group]} has"
            yield Fault((*at, "runner_group"), seen, "a runner group of its own for each level", f"name it {level}")
        groups.setdefault(group, level)
        bucket = settings.artifacts.bucket
        if bucket is not None and bucket in buckets:
            seen = f"{show(bucket)}, which {buckets[bucket]} has"
            allowed = "a bucket of its own for each level: what presubmit writes must never be read as trusted"
            yield Fault((*at, "artifacts", "bucket"), seen, allowed, "leave it out, and one is named for the level")
        if bucket is not None:
            buckets.setdefault(bucket, level)
