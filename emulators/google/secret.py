"""Secret Manager's versions.access.

After https://docs.cloud.google.com/secret-manager/docs/reference/rest (November 2026).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from emulators.google.bucket import crc32c
from emulators.google.reply import refuse
from emulators.route import Call, Reply, Route, json_reply

if TYPE_CHECKING:
    from emulators.google.cloud import Google

VERSION: Final = "/v1/projects/{project}/secrets/{secret}/versions/{version}:access"


@dataclass(kw_only=True)
class Secret:
    """A secret's versions, from 1 on."""

    name: str
    versions: list[bytes] = field(default_factory=list[bytes])
    disabled: set[int] = field(default_factory=set[int])


class Secrets:
    """All secrets of the project, and the handler."""

    def __init__(self, google: Google) -> None:
        self._google = google
        self.secrets: dict[str, Secret] = {}

    def put(self, name: str, value: bytes) -> int:
        """One more version; its number."""
        secret = self.secrets.setdefault(name, Secret(name=name))
        secret.versions.append(value)
        return len(secret.versions)

    def routes(self) -> Iterable[Route]:
        """It needs a token."""
        yield Route(name="secrets.access", method="GET", path=VERSION, handler=self.access)

    def access(self, call: Call) -> Reply:
        """versions.access; `latest` is the newest, even a disabled one."""
        name, asked = call.parameters["secret"], call.parameters["version"]
        path = f"projects/{self._google.project_number}/secrets/{name}"
        secret = self.secrets.get(name)
        projects = {self._google.project, str(self._google.project_number)}
        if secret is None or call.parameters["project"] not in projects:
            raise refuse("secrets", 404, f"Secret [{path}] not found or has no versions.")
        number = len(secret.versions) if asked == "latest" else int(asked) if asked.isdecimal() else 0
        if not 1 <= number <= len(secret.versions):
            raise refuse("secrets", 404, f"Secret Version [{path}/versions/{asked}] not found.")
        if number in secret.disabled:
            raise refuse("secrets", 400, f"Secret Version [{path}/versions/{number}] is in DISABLED state.")
        data = secret.versions[number - 1]
        payload = {"data": base64.b64encode(data).decode(), "dataCrc32c": str(crc32c(data))}
        return json_reply(200, {"name": f"{path}/versions/{number}", "payload": payload})
