"""A fleet before emulators of GitHub and Google Cloud, with listeners on a clock that passes only while all wait.

The stand-ins answer in memory, with everything that they do over HTTP: routes, faults, the record of requests. A
listener may be ended like a crash: from then on nothing of it is heard, and no answer comes to it.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from listener import fleet_table
from listener.serve import Served, serve
from listener.settings import Settings
from scaleset import Response, TransportError

from emulators.door import Door, DroppedError
from emulators.faults import Faults
from emulators.github import GitHub
from emulators.google import Google
from simulation.clock import VirtualClock
from simulation.loop import VirtualLoop

BUCKET = "fleet-listener"
PROJECT = "iree-oss"
ORGANIZATION = "iree-org"
LATENCY_SECONDS = 0.02
"""Each way."""


class Line:
    """A listener's transport. `cut` ends all that it says and hears."""

    def __init__(self, world: ListenerWorld) -> None:
        self._world = world
        self.cut = False
        self.refused: Callable[[str, str], bool] = lambda _method, _url: False
        """Requests that find no way."""
        self.lost: Callable[[str, str], bool] = lambda _method, _url: False
        """Requests that are served, and whose answers are lost."""

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, timeout_seconds: float
    ) -> Response:
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._exchange(method, url, headers, body)
        except TimeoutError:
            raise TransportError("timeout", sent=True) from None

    async def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Response:
        await asyncio.sleep(LATENCY_SECONDS)
        if self.cut or self.refused(method, url):
            await asyncio.Event().wait()
        visit = self._world.door.visit(method, url, headers, body or b"")
        try:
            try:
                while (reply := visit.answer()) is None:  # noqa: ASYNC110 - the stand-in is asked, it does not call
                    await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                visit.record.gone = True
                raise
            except DroppedError:
                raise TransportError("reset", sent=True) from None
            await asyncio.sleep(LATENCY_SECONDS)
            if self.cut or self.lost(method, url):
                await asyncio.Event().wait()
            return Response(status=reply.status, headers=reply.headers, body=reply.body)
        finally:
            self._world.settle()

    async def close(self) -> None:
        pass


class Running:
    """One request to the listener."""

    def __init__(self, world: ListenerWorld, holder: str, settings: Settings) -> None:
        self.holder = holder
        self.log: list[dict[str, Any]] = []
        self.stop = asyncio.Event()
        self.line = Line(world)
        self.wall_offset = 0.0
        self._world = world
        self.task: asyncio.Task[Served] = world.loop.create_task(
            serve(
                settings,
                self.line,
                token=self._token,
                now=lambda: world.clock.now() + self.wall_offset,
                log=lambda entry: self.log.append({**entry, "at": world.loop.time(), "who": holder}),
                stop=self.stop,
                holder=holder,
            ),
            name=holder,
        )

    async def _token(self) -> str:
        google = self._world.google
        return google.tokens.of(google.function_account, self._world.clock.now()).token

    def crash(self) -> None:
        """It hears and says nothing any more, and all of it ends."""
        self.line.cut = True
        self.task.cancel()

    def said(self, message: str) -> list[dict[str, Any]]:
        return [entry for entry in self.log if entry["message"] == message]


def row(pool: str, region: str, *, zones: str = "abc", most: int = 10, rank: int = 0, idle: int = 0, **more: Any):
    """A group as the fleet's table has it."""
    return {
        "region": region,
        "pool": pool,
        "zones": [f"{region}-{zone}" for zone in zones],
        "service_account": f"runner-minimal@{PROJECT}.iam.gserviceaccount.com",
        "runner_group": "presubmit",
        "labels": [f"gh-{pool}"],
        "signal": "jobs",
        "min": 0,
        "max": most,
        "rank": rank,
        "idle": idle,
        "scale_set": f"gh-{pool}",
        "standby": None,
        **more,
    }


TWO_REGIONS = {
    "gh-cpu-us-west1-ab12": row("cpu", "us-west1", rank=0),
    "gh-cpu-us-east1-cd34": row("cpu", "us-east1", rank=1),
}


class ListenerWorld:
    """Use it as a context manager."""

    def __init__(self, groups: Mapping[str, Any] = TWO_REGIONS, *, seed: int = 0, serve_seconds: int = 1740) -> None:
        self.loop = VirtualLoop()
        asyncio.set_event_loop(self.loop)
        self.clock = VirtualClock(self.loop)
        lock = threading.RLock()
        self.github = GitHub(clock=self.clock, lock=lock, seed=seed, organization=ORGANIZATION)
        self.google = Google(clock=self.clock, lock=lock, seed=seed, project=PROJECT)
        self.github.url, self.google.url = "http://github.test", "http://google.test"
        self.google.autofill = True
        self.google.compute.create_seconds = 20.0
        self.faults = Faults(
            seed=seed, profiles=(), routes=lambda: [*self.github.table.names, *self.google.table.names]
        )
        self.door = Door(self.clock, self.github, self.google, self.faults)
        self.rows = dict(groups)
        for name, group in self.rows.items():
            self.google.add_group(name, region=group["region"], zones=group["zones"], target_size=0)
        for name in {group["runner_group"] for group in self.rows.values()}:
            self.github.add_runner_group(name)
        self.google.put_secret("app-key", self.github.app_key_pem)
        self.settings = self.settings_with(serve_seconds=serve_seconds)
        self.listeners: list[Running] = []

    def settings_with(self, *, serve_seconds: int = 1740, rows: Mapping[str, Any] | None = None) -> Settings:
        table = {"environment": "prod", "project": PROJECT, "organization": ORGANIZATION, "groups": rows or self.rows}
        return Settings(
            app_id=str(self.github.app_id),
            installation_id=str(self.github.installation_id),
            app_key_secret=f"projects/{PROJECT}/secrets/app-key/versions/latest",
            bucket=BUCKET,
            serve_seconds=serve_seconds,
            fleet=fleet_table.parse(json.dumps(table)),
            github_url="http://github.test",
            compute_url="http://google.test",
            storage_url="http://google.test",
            secrets_url="http://google.test",
            monitoring_url="http://google.test",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self.loop.close()
        asyncio.set_event_loop(None)

    # Acting.

    def listen(self, holder: str = "", settings: Settings | None = None) -> Running:
        """One more request to the function."""
        running = Running(self, holder or f"listener-{len(self.listeners) + 1}", settings or self.settings)
        self.listeners.append(running)
        return running

    def settle(self) -> None:
        self.github.tick(self.clock.now())
        self.google.compute.tick()

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.settle()

    def until(self, true: Callable[[], Any], *, most_seconds: float = 600.0) -> float:
        """Let time pass until something is true; how long it took."""
        began = self.loop.time()

        async def wait() -> None:
            while not true():
                assert self.loop.time() - began < most_seconds, "it never came to be"
                await asyncio.sleep(0.1)
                self.settle()

        self.loop.run_until_complete(wait())
        return self.loop.time() - began

    def finish(self, running: Running) -> Served:
        return self.loop.run_until_complete(running.task)

    def queue(self, count: int, pool: str = "cpu") -> list[Any]:
        return [self.github.queue_job([f"gh-{pool}"]) for _ in range(count)]

    # Looking.

    def target(self, group: str) -> int:
        return self.google.groups[group].target_size

    def targets(self) -> dict[str, int]:
        return {name: group.target_size for name, group in self.google.groups.items()}

    def stored(self, name: str, bucket: str = BUCKET) -> Any:
        stored = self.google.objects.get((bucket, name))
        return None if stored is None else json.loads(stored.data)

    def pool(self, name: str = "cpu") -> Any:
        return self.stored(f"pools/{name}.json")

    def demand(self) -> dict[str, int]:
        return {name: self.stored(f"demand/{name}.json")["desired"] for name in self.rows}

    def said(self, message: str) -> list[dict[str, Any]]:
        entries = [entry for each in self.listeners for entry in each.said(message)]
        return sorted(entries, key=lambda entry: entry["at"])

    def names(self) -> Sequence[str]:
        return list(self.rows)
