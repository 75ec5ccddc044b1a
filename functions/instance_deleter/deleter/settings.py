"""What the deleter is told by its environment and by the fleet's table, read once at its start.

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
    """The deleter's settings. URLs have no slash at their end."""

    audience: str
    """The deleter's own URL, for which VMs ask their identity tokens."""
    permits_bucket: str
    """Where the ledgers lie."""
    demand_bucket: str
    """Where the demand listener says how many VMs it wants of each group."""
    fleet: Fleet
    compute_url: str
    storage_url: str
    certs_url: str


def load(environment: Mapping[str, str], beside: Path) -> Settings:
    """The settings of an environment; the table lies in the folder `beside` unless told. Raises SettingsError."""
    said = Variables(environment)
    return Settings(
        audience=said.url("DELETER_AUDIENCE"),
        permits_bucket=said.bucket("DELETER_PERMITS_BUCKET"),
        demand_bucket=said.bucket("DELETER_DEMAND_BUCKET"),
        fleet=said.fleet("DELETER_FLEET_FILE", beside),
        compute_url=said.url("DELETER_COMPUTE_URL", "https://compute.googleapis.com"),
        storage_url=said.url("DELETER_STORAGE_URL", "https://storage.googleapis.com"),
        certs_url=said.url("DELETER_CERTS_URL", "https://www.googleapis.com/oauth2/v3/certs"),
    )
