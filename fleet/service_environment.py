"""What a function is told beside its table, as environment variables; nothing of it is secret.

The functions read the same names in their `settings.py`; tests load those with what stands here. URLs of GitHub's and
Google's services are left to the functions' own defaults: only tests and demonstrations set them.
"""

from __future__ import annotations

import json

from fleet import services
from fleet.services import Service
from fleet.settings import Settings


def environment(service: Service, settings: Settings) -> dict[str, str]:
    """The environment of one function, sorted. Every variable begins with the function's role."""
    told = dict(_OWN[service.role](settings))
    names = settings.names
    if service.serves_vms:
        told["AUDIENCE"] = names.function_url(settings.google.services_region, service.role)
    if service.app_key:
        told["APP_ID"] = settings.github.app_id
        told["INSTALLATION_ID"] = settings.github.installation_id
        told["APP_KEY_SECRET"] = f"{names.secret(settings.github.app_key_secret)}/versions/latest"
    return {f"{service.role.upper()}_{name}": value for name, value in sorted(told.items())}


def _listener(settings: Settings) -> dict[str, str]:
    return {"BUCKET": settings.names.function_bucket("listener"), "SERVE_SECONDS": str(services.SERVE_SECONDS)}


def _broker(settings: Settings) -> dict[str, str]:
    return {
        "BOOT_DEADLINE_SECONDS": str(settings.lifecycle.boot_deadline_seconds),
        "GRANTS_BUCKET": settings.names.function_bucket("broker"),
        "LISTENER_BUCKET": settings.names.function_bucket("listener"),
    }


def _deleter(settings: Settings) -> dict[str, str]:
    return {
        "PERMITS_BUCKET": settings.names.function_bucket("deleter"),
        "DEMAND_BUCKET": settings.names.function_bucket("listener"),
    }


def _reconciler(settings: Settings) -> dict[str, str]:
    names, lifecycle, wanted = settings.names, settings.lifecycle, settings.reconciler
    released = {release: facts.released.isoformat() for release, facts in sorted(settings.runner_releases.items())}
    return {
        "BUCKET": names.function_bucket("reconciler"),
        "GRANTS_BUCKET": names.function_bucket("broker"),
        "PERMITS_BUCKET": names.function_bucket("deleter"),
        "LISTENER_BUCKET": names.function_bucket("listener"),
        "DRY_RUN": "true" if wanted.dry_run else "false",
        "MOST_PERCENT": str(wanted.most_percent),
        "BOOT_DEADLINE_SECONDS": str(lifecycle.boot_deadline_seconds),
        "MAX_RUN_SECONDS": str(lifecycle.max_run_seconds),
        "RUNNER_RELEASES": json.dumps(released),
    }


_OWN = {"listener": _listener, "broker": _broker, "deleter": _deleter, "reconciler": _reconciler}
