"""What a request, an answer and a table of routes are, for every service that `site` serves.

A handler is a plain function of a `Call`; it answers with a `Reply`, raises `Refusal`, or returns None for "not yet"
and is then asked again until it answers or the client is gone. `notes["until"]` is when it will answer anyway.
Handlers never run at the same time.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request as a handler sees it."""

    method: str
    path: str
    """As sent, still percent-encoded, without the query."""
    parameters: Mapping[str, str]
    """What the route's path names in braces, decoded."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Looked up without regard to case."""
    body: bytes
    port: int
    """The loopback port it came in by."""
    at: float
    """When it came, on the site's clock."""
    notes: dict[str, Any] = field(default_factory=dict[str, Any])
    """What a handler that is asked again wants to remember."""

    @property
    def bearer(self) -> str:
        """The token in its Authorization header; empty when there is none."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token.strip() if scheme.lower() in {"bearer", "token"} else ""

    def json(self) -> Any:
        """Its body; None when that is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What goes back."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def json_reply(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply whose body is JSON."""
    content = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    return Reply(status=status, body=json.dumps(value).encode(), headers=content)


class Refusal(Exception):  # noqa: N818 - it is an answer
    """A handler's way to answer from deep within."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"HTTP {reply.status}")
        self.reply = reply


Handler = Callable[[Call], Reply | None]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One operation of a service. `path` names its variable parts in braces; each is one segment."""

    name: str
    """SERVICE.OPERATION; faults and the log of requests go by it."""
    method: str
    path: str
    handler: Handler

    @property
    def service(self) -> str:
        """The first half of the name."""
        return self.name.partition(".")[0]


class Table:
    """The routes of a port. The first that fits wins; add more at any time."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._routes: defaultdict[str, list[tuple[Route, str, tuple[str, ...]]]] = defaultdict(list)
        self._any: dict[str, re.Pattern[str]] = {}
        """By method: one expression for all its routes, made when it is asked for; a route's group is its number."""
        for route in routes:
            self.add(route)

    def add(self, route: Route) -> None:
        """Have one more route."""
        routes = self._routes[route.method]
        number = len(routes)
        names = tuple(re.findall(r"\{(\w+)", route.path))
        pattern = re.sub(r"\\{(\w+)\\\.\\\.\\\.\\}", rf"(?P<r{number}_\1>.*)", re.escape(route.path))
        pattern = re.sub(r"\\{(\w+)\\}", rf"(?P<r{number}_\1>[^/:]+)", pattern)
        routes.append((route, f"(?P<r{number}>{pattern})", names))
        self._any.pop(route.method, None)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route of a request and the variable parts of its path, decoded."""
        expression = self._any.get(method) or self._compile(method)
        found = expression.fullmatch(path)
        if found is None or found.lastgroup is None:
            return None
        group = found.lastgroup
        route, _, names = self._routes[method][int(group[1:])]
        return route, {name: unquote(found[f"{group}_{name}"]) for name in names}

    @property
    def names(self) -> list[str]:
        """The names of all routes."""
        return sorted({route.name for routes in self._routes.values() for route, _, _ in routes})

    def _compile(self, method: str) -> re.Pattern[str]:
        patterns = [pattern for _, pattern, _ in self._routes.get(method, ())]
        self._any[method] = re.compile("|".join(patterns) or "(?!)")
        return self._any[method]
