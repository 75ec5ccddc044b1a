"""A job at GitHub, and which pools' labels it asks for. Pure."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleet.errors import nearest
from fleet.schema.pool import JobsScaling
from fleet.settings import Settings

_HOSTED: Final = re.compile(r"(ubuntu|windows|macos)-[a-z0-9._-]+", re.IGNORECASE)
"""GitHub's own runners are called like this ("GitHub-hosted runners reference", names of 2026)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSeen:
    """A job as GitHub tells it, with what its workflow run adds. What is empty was not told."""

    id: int
    name: str
    url: str
    repository: str
    """Without its owner."""
    status: str
    """queued, in_progress, completed; or waiting, pending, requested, while GitHub itself holds it back."""
    labels: tuple[str, ...]
    created: datetime.datetime
    runner: str = ""
    """The name of the runner that has it."""
    event: str = ""
    branch: str = ""
    """Of the head; for a tag's run the tag."""
    workflow: str = ""
    """The workflow's file, such as .github/workflows/ci.yml."""
    conclusion: str = ""

    @property
    def refs(self) -> tuple[str, ...]:
        """What `GITHUB_REF` may be: GitHub does not tell it beforehand, nor whether a name is a branch's or a tag's."""
        if self.event.startswith("pull_request") and self.event != "pull_request_target":
            return ("refs/pull/0/merge",)
        return (f"refs/heads/{self.branch}", f"refs/tags/{self.branch}") if self.branch else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """The pool whose labels fit best, and what is off."""

    pool: str
    off: tuple[str, ...]
    """Labels that the job asks for and the pool does not have."""
    meant: tuple[str, ...]
    """What each of them was most likely meant to be; empty where nothing is close."""


def offered(settings: Settings, pool: str) -> frozenset[str]:
    """All labels by which a pool's runners can be had, in lower case: GitHub compares them so."""
    own = {*settings.addressable_labels(pool)}
    if isinstance(settings.pools[pool].scaling, JobsScaling):
        own.add(settings.names.scale_set(pool))
    else:
        running = {settings.rollout.stable, settings.rollout.canary} - {None}
        own |= {label for version in running if version for label in settings.runner_labels(pool, version)}
    return frozenset(label.lower() for label in own)


def matching(settings: Settings, labels: Sequence[str]) -> tuple[str, ...]:
    """The pools that have every label that is asked for."""
    asked = {label.lower() for label in labels}
    return tuple(pool for pool in settings.pools if asked <= offered(settings, pool))


def closest(settings: Settings, labels: Sequence[str]) -> Nearest:
    """The pool that lacks the fewest of these labels; among equals the one whose labels are spelled most alike."""
    candidates = [_lacking(settings, pool, labels) for pool in settings.pools]
    return min(candidates, key=lambda each: (len(each.off), -sum(map(bool, each.meant)), each.pool))


def for_hosted_runners(labels: Sequence[str]) -> bool:
    """Whether all labels are names of GitHub's own runners."""
    return bool(labels) and all(_HOSTED.fullmatch(label) for label in labels)


def _lacking(settings: Settings, pool: str, labels: Sequence[str]) -> Nearest:
    there = offered(settings, pool)
    off = tuple(label for label in labels if label.lower() not in there)
    return Nearest(pool=pool, off=off, meant=tuple(_meant(label.lower(), there) for label in off))


def _meant(label: str, there: frozenset[str]) -> str:
    """The pool's own label of that key, where there is a key; else the one that is spelled most alike."""
    key, equals, _ = label.partition("=")
    same_key = sorted(each for each in there if equals and each.startswith(f"{key}="))
    return same_key[0] if same_key else nearest(label, there) or ""
