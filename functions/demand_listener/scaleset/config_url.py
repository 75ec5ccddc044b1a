"""The config URL: the organization, repository or enterprise whose jobs are served, and where its REST API is.

The forms and hosts are those of GitHub's own client (actions/scaleset v0.4.0). The scheme is kept, so
`http://127.0.0.1:8080/my-org` works, with the REST API below `/api/v3` as on a GitHub Enterprise Server.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

_SEGMENT: Final = re.compile(r"[A-Za-z0-9._-]+")
_FORMS: Final = "https://github.com/ORG, https://github.com/OWNER/REPO or https://github.com/enterprises/NAME"


class Scope(enum.StrEnum):
    """What a config URL names."""

    ORGANIZATION = "organization"
    REPOSITORY = "repository"
    ENTERPRISE = "enterprise"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigUrl:
    """A config URL, taken apart."""

    url: str
    """As it is told to GitHub, without slashes at its ends."""
    scope: Scope
    rest_root: str
    path_prefix: str
    """Of the registration token's call, below the root."""

    @staticmethod
    def parse(url: str, *, enterprise_server: bool = False) -> ConfigUrl:
        """Take a config URL apart; `enterprise_server` says that its host is one, whatever its name.

        Raises ValueError.
        """
        trimmed = url.strip("/")
        try:
            parts = urlsplit(trimmed)
            host = parts.hostname
            _ = parts.port
        except ValueError:
            raise _wrong(url) from None
        plain = not (parts.query or parts.fragment or "@" in parts.netloc)
        segments = parts.path.strip("/").split("/")
        if parts.scheme not in {"http", "https"} or not host or not plain:
            raise _wrong(url)
        if len(segments) > 2 or not all(_SEGMENT.fullmatch(segment) and set(segment) != {"."} for segment in segments):
            raise _wrong(url)
        if len(segments) == 1:
            scope, prefix = Scope.ORGANIZATION, f"/orgs/{segments[0]}"
        elif segments[0].lower() == "enterprises":
            scope, prefix = Scope.ENTERPRISE, f"/enterprises/{segments[1]}"
        else:
            scope, prefix = Scope.REPOSITORY, f"/repos/{segments[0]}/{segments[1]}"
        root = _rest_root(parts, enterprise_server=enterprise_server)
        return ConfigUrl(url=trimmed, scope=scope, rest_root=root, path_prefix=prefix)


def _rest_root(parts: SplitResult, *, enterprise_server: bool) -> str:
    host = parts.netloc.lower()
    if not enterprise_server and host == "www.github.com":
        return f"{parts.scheme}://api.github.com"
    if not enterprise_server and (host in {"github.com", "github.localhost"} or host.endswith(".ghe.com")):
        return f"{parts.scheme}://api.{host}"
    return f"{parts.scheme}://{parts.netloc}/api/v3"


def _wrong(url: str) -> ValueError:
    # Whatever stands before an @ is a secret, and none is needed there.
    shown = url.rpartition("@")[2]
    return ValueError(f"config_url is {shown!r}, which names no organization, repository or enterprise: use {_FORMS}")
