"""GitHub and Google Cloud on loopback: one asyncio loop, in a thread of its own, with a port for each of the two.

Every VM may have a metadata server on one more port, as it has one of its own in the cloud. A request is recorded when
it arrives and meets a fault, if one is due, before or after the service executes it. Services execute one request at a
time; the waiting is done here, on the site's clock, and ends when the client is gone.

Everything is plain HTTP, HTTP/1.1, one answer a request, no compression.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future
from typing import Any, Final, Self, TypeVar

from aiohttp import web

from emulators.clock import Clock
from emulators.door import Door, DroppedError, Request, Visit
from emulators.faults import Faults
from emulators.github import GitHub
from emulators.google import Google
from emulators.google.instance import Instance
from emulators.route import Reply

HOST: Final = "127.0.0.1"
MAX_BODY_BYTES: Final = 64 << 20
LOOK_SECONDS: Final = 0.005, 0.05
"""Real time between two looks at what somebody waits for: at first, and after a while."""
ACCEPTING_TURNS: Final = 4
"""Turns of the loop from accepting a connection to its protocol; asyncio takes three."""

T = TypeVar("T")


class _GoneError(Exception):
    """The client is gone, or the site is closing."""


class Site:
    """The two clouds. A context manager; what it holds may be changed from any thread meanwhile."""

    def __init__(
        self,
        *,
        seed: int = 0,
        faults: Iterable[str] = (),
        clock_scale: float = 1.0,
        port: int = 0,
        organization: str = "iree-org",
        project: str = "iree-oss",
    ) -> None:
        self.clock = Clock(clock_scale)
        self.lock = threading.RLock()
        self.github = GitHub(clock=self.clock, lock=self.lock, seed=seed, organization=organization)
        self.google = Google(clock=self.clock, lock=self.lock, seed=seed, project=project)
        self.faults = Faults(
            seed=seed, profiles=faults, routes=lambda: [*self.github.table.names, *self.google.table.names]
        )
        self.door = Door(self.clock, self.github, self.google, self.faults)
        self._ports: dict[str, int] = {"github": port, "google": port + 1 if port else 0}
        self._refused: set[str] = set()
        self._runners: dict[str, web.AppRunner] = {}
        self._listening: dict[str, socket.socket] = {}
        self._sites: dict[str, web.SockSite] = {}
        self._metadata_hosts: dict[str, str] = {}
        self._closing = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="emulators", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            for name in tuple(self._ports):
                self._run(self._open(name))
        except BaseException:
            self.__exit__()
            raise
        self.github.url, self.google.url = self.github_url, self._google_url
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def github_url(self) -> str:
        """Root of GitHub's REST API; below /api/v3 it is the same, as on a server of one's own."""
        return f"http://{HOST}:{self._ports['github']}"

    @property
    def config_url(self) -> str:
        """What a client of scale sets is given: the organization on a server of one's own."""
        return f"{self.github_url}/{self.github.organization}"

    @property
    def _google_url(self) -> str:
        return f"http://{HOST}:{self._ports['google']}"

    @property
    def compute_url(self) -> str:
        """Where compute/v1/ lies."""
        return self._google_url

    @property
    def storage_url(self) -> str:
        """Where storage/v1/ and upload/storage/v1/ lie."""
        return self._google_url

    @property
    def secrets_url(self) -> str:
        """Where Secret Manager's v1/ lies."""
        return self._google_url

    @property
    def monitoring_url(self) -> str:
        """Where Cloud Monitoring's v3/ lies."""
        return self._google_url

    @property
    def logging_url(self) -> str:
        """Where Cloud Logging's v2/ lies."""
        return self._google_url

    @property
    def certs_url(self) -> str:
        """Google's JWK set."""
        return f"{self._google_url}/oauth2/v3/certs"

    @property
    def metadata_host(self) -> str:
        """HOST:PORT of the metadata server of a function, which runs as `google.function_account`."""
        return self._google_url.removeprefix("http://")

    def metadata_host_of(self, vm: Instance) -> str:
        """HOST:PORT of a VM's own metadata server."""
        return self._metadata_host(f"vm-{vm.id}", vm.service_account, vm)

    def metadata_host_for(self, account: str) -> str:
        """HOST:PORT of the metadata server of a function that runs as this service account."""
        return self._metadata_host(f"account-{account}", account, None)

    @property
    def requests(self) -> list[Request]:
        """What was asked so far."""
        return self.door.requests

    def asked(self, route: str) -> list[Request]:
        """The requests that reached a route, in order."""
        return self.door.asked(route)

    def refuse(self, service: str) -> None:
        """Take a port ("github" or "google") away: connections to it are refused until `accept`."""
        self._refused.add(service)
        self._run(self._deafen(service))

    def accept(self, service: str) -> None:
        """Serve a port again."""
        self._refused.discard(service)
        self._run(self._listen(service))

    @property
    def urls(self) -> dict[str, str]:
        """Everything that somebody else's process needs to know."""
        names = (
            "github_url",
            "config_url",
            "compute_url",
            "storage_url",
            "secrets_url",
            "monitoring_url",
            "logging_url",
            "certs_url",
            "metadata_host",
        )
        return {name: getattr(self, name) for name in names}

    def operator_environment(self) -> dict[str, str]:
        """What the operators' commands need in their environment to ask this site; they may do everything there."""
        token = "ghp_operator-that-must-not-leak"  # noqa: S105 - nobody's
        with self.lock:
            self.github.app.personal_tokens.add(token)
            access = self.google.tokens.lasting(f"operator@{self.google.project}.iam").token
        return {
            "ROLLOUT_COMPUTE_URL": self.compute_url,
            "ROLLOUT_STORAGE_URL": self.storage_url,
            "ROLLOUT_LOGGING_URL": self.logging_url,
            "ROLLOUT_GITHUB_URL": self.github_url,
            "ROLLOUT_GOOGLE_TOKEN": access,
            "GH_TOKEN": token,
        }

    def _metadata_host(self, name: str, account: str, vm: Instance | None) -> str:
        if name not in self._metadata_hosts:
            self._ports[name] = 0
            self._run(self._open(name))
            port = self._ports[name]
            self.google.metadata.serve(port, account, vm)
            self._metadata_hosts[name] = f"{HOST}:{port}"
        return self._metadata_hosts[name]

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(timeout=30)

    async def _open(self, name: str) -> None:
        app = web.Application(client_max_size=MAX_BODY_BYTES)

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._serve(name, request)

        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._runners[name] = runner
        await self._listen(name)

    async def _listen(self, name: str) -> None:
        runner = self._runners[name]
        listening = self._listening[name] = socket.create_server((HOST, self._ports[name]))
        site = self._sites[name] = web.SockSite(runner, listening)
        await site.start()
        self._ports[name] = listening.getsockname()[1]

    async def _deafen(self, name: str) -> None:
        """Stop listening. A connection accepted in the same turn would be lost, open, in Python before 3.12."""
        self._loop.remove_reader(self._listening.pop(name))
        for _ in range(ACCEPTING_TURNS):
            await asyncio.sleep(0)
        await self._sites.pop(name).stop()

    async def _close(self) -> None:
        for name in tuple(self._sites):
            await self._deafen(name)
        for runner in self._runners.values():
            await runner.cleanup()

    async def _serve(self, name: str, request: web.Request) -> web.StreamResponse:
        if name in self._refused:
            return self._drop(request)
        body = await request.read()
        url = request.rel_url
        visit = self.door.enter(
            name,
            request.method,
            url.raw_path,
            query=url.raw_query_string,
            headers=request.headers,
            body=body,
            port=self._ports[name],
        )
        try:
            reply = await self._answer(request, visit)
        except _GoneError:
            visit.record.gone = not self._closing.is_set()
            return self._drop(request)
        except DroppedError:
            return self._drop(request)
        return web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))

    async def _answer(self, request: web.Request, visit: Visit) -> Reply:
        pause, longest = LOOK_SECONDS
        while (reply := visit.answer()) is None:
            await self._look(request, pause)
            pause = min(pause * 1.2, longest)
        return reply

    async def _look(self, request: web.Request, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self._closing.is_set() or request.transport is None or request.transport.is_closing():
            raise _GoneError

    @staticmethod
    def _drop(request: web.Request) -> web.Response:
        """Close the connection so that the other end sees a reset, as of a server that died."""
        transport = request.transport
        if transport is not None:
            raw: socket.socket | None = transport.get_extra_info("socket")
            if raw is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()  # pyright: ignore[reportAttributeAccessIssue]
        return web.Response(status=500)
