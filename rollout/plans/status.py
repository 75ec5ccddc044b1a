"""Gathers what `status` shows: the fleet, judged, and the canary's evidence. It only looks."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack

from fleet.settings import Settings
from rollout.cloud.github import GitHub
from rollout.cloud.google import Google
from rollout.plans.promotion import evidence_of, judged
from rollout.view.evidence import Evidence, Thresholds
from rollout.view.fleet_view import view
from rollout.view.gather import gather, opened, utc_now
from rollout.view.seen import Known, Unknown
from rollout.view.status_page import Page


async def status_page(
    settings: Settings,
    *,
    other_prefixes: Collection[str] = (),
    thresholds: Thresholds | None = None,
    now: Callable[[], datetime.datetime] = utc_now,
) -> Page:
    """What `status` shows. Raises nothing that a service did: it is in the page."""
    limits = thresholds or Thresholds()
    canary = settings.rollout.canary
    async with AsyncExitStack() as stack:
        google = await opened(stack, Google(settings.google.project))
        github = await opened(stack, GitHub(settings.github.organization))
        snapshot = await gather(settings, google, github, other_prefixes=other_prefixes, now=now)
        found: Evidence | None = None
        if canary and isinstance(google, Unknown):
            found = judged(settings, canary, google, snapshot, thresholds=limits, now=snapshot.at)
        elif canary and isinstance(google, Google):
            found = await evidence_of(settings, canary, google, snapshot, thresholds=limits)
    reconciled = snapshot.reconciled
    return Page(
        fleet=view(settings, snapshot),
        evidence=found,
        reconciled=reconciled.value if isinstance(reconciled, Known) else None,
    )
