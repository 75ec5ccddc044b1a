"""How the functions are deployed here: the environment of each, and what it is made of."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import broker.app
import broker.identity
import broker.settings
import deleter.app
import deleter.identity
import deleter.settings
import listener.settings
import reconciler.app
import reconciler.settings
from broker.clients import session as broker_session
from deleter.clients import session as deleter_session
from reconciler.clients import session as reconciler_session

GITHUB_URL: Final = "https://github.simulated"
GOOGLE_URL: Final = "https://google.simulated"
BUCKETS: Final = {name: f"simulated-{name}" for name in ("grants", "permits", "listener", "reconciler")}
SECRET: Final = "projects/iree-oss/secrets/key/versions/latest"  # noqa: S105 - a name
SERVE_SECONDS: Final = 1740
"""fleet/services.py."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What the environments differ in."""

    table: str
    """The fleet's."""
    app_id: str
    installation_id: str
    boot_deadline_seconds: int
    max_run_seconds: int


def audience(service: str) -> str:
    """A function's URL."""
    return f"https://{service}.simulated"


@lru_cache(maxsize=8)
def functions_of(given: Deployment) -> Mapping[str, tuple[Any, Any, ModuleType, ModuleType | None]]:
    """By name: a function's class, its settings, its own module `session`, and `identity` where it has one."""
    app = {"APP_ID": given.app_id, "INSTALLATION_ID": given.installation_id, "APP_KEY_SECRET": SECRET}
    google = {f"{name}_URL": GOOGLE_URL for name in ("COMPUTE", "STORAGE", "SECRETS", "MONITORING")}
    google["CERTS_URL"] = f"{GOOGLE_URL}/oauth2/v3/certs"
    broker_values = {
        "AUDIENCE": audience("broker"),
        "GRANTS_BUCKET": BUCKETS["grants"],
        "LISTENER_BUCKET": BUCKETS["listener"],
        "BOOT_DEADLINE_SECONDS": given.boot_deadline_seconds,
        "GITHUB_URL": f"{GITHUB_URL}/api/v3",
        "GITHUB_WEB_URL": GITHUB_URL,
    }
    deleter_values = {
        "AUDIENCE": audience("deleter"),
        "PERMITS_BUCKET": BUCKETS["permits"],
        "DEMAND_BUCKET": BUCKETS["listener"],
    }
    reconciler_values = {
        "BUCKET": BUCKETS["reconciler"],
        "GRANTS_BUCKET": BUCKETS["grants"],
        "PERMITS_BUCKET": BUCKETS["permits"],
        "LISTENER_BUCKET": BUCKETS["listener"],
        "DRY_RUN": "false",
        "MOST_PERCENT": "20",
        "BOOT_DEADLINE_SECONDS": given.boot_deadline_seconds,
        "MAX_RUN_SECONDS": given.max_run_seconds,
        "RUNNER_RELEASES": '{"2.335.0": "2026-11-01"}',
        "GITHUB_URL": f"{GITHUB_URL}/api/v3",
    }
    with _file(given.table) as path:

        def loaded(module: Any, prefix: str, values: Mapping[str, Any]) -> Any:
            return module.load(_environment(prefix, {**google, **values, "FLEET_FILE": path}), path.parent)

        return {
            "broker": (
                broker.app.Broker,
                loaded(broker.settings, "BROKER", {**app, **broker_values}),
                broker_session,
                broker.identity,
            ),
            "deleter": (
                deleter.app.Deleter,
                loaded(deleter.settings, "DELETER", deleter_values),
                deleter_session,
                deleter.identity,
            ),
            "reconciler": (
                reconciler.app.Reconciler,
                loaded(reconciler.settings, "RECONCILER", {**app, **reconciler_values}),
                reconciler_session,
                None,
            ),
        }


@lru_cache(maxsize=8)
def listener_settings(given: Deployment) -> listener.settings.Settings:
    """The listener's."""
    values = {
        "APP_ID": given.app_id,
        "INSTALLATION_ID": given.installation_id,
        "APP_KEY_SECRET": SECRET,
        "BUCKET": BUCKETS["listener"],
        "SERVE_SECONDS": SERVE_SECONDS,
        "GITHUB_URL": GITHUB_URL,
        **{f"{name}_URL": GOOGLE_URL for name in ("COMPUTE", "STORAGE", "SECRETS", "MONITORING")},
    }
    with _file(given.table) as path:
        return listener.settings.load(_environment("LISTENER", {**values, "FLEET_FILE": path}), path.parent)


def _environment(prefix: str, values: Mapping[str, Any]) -> dict[str, str]:
    return {f"{prefix}_{name}": str(value) for name, value in values.items()}


@contextlib.contextmanager
def _file(text: str) -> Generator[Path]:
    """A file with that text, for whoever reads its settings from one."""
    with tempfile.TemporaryDirectory(prefix="simulated-") as folder:
        path = Path(folder) / "fleet.json"
        path.write_text(text, encoding="utf-8")
        yield path
