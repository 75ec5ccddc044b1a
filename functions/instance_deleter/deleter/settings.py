"""What the deleter is told by its environment and by the fleet's table, read once at its start.

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
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")


class SettingsError(Exception):
    """The environment is not as it must be. The text names the variable, what was seen and what is allowed."""


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
    table = Path(environment.get("DELETER_FLEET_FILE") or beside / "fleet.json")
    try:
        fleet = fleet_table.parse(table.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"DELETER_FLEET_FILE: {table} cannot be read ({type(error).__name__})") from None
    except fleet_table.TableError as error:
        raise SettingsError(f"DELETER_FLEET_FILE: {table}: {error}") from None
    return Settings(
        audience=_url(environment, "DELETER_AUDIENCE"),
        permits_bucket=_take(environment, "DELETER_PERMITS_BUCKET", _BUCKET, "a bucket's name"),
        demand_bucket=_take(environment, "DELETER_DEMAND_BUCKET", _BUCKET, "a bucket's name"),
        fleet=fleet,
        compute_url=_url(environment, "DELETER_COMPUTE_URL", "https://compute.googleapis.com"),
        storage_url=_url(environment, "DELETER_STORAGE_URL", "https://storage.googleapis.com"),
        certs_url=_url(environment, "DELETER_CERTS_URL", "https://www.googleapis.com/oauth2/v3/certs"),
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
