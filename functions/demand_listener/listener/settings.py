"""What the listener is told by its environment and by the fleet's table, read once at its start.

Anything missing or malformed ends the start with the variable's name, what was seen and what is allowed: a function
that cannot work must not come up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import fleet_table
from .fleet_table import Fleet

_URL: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(?:/[A-Za-z0-9._~/-]*)?")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_SECRET: Final = re.compile(r"projects/[A-Za-z0-9:._-]+/secrets/[A-Za-z0-9_-]+/versions/[A-Za-z0-9]+")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,18}")
_APP: Final = re.compile(r"[1-9][0-9]{0,18}|Iv[A-Za-z0-9.]{1,40}")
_SECONDS: Final = re.compile(r"[1-9][0-9]{0,3}")


class SettingsError(Exception):
    """The environment is not as it must be. The text names the variable, what was seen and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The listener's settings. URLs have no slash at their end."""

    app_id: str
    installation_id: str
    app_key_secret: str
    """Secret version that holds the App's private key: projects/P/secrets/S/versions/V."""
    bucket: str
    serve_seconds: int
    """How long one request stands by and leads, all in all: less than what ends it from outside."""
    fleet: Fleet
    github_url: str
    """The web address, not the API's: what a scale set belongs to is named by a URL below it."""
    compute_url: str
    storage_url: str
    secrets_url: str
    monitoring_url: str

    @property
    def config_url(self) -> str:
        """What the scale sets belong to."""
        return f"{self.github_url}/{self.fleet.organization}"


def load(environment: Mapping[str, str], beside: Path) -> Settings:
    """The settings of an environment; the table lies in the folder `beside` unless told. Raises SettingsError."""
    table = Path(environment.get("LISTENER_FLEET_FILE") or beside / "fleet.json")
    try:
        fleet = fleet_table.parse(table.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"LISTENER_FLEET_FILE: {table} cannot be read ({type(error).__name__})") from None
    except fleet_table.TableError as error:
        raise SettingsError(f"LISTENER_FLEET_FILE: {table}: {error}") from None
    return Settings(
        app_id=_take(environment, "LISTENER_APP_ID", _APP, "a GitHub App's number or client id"),
        installation_id=_take(environment, "LISTENER_INSTALLATION_ID", _NUMBER, "the number of the App's installation"),
        app_key_secret=_take(
            environment, "LISTENER_APP_KEY_SECRET", _SECRET, "projects/PROJECT/secrets/NAME/versions/VERSION"
        ),
        bucket=_take(environment, "LISTENER_BUCKET", _BUCKET, "a bucket's name"),
        serve_seconds=int(_take(environment, "LISTENER_SERVE_SECONDS", _SECONDS, "seconds, from 1 to 9999")),
        fleet=fleet,
        github_url=_url(environment, "LISTENER_GITHUB_URL", "https://github.com"),
        compute_url=_url(environment, "LISTENER_COMPUTE_URL", "https://compute.googleapis.com"),
        storage_url=_url(environment, "LISTENER_STORAGE_URL", "https://storage.googleapis.com"),
        secrets_url=_url(environment, "LISTENER_SECRETS_URL", "https://secretmanager.googleapis.com"),
        monitoring_url=_url(environment, "LISTENER_MONITORING_URL", "https://monitoring.googleapis.com"),
    )


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
