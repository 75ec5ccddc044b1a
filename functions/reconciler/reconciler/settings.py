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

from . import fleet_table
from .fleet_table import Fleet
from .limits import Limits

_URL: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(?:/[A-Za-z0-9._~/-]*)?")
_DIGITS: Final = re.compile(r"[1-9][0-9]{0,18}")
_PERCENT: Final = re.compile(r"[1-9][0-9]?|100")
_APP: Final = re.compile(r"[1-9][0-9]{0,18}|Iv[A-Za-z0-9.]{1,40}")
_SECRET: Final = re.compile(r"projects/[a-z0-9.:-]+/secrets/[A-Za-z0-9_-]{1,255}/versions/(?:latest|[1-9][0-9]*)")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_SWITCH: Final = re.compile(r"true|false")
_RELEASE: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")


class SettingsError(Exception):
    """The environment is not as it must be. The text names the variable, what was seen and what is allowed."""


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
    table = Path(environment.get("RECONCILER_FLEET_FILE") or beside / "fleet.json")
    try:
        fleet = fleet_table.parse(table.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"RECONCILER_FLEET_FILE: {table} cannot be read ({type(error).__name__})") from None
    except fleet_table.TableError as error:
        raise SettingsError(f"RECONCILER_FLEET_FILE: {table}: {error}") from None
    seconds = "seconds, a whole number above 0"
    limits = Limits(
        dry_run=_take(environment, "RECONCILER_DRY_RUN", _SWITCH, "true or false") == "true",
        most_percent=int(_take(environment, "RECONCILER_MOST_PERCENT", _PERCENT, "a whole number from 1 to 100")),
        boot_deadline_seconds=int(_take(environment, "RECONCILER_BOOT_DEADLINE_SECONDS", _DIGITS, seconds)),
        max_run_seconds=int(_take(environment, "RECONCILER_MAX_RUN_SECONDS", _DIGITS, seconds)),
        runner_releases=_releases(environment, "RECONCILER_RUNNER_RELEASES"),
    )
    return Settings(
        app_id=_take(environment, "RECONCILER_APP_ID", _APP, "a GitHub App's number or client id"),
        installation_id=_take(
            environment, "RECONCILER_INSTALLATION_ID", _DIGITS, "the number of the App's installation"
        ),
        app_key_secret=_take(
            environment, "RECONCILER_APP_KEY_SECRET", _SECRET, "projects/PROJECT/secrets/NAME/versions/VERSION"
        ),
        bucket=_take(environment, "RECONCILER_BUCKET", _BUCKET, "a bucket's name"),
        grants_bucket=_take(environment, "RECONCILER_GRANTS_BUCKET", _BUCKET, "a bucket's name"),
        permits_bucket=_take(environment, "RECONCILER_PERMITS_BUCKET", _BUCKET, "a bucket's name"),
        listener_bucket=_take(environment, "RECONCILER_LISTENER_BUCKET", _BUCKET, "a bucket's name"),
        limits=limits,
        fleet=fleet,
        github_url=_url(environment, "RECONCILER_GITHUB_URL", "https://api.github.com"),
        compute_url=_url(environment, "RECONCILER_COMPUTE_URL", "https://compute.googleapis.com"),
        storage_url=_url(environment, "RECONCILER_STORAGE_URL", "https://storage.googleapis.com"),
        secrets_url=_url(environment, "RECONCILER_SECRETS_URL", "https://secretmanager.googleapis.com"),
        monitoring_url=_url(environment, "RECONCILER_MONITORING_URL", "https://monitoring.googleapis.com"),
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


def _url(environment: Mapping[str, str], name: str, default: str) -> str:
    if name not in environment:
        return default
    return _take(environment, name, _URL, "a URL without query").rstrip("/")


def _take(environment: Mapping[str, str], name: str, form: re.Pattern[str], allowed: str) -> str:
    value = environment.get(name)
    if value is None:
        raise SettingsError(f"{name} is not set; allowed: {allowed}")
    if not form.fullmatch(value):
        raise SettingsError(f"{name} is {value!r}; allowed: {allowed}")
    return value
