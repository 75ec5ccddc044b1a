"""Google Cloud, one project of it: all its clients over one session.

async with Google("iree-oss") as google:
    for group in await google.groups.list():
        ...
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final, Self

from rollout.cloud.address import TOKEN, address, is_local
from rollout.cloud.credentials import Credentials, FixedToken, GoogleCredentials
from rollout.cloud.disks import Disks
from rollout.cloud.groups import Groups
from rollout.cloud.instances import Instances
from rollout.cloud.logs import Logs
from rollout.cloud.operations import Operations
from rollout.cloud.pace import Pace
from rollout.cloud.quotas import Quotas
from rollout.cloud.service import Service, session
from rollout.cloud.storage import Storage
from rollout.cloud.templates import Templates

COMPUTE_POINTS: Final = 1500
"""Requests a minute of each kind that a project has by default: https://docs.cloud.google.com/compute/api-quota, read
2026-11-25. All kinds together are kept below it."""
STORAGE_POINTS: Final = 1500
LOGGING_POINTS: Final = 60
"""Ours, and cautious: a look at the logs is a few pages, and other people look at them as well."""
CONNECTIONS: Final = 256
"""Every operation that is waited for holds one."""
_PROJECT: Final = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")


class Google:
    """A project. Its clients exist within `async with`."""

    groups: Groups
    templates: Templates
    instances: Instances
    disks: Disks
    operations: Operations
    quotas: Quotas
    storage: Storage
    logs: Logs

    def __init__(
        self,
        project: str,
        *,
        environ: Mapping[str, str] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not _PROJECT.fullmatch(project):
            raise ValueError(f"{project!r} is no id of a Google Cloud project")
        self.project = project
        self._environ = os.environ if environ is None else environ
        self._sleep, self._clock = sleep, clock
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the session; nothing is asked yet. Raises CredentialsError for an address that no token goes to."""
        addresses = {
            name: address(f"ROLLOUT_{name.upper()}_URL", self._environ) for name in ("compute", "storage", "logging")
        }
        http = await self._open.enter_async_context(session(connections=CONNECTIONS))
        own = GoogleCredentials()
        fixed = self._environ.get(TOKEN, "")

        def service(name: str, points: float) -> Service:
            url = addresses[name]
            credentials: Credentials = FixedToken(fixed, f"{TOKEN} is out of date") if fixed and is_local(url) else own
            return Service(name, url, http, credentials, Pace(points, sleep=self._sleep, clock=self._clock))

        compute = service("compute", COMPUTE_POINTS)
        root = f"/compute/v1/projects/{self.project}"
        self.operations = Operations(compute, root)
        self.groups = Groups(compute, root, self.operations)
        self.templates = Templates(compute, root)
        self.instances = Instances(compute, root, self.operations)
        self.disks = Disks(compute, root, self.operations)
        self.quotas = Quotas(compute, root)
        self.storage = Storage(service("storage", STORAGE_POINTS))
        self.logs = Logs(service("logging", LOGGING_POINTS), self.project)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()
