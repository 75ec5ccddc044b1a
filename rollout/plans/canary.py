"""The plan that waits for a canary: deployed, online, jobs, error rate, bake time, verdict. It changes nothing.

The edit that names a canary is one, its deployment another matter; this drives neither, and watches what comes of them.
Its steps look until something is so (`rollout.plans.looks`), so it may be stopped at any point and resumed, or begun
anew, to the same result: all evidence lies in Cloud Logging and at Google, none in the run.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

from fleet.settings import Settings
from rollout.engine.report import Report
from rollout.engine.spec import AtLeast, Plan, Rule, Step
from rollout.plans.drive import Prepared, Recipe, drive
from rollout.plans.looks import CanaryLooks
from rollout.plans.shared_snapshot import INTERVAL_SECONDS
from rollout.plans.stack_settings import stack_settings
from rollout.view.evidence import Thresholds

BACKEND: Final = "fleet"
MARGIN_SECONDS: Final = 14 * 86_400
"""What a run may take beyond the bake time. Whoever waits for so long for a job has no use for the canary."""


def plan(settings: Settings, version: str, thresholds: Thresholds) -> Plan:
    """The plan for a version that the settings name as canary. Raises ValueError where no group tries it.

    A group of a pool that follows jobs has no VM until a job asks for one. So one canary VM anywhere is enough to begin
    with, and the other groups' steps end with the verdict at the latest.
    """
    groups = [
        (key, group)
        for key in settings.pools
        for group in settings.groups(key)
        if group.canary == version and group.most
    ]
    if not groups:
        raise ValueError(
            f"no group of {settings.environment} tries {version}; "
            f"scripts/rollout canary {version} --stack {settings.environment} names it as the canary"
        )
    deployed = [
        Step(
            id=f"deployed/{key}/{group.region}",
            title=f"{group.name} is set to it",
            group="deployed",
            backend=BACKEND,
            params={"look": "deployed", "group": group.name},
        )
        for key, group in groups
    ]
    online = [
        Step(
            id=f"online/{key}/{group.region}",
            title=f"a canary VM of {group.name} is online",
            group="online",
            backend=BACKEND,
            params={"look": "online", "group": group.name},
            needs=(f"deployed/{key}/{group.region}",),
        )
        for key, group in groups
    ]
    titles = {
        "jobs": f"{thresholds.jobs} jobs without a failed boot",
        "baked": f"{thresholds.bake_hours:g} hours since the first canary VM",
        "rate": "boots fail no more often than stable's",
        "verdict": f"enough evidence for {version}",
    }
    needs = {
        "jobs": tuple(step.id for step in online),
        "baked": tuple(step.id for step in online),
        "rate": ("jobs", "baked"),
        "verdict": ("rate", *(step.id for step in deployed)),
    }
    evidence = [
        Step(
            id=name,
            title=title,
            group="evidence",
            backend=BACKEND,
            params={"look": name},
            needs=needs[name],
            rule=AtLeast(steps=1) if name in {"jobs", "baked"} else Rule.ALL,
        )
        for name, title in titles.items()
    ]
    return Plan(
        name=f"canary {version} in {settings.environment}",
        steps=(*deployed, *online, *evidence),
        timeout_seconds=thresholds.bake_hours * 3600 + MARGIN_SECONDS,
    )


async def wait(
    settings: Settings,
    version: str,
    *,
    root: Path,
    thresholds: Thresholds | None = None,
    stream: IO[str] | None = None,
    run_id: str | None = None,
    interval_seconds: float | None = None,
) -> Report:
    """Wait for the verdict, shown on `stream`, kept in runs/<id>/. The report's verdict is the canary's.

    Raises ValueError where no group tries the version, before anything is written.
    """
    limits = thresholds or Thresholds()
    plan(settings, version, limits)
    arguments = {
        "stack": settings.environment,
        "version": version,
        "thresholds": {
            "jobs": limits.jobs,
            "jobs_each": limits.jobs_each,
            "bake_hours": limits.bake_hours,
            "most_failures": limits.most_failures,
        },
        "interval_seconds": INTERVAL_SECONDS if interval_seconds is None else interval_seconds,
    }
    recipe = Recipe(maker=f"{__name__}:made", arguments=arguments)
    return await drive(root, recipe, stream=stream or sys.stdout, run_id=run_id)


def made(root: Path, arguments: Mapping[str, Any]) -> Prepared:
    """The plan and its backend from a run's recipe, with the stack as its files say it now.

    Raises ConfigError and StackFileError for these, and ValueError where no group tries the version any more.
    """
    settings = stack_settings(root, arguments["stack"])
    thresholds = Thresholds(**arguments["thresholds"])
    seconds = float(arguments["interval_seconds"])
    looks = CanaryLooks(settings, arguments["version"], thresholds, interval_seconds=seconds)
    backend = looks.backend(first_seconds=seconds / 6, most_seconds=seconds * 2)
    return Prepared(plan=plan(settings, arguments["version"], thresholds), backends={BACKEND: backend})
