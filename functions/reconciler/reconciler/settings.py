"""What the reconciler is told by its environment and by the fleet's table, read once at its start.

Anything missing or malformed ends the start with the variable's name, what was seen and what is allowed: a function
that cannot work must not come up, least of all one that deletes. Whether it may act has no default.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from .fleet_table import Fleet
from .limits import Limits
from .variables import SettingsError, Variables

_PERCENT: Final = re.compile(r"[1-9][0-9]?|100")
_SWITCH: Final = re.compile(r"true|false")
_RELEASE: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The reconciler's settings. URLs have no slash at their end."""

    app_id: str
    installation_id: str
    app_key_secret: str
    """Name of the secret version that holds the App's private key."""
    bucket: str
    """Its own: sightings and reports."""
    grants_bucket: str
    permits_bucket: str
    listener_bucket: str
    limits: Limits
    fleet: Fleet
    github_url: str
    compute_url: str
    storage_url: str
    secrets_url: str
    monitoring_url: str


def load(environment: Mapping[str, str], beside: Path) -> Settings:
    """The settings of an environment; the table lies in the folder `beside` unless told. Raises SettingsError."""
    said = Variables(environment)
    limits = Limits(
        dry_run=said.text("RECONCILER_DRY_RUN", _SWITCH, "true or false") == "true",
        most_percent=int(said.text("RECONCILER_MOST_PERCENT", _PERCENT, "a whole number from 1 to 100")),
        boot_deadline_seconds=said.seconds("RECONCILER_BOOT_DEADLINE_SECONDS"),
        max_run_seconds=said.seconds("RECONCILER_MAX_RUN_SECONDS"),
        runner_releases=_releases(environment, "RECONCILER_RUNNER_RELEASES"),
    )
    return Settings(
        app_id=said.app_id("RECONCILER_APP_ID"),
        installation_id=said.installation_id("RECONCILER_INSTALLATION_ID"),
        app_key_secret=said.secret("RECONCILER_APP_KEY_SECRET"),
        bucket=said.bucket("RECONCILER_BUCKET"),
        grants_bucket=said.bucket("RECONCILER_GRANTS_BUCKET"),
        permits_bucket=said.bucket("RECONCILER_PERMITS_BUCKET"),
        listener_bucket=said.bucket("RECONCILER_LISTENER_BUCKET"),
        limits=limits,
        fleet=said.fleet("RECONCILER_FLEET_FILE", beside),
        github_url=said.url("RECONCILER_GITHUB_URL", "https://api.github.com"),
        compute_url=said.url("RECONCILER_COMPUTE_URL", "https://compute.googleapis.com"),
        storage_url=said.url("RECONCILER_STORAGE_URL", "https://storage.googleapis.com"),
        secrets_url=said.url("RECONCILER_SECRETS_URL", "https://secretmanager.googleapis.com"),
        monitoring_url=said.url("RECONCILER_MONITORING_URL", "https://monitoring.googleapis.com"),
    )


def _releases(environment: Mapping[str, str], name: str) -> Mapping[str, datetime.date]:
    allowed = 'a JSON object of release to date, such as {"2.336.0": "2026-07-20"}'
    text = environment.get(name)
    if text is None:
        raise SettingsError(f"{name} is not set; allowed: {allowed}")
    try:
        said: Any = json.loads(text)
        entries = cast("dict[str, str]", said).items()
        releases = {release: datetime.date.fromisoformat(date) for release, date in entries}
    except (ValueError, RecursionError, TypeError, AttributeError):
        raise SettingsError(f"{name} is {text!r}; allowed: {allowed}") from None
    if not all(_RELEASE.fullmatch(release) for release in releases):
        raise SettingsError(f"{name} is {text!r}; allowed: {allowed}")
    return releases
