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

from .fleet_table import Fleet
from .variables import Variables

_SECONDS: Final = re.compile(r"[1-9][0-9]{0,3}")


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
    said = Variables(environment)
    return Settings(
        app_id=said.app_id("LISTENER_APP_ID"),
        installation_id=said.installation_id("LISTENER_INSTALLATION_ID"),
        app_key_secret=said.secret("LISTENER_APP_KEY_SECRET"),
        bucket=said.bucket("LISTENER_BUCKET"),
        serve_seconds=int(said.text("LISTENER_SERVE_SECONDS", _SECONDS, "seconds, from 1 to 9999")),
        fleet=said.fleet("LISTENER_FLEET_FILE", beside),
        github_url=said.url("LISTENER_GITHUB_URL", "https://github.com"),
        compute_url=said.url("LISTENER_COMPUTE_URL", "https://compute.googleapis.com"),
        storage_url=said.url("LISTENER_STORAGE_URL", "https://storage.googleapis.com"),
        secrets_url=said.url("LISTENER_SECRETS_URL", "https://secretmanager.googleapis.com"),
        monitoring_url=said.url("LISTENER_MONITORING_URL", "https://monitoring.googleapis.com"),
    )
