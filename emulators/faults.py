"""What goes wrong between a client and a stand-in: scripted for a test, or drawn from a seed for a long run.

`script("github.jit", status=500, times=2)` spoils the next two requests of that route. A fault strikes before the
request is executed, or with `after=True` once it has been, so that only its answer is lost. Drawn faults depend on the
seed, the route and how often the route was asked before: the same requests in the same order meet the same faults.
"""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

KINDS: Final = ("status", "hang", "reset", "garbage", "empty", "slow")
ALIASES: Final = {"timeout": "hang"}
LEAK_MARK: Final = "upstream-text-that-must-not-leak"
"""Stands in every body that a fault makes up."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong.

    `status` answers with that status in the service's own form; `hang` never answers; `reset` drops the connection;
    `garbage` answers with what is no JSON, with `status`; `empty` with nothing at all; `slow` answers well, `seconds`
    later on the site's clock.
    """

    kind: str = "status"
    status: int = 500
    after: bool = False
    seconds: float = 0.0
    retry_after: int | None = None
    """Seconds in a Retry-After header."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault is called {self.kind!r}; there are {', '.join(KINDS)}")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A fault that strikes at random: `share` of the requests whose route starts with `routes`."""

    share: float
    routes: str
    fault: Fault


PROFILES: Final[Mapping[str, Profile]] = {
    "github-errors": Profile(share=0.1, routes="github.", fault=Fault(status=502)),
    "github-lost-answers": Profile(share=0.1, routes="github.jit", fault=Fault(kind="reset", after=True)),
    "github-resets": Profile(share=0.05, routes="github.", fault=Fault(kind="reset")),
    "github-rate-limit": Profile(share=0.05, routes="github.", fault=Fault(status=429, retry_after=5)),
    "github-slow": Profile(share=0.2, routes="github.", fault=Fault(kind="slow", seconds=2)),
    "github-hangs": Profile(share=0.02, routes="github.", fault=Fault(kind="hang")),
    "queue-empty-answers": Profile(share=0.05, routes="github.scale_sets.poll", fault=Fault(kind="empty", status=200)),
    "scale-set-lost-answers": Profile(share=0.1, routes="github.scale_sets.jit", fault=Fault(kind="reset", after=True)),
    "compute-errors": Profile(share=0.1, routes="compute.", fault=Fault(status=503)),
    "compute-lost-answers": Profile(share=0.1, routes="compute.delete_instances", fault=Fault(status=500, after=True)),
    "resize-lost-answers": Profile(share=0.1, routes="compute.resize", fault=Fault(kind="reset", after=True)),
    "storage-errors": Profile(share=0.1, routes="storage.", fault=Fault(status=503)),
    "storage-lost-answers": Profile(share=0.1, routes="storage.insert", fault=Fault(kind="reset", after=True)),
    "secrets-errors": Profile(share=0.2, routes="secrets.", fault=Fault(status=503)),
    "logging-errors": Profile(share=0.2, routes="logging.", fault=Fault(status=503)),
    "monitoring-errors": Profile(share=0.2, routes="monitoring.", fault=Fault(status=503)),
    "metadata-errors": Profile(share=0.1, routes="metadata.", fault=Fault(status=503)),
    "garbage": Profile(share=0.05, routes="", fault=Fault(kind="garbage", status=200)),
}


class Faults:
    """Decides for each request which fault it meets. Scripted ones go first, in the order they were scripted."""

    def __init__(
        self, *, seed: int = 0, profiles: Iterable[str] = (), routes: Callable[[], Iterable[str]] | None = None
    ) -> None:
        self._seed = seed
        self._profiles: list[tuple[str, Profile]] = []
        self._scripted: defaultdict[str, deque[Fault]] = defaultdict(deque[Fault])
        self._asked: defaultdict[str, int] = defaultdict(int)
        self._routes = routes
        self._lock = threading.Lock()
        for name in profiles:
            self.draw(name)

    def draw(self, name: str) -> None:
        """Let a fault of PROFILES strike from now on."""
        if name not in PROFILES:
            raise ValueError(f"no faults are called {name!r}; there are {', '.join(PROFILES)}")
        self._profiles.append((name, PROFILES[name]))

    def script(
        self,
        route: str,
        kind: str = "status",
        *,
        status: int | None = None,
        times: int = 1,
        after: bool = False,
        seconds: float = 0.0,
        retry_after: int | None = None,
    ) -> None:
        """Spoil the next `times` requests of a route that no earlier script spoils."""
        known = sorted(self._routes()) if self._routes else [route]
        if route not in known:
            raise ValueError(f"no route is called {route!r}; there are {', '.join(known)}")
        kind = ALIASES.get(kind, kind)
        if status is None:
            status = 200 if kind in {"garbage", "empty"} else 429 if retry_after is not None else 500
        fault = Fault(kind=kind, status=status, after=after, seconds=seconds, retry_after=retry_after)
        with self._lock:
            self._scripted[route].extend([fault] * times)

    def clear(self, route: str | None = None) -> None:
        """Forget what is scripted, of one route or of all. Drawn faults go on."""
        with self._lock:
            if route is None:
                self._scripted.clear()
            else:
                self._scripted.pop(route, None)

    def pending(self, route: str) -> int:
        """How many scripted faults of a route have not struck yet."""
        return len(self._scripted.get(route, ()))

    def strike(self, route: str) -> Fault | None:
        """The fault that the next request of a route meets."""
        with self._lock:
            number = self._asked[route]
            self._asked[route] += 1
            if self._scripted[route]:
                return self._scripted[route].popleft()
        for name, profile in self._profiles:
            if not route.startswith(profile.routes):
                continue
            digest = hashlib.blake2b(f"{self._seed}/{name}/{route}/{number}".encode(), digest_size=8).digest()
            if int.from_bytes(digest[:4]) < profile.share * 2**32:
                return replace(profile.fault, seconds=profile.fault.seconds * int.from_bytes(digest[4:]) / 2**32)
        return None
