"""What the broker is told by its environment and by the fleet's table, read once at its start.

Anything missing or malformed ends the start with the variable's name, what was seen and what is allowed: a function
that cannot work must not come up. Plain dataclasses, because importing pydantic would take most of the cold start.
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
_DIGITS: Final = re.compile(r"[1-9][0-9]{0,18}")
_APP: Final = re.compile(r"[1-9][0-9]{0,18}|Iv[A-Za-z0-9.]{1,40}")
_SECRET: Final = re.compile(r"projects/[a-z0-9.:-]+/secrets/[A-Za-z0-9_-]{1,255}/versions/(?:latest|[1-9][0-9]*)")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")


class SettingsError(Exception):
    """The environment is not as it must be. The text names the variable, what was seen and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The broker's settings. URLs have no slash at their end."""

    audience: str
    """The broker's own URL, for which VMs ask their identity tokens."""
    app_id: str
    installation_id: str
    app_key_secret: str
    """Name of the secret version that holds the App's private key."""
    grants_bucket: str
    listener_bucket: str
    """Where the demand listener says what it sees of each pool."""
    boot_deadline_seconds: int
    fleet: Fleet
    github_url: str
    """Of the REST API."""
    github_web_url: str
    """Where people see GitHub; scale sets belong to an organisation's URL below it."""
    compute_url: str
    storage_url: str
    secrets_url: str
    certs_url: str


def load(environment: Mapping[str, str], beside: Path) -> Settings:
    """The settings of an environment; the table lies in the folder `beside` unless told. Raises SettingsError."""
    table = Path(environment.get("BROKER_FLEET_FILE") or beside / "fleet.json")
    try:
        fleet = fleet_table.parse(table.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"BROKER_FLEET_FILE: {table} cannot be read ({type(error).__name__})") from None
    except fleet_table.TableError as error:
        raise SettingsError(f"BROKER_FLEET_FILE: {table}: {error}") from None
    deadline = _take(environment, "BROKER_BOOT_DEADLINE_SECONDS", _DIGITS, "seconds, a whole number above 0")
    return Settings(
        audience=_url(environment, "BROKER_AUDIENCE"),
        app_id=_take(environment, "BROKER_APP_ID", _APP, "a GitHub App's number or client id"),
        installation_id=_take(environment, "BROKER_INSTALLATION_ID", _DIGITS, "the number of the App's installation"),
        app_key_secret=_take(
            environment, "BROKER_APP_KEY_SECRET", _SECRET, "projects/PROJECT/secrets/NAME/versions/VERSION"
        ),
        grants_bucket=_take(environment, "BROKER_GRANTS_BUCKET", _BUCKET, "a bucket's name"),
        listener_bucket=_take(environment, "BROKER_LISTENER_BUCKET", _BUCKET, "a bucket's name"),
        boot_deadline_seconds=int(deadline),
        fleet=fleet,
        github_url=_url(environment, "BROKER_GITHUB_URL", "https://api.github.com"),
        github_web_url=_url(environment, "BROKER_GITHUB_WEB_URL", "https://github.com"),
        compute_url=_url(environment, "BROKER_COMPUTE_URL", "https://compute.googleapis.com"),
        storage_url=_url(environment, "BROKER_STORAGE_URL", "https://storage.googleapis.com"),
        secrets_url=_url(environment, "BROKER_SECRETS_URL", "https://secretmanager.googleapis.com"),
        certs_url=_url(environment, "BROKER_CERTS_URL", "https://www.googleapis.com/oauth2/v3/certs"),
    )


def _url(environment: Mapping[str, str], name: str, default: str | None = None) -> str:
    if default is not None and name not in environment:
        return default
    return _take(environment, name, _URL, "a URL without query").rstrip("/")


def _take(environment: Mapping[str, str], name: str, form: re.Pattern[str], allowed: str) -> str:
    value = environment.get(name)
    if value is None:
        raise SettingsError(f"{name} is not set; allowed: {allowed}")
    if not form.fullmatch(value):
        raise SettingsError(f"{name} is {value!r}; allowed: {allowed}")
    return value
