"""What the broker is told by its environment and by the fleet's table, read once at its start.

Anything missing or malformed ends the start with the variable's name, what was seen and what is allowed: a function
that cannot work must not come up. Plain dataclasses, because importing pydantic would take most of the cold start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .fleet_table import Fleet
from .variables import Variables


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
    said = Variables(environment)
    return Settings(
        audience=said.url("BROKER_AUDIENCE"),
        app_id=said.app_id("BROKER_APP_ID"),
        installation_id=said.installation_id("BROKER_INSTALLATION_ID"),
        app_key_secret=said.secret("BROKER_APP_KEY_SECRET"),
        grants_bucket=said.bucket("BROKER_GRANTS_BUCKET"),
        listener_bucket=said.bucket("BROKER_LISTENER_BUCKET"),
        boot_deadline_seconds=said.seconds("BROKER_BOOT_DEADLINE_SECONDS"),
        fleet=said.fleet("BROKER_FLEET_FILE", beside),
        github_url=said.url("BROKER_GITHUB_URL", "https://api.github.com"),
        github_web_url=said.url("BROKER_GITHUB_WEB_URL", "https://github.com"),
        compute_url=said.url("BROKER_COMPUTE_URL", "https://compute.googleapis.com"),
        storage_url=said.url("BROKER_STORAGE_URL", "https://storage.googleapis.com"),
        secrets_url=said.url("BROKER_SECRETS_URL", "https://secretmanager.googleapis.com"),
        certs_url=said.url("BROKER_CERTS_URL", "https://www.googleapis.com/oauth2/v3/certs"),
    )
