"""What an operator should know and may ignore at night. A warning never blocks; `--strict`, as CI uses it, does.

Everything that depends on the day is here, and nothing else reads a date.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator

from fleet import capacity
from fleet.settings import Settings
from fleet.trust import LEVELS
from fleet.versions import deadline, deadline_state, role


def warnings(settings: Settings, on: datetime.date, used_elsewhere: Collection[str]) -> tuple[str, ...]:
    """All warnings on a given day. `used_elsewhere` are the versions that other stacks run, try or keep."""
    return (
        *_deadlines(settings, on),
        *_unused(settings, used_elsewhere),
        *_open_levels(settings),
        *_quotas(settings),
    )


def _deadlines(settings: Settings, on: datetime.date) -> Iterator[str]:
    for version in (settings.rollout.stable, settings.rollout.canary):
        if version is None:
            continue
        release = settings.versions[version].runner
        due = deadline(release, settings.runner_releases)
        state = deadline_state(due, on)
        what = f"versions.{version}.runner: {release} ({role(version, settings.rollout)})"
        todo = "cut a version with a newer release (scripts/rollout cut) and roll it out"
        if due and state == "past":
            yield f"{what} is past its deadline of {due}: GitHub may give it no jobs; {todo}"
        elif due and state == "near":
            yield f"{what} must be replaced by {due}, in {(due - on).days} days; {todo}"


def _unused(settings: Settings, used_elsewhere: Collection[str]) -> Iterator[str]:
    for version in sorted(settings.versions):
        if version == settings.newest_version or version in used_elsewhere:
            continue  # the newest was just cut: its canary is the next edit
        if role(version, settings.rollout) == "unused":
            yield f"versions.{version}: no stack runs, tries or keeps it; remove it, or name it under rollout.keep"


def _open_levels(settings: Settings) -> Iterator[str]:
    """A runner group without a list of workflows takes jobs from a pull request's own workflow file."""
    for level, trust in sorted(settings.trust_levels.items()):
        if LEVELS[level].rank > 0 and not trust.workflows:
            yield (
                f"trust_levels.{level}.workflows: none is listed, so any workflow of its repositories, a pull "
                "request's too, may ask for its runners; list those of the main branch as "
                "OWNER/REPO/.github/workflows/FILE.yml@refs/heads/main"
            )


def _quotas(settings: Settings) -> Iterator[str]:
    peak = capacity.by_region(settings.sized_groups(), "max")
    for region, quota in sorted(settings.google.quotas.items()):
        needed = peak.get(region, capacity.Capacity())
        at = f"google.quotas.{region}"
        if quota.vcpu is not None and needed.vcpu > quota.vcpu:
            yield f"{at}.vcpu: the fleet's peak of {needed.vcpu} vCPUs is above the quota of {quota.vcpu}"
        for gpu, limit in sorted(quota.gpu.items()):
            if needed.gpu[gpu] > limit:
                yield f"{at}.gpu.{gpu}: the fleet's peak of {needed.gpu[gpu]} is above the quota of {limit}"
