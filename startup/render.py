"""Renders the two texts that differ between templates: the bootstrap (`startup-script`) and the jobs' environment.

Values are checked before they reach the template, so that none can end the quotes it stands in; the template is text
for a shell, which no escaping of Jinja's would protect. All other scripts are static files of the boot bundle.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fleet import trust
from fleet.settings import Settings

MAX_BOOT_DEADLINE_SECONDS: Final = 86_400
"""A day. Waiting longer for a VM than a job may run would be a mistake in the unit."""

ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - the text is for a shell; the values are checked below
)

HOOKS: Final = "/opt/runner-fleet/current/hooks"

_PLAIN: Final = re.compile(r"[A-Za-z0-9._/-]*")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def bootstrap(*, bundle_bucket: str, bundle_sha256: str, boot_deadline_seconds: int) -> str:
    """The script that fetches the bundle of this digest from this bucket, trying for half of the boot deadline.

    The other half is for what the bundle then does: install, register, listen. A slow metadata server can stretch the
    last try by 5 seconds. Raises ValueError for a value that is not of its kind.
    """
    if not _BUCKET.fullmatch(bundle_bucket):
        raise ValueError(
            f"bundle_bucket: {bundle_bucket!r} is no bucket name; allowed are 3 to 63 of a-z 0-9 . _ - "
            "with a letter or digit at both ends"
        )
    if not _SHA256.fullmatch(bundle_sha256):
        raise ValueError(f"bundle_sha256: {bundle_sha256!r} is no SHA-256; allowed are 64 of 0-9 a-f, without a prefix")
    if type(boot_deadline_seconds) is not int or not 1 <= boot_deadline_seconds <= MAX_BOOT_DEADLINE_SECONDS:
        raise ValueError(
            f"boot_deadline_seconds: {boot_deadline_seconds!r} is no number of seconds; "
            f"allowed are whole numbers from 1 to {MAX_BOOT_DEADLINE_SECONDS}"
        )
    return ENVIRONMENT.get_template("bootstrap.sh.j2").render(
        bundle_bucket=bundle_bucket,
        bundle_sha256=bundle_sha256,
        fetch_budget_seconds=(boot_deadline_seconds + 1) // 2,
    )


def bootstraps(settings: Settings) -> dict[str, str]:
    """The startup script of every version, each with the digest of its own bundle."""
    return {
        version: bootstrap(
            bundle_bucket=settings.names.boot_bucket,
            bundle_sha256=pins.boot_bundle.removeprefix("sha256:"),
            boot_deadline_seconds=settings.lifecycle.boot_deadline_seconds,
        )
        for version, pins in settings.versions.items()
    }


def job_environment(*, pool: str, artifact_bucket: str, cache_bucket: str, cache_writable: bool) -> str:
    """What every job of a pool finds in its environment, as the runner's `.env` file: NAME=value by line.

    The cache bucket is empty where the level has none. Raises ValueError for a value that could be more than a value.
    """
    values = {"pool": pool, "artifact_bucket": artifact_bucket, "cache_bucket": cache_bucket}
    for name, value in values.items():
        if not _PLAIN.fullmatch(value):
            raise ValueError(f"{name}: {value!r} is no plain value; allowed are letters, digits, dot, _, / and -")
    writable = "true" if cache_writable else "false"
    return ENVIRONMENT.get_template("runner.env.j2").render(hooks=HOOKS, cache_writable=writable, **values)


def pool_environment(settings: Settings, pool: str) -> str:
    """The jobs' environment of one pool."""
    level = settings.pools[pool].trust
    cache = trust.cache_of(level, settings.trust_levels)
    return job_environment(
        pool=pool,
        artifact_bucket=settings.names.artifact_bucket(level, settings.trust_levels[level].artifacts.bucket),
        cache_bucket=settings.names.cache_bucket(cache) if cache else "",
        cache_writable=cache == level,
    )
