"""Where the services are: their public addresses, or what the environment names, which is how stand-ins are asked.

A token goes to an address over HTTPS or to this machine, and nowhere else. ROLLOUT_GOOGLE_TOKEN is used for addresses
on this machine only: there is no other reason to have one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from rollout.cloud.errors import CredentialsError

TOKEN: Final = "ROLLOUT_GOOGLE_TOKEN"  # noqa: S105 - the name of a variable
DEFAULTS: Final[Mapping[str, str]] = {
    "ROLLOUT_COMPUTE_URL": "https://compute.googleapis.com",
    "ROLLOUT_STORAGE_URL": "https://storage.googleapis.com",
    "ROLLOUT_LOGGING_URL": "https://logging.googleapis.com",
    "ROLLOUT_GITHUB_URL": "https://api.github.com",
}


def address(variable: str, environ: Mapping[str, str]) -> str:
    """The address of a service, without a slash at its end. Raises CredentialsError for one that no token goes to."""
    url = (environ.get(variable) or DEFAULTS[variable]).rstrip("/")
    parts = urlsplit(url)
    if parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and is_local(url))):
        return url
    allowed = "an https:// address, or http:// on this machine"
    raise CredentialsError(variable, f"{url!r} is no address to send a token to; allowed is {allowed}", "its setting")


def is_local(url: str) -> bool:
    """Whether an address is on this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
