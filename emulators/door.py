"""The way into the stand-ins without a socket: routes, faults, the record of requests. Waiting is the caller's.

    visit = door.visit("GET", f"{github.url}/scalesets/message", headers)
    while (reply := visit.answer()) is None:
        ...  # until `github.changed` or `google.compute.changed` grows, or `visit.until` is there: then ask again

`Site` serves HTTP with it on real time; a simulation asks it on a virtual clock. A visit that
nobody asks again is one whose client is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from emulators.clock import Clock
from emulators.faults import ALIASES, LEAK_MARK, Fault, Faults
from emulators.github import GitHub
from emulators.google import Google
from emulators.route import Call, Refusal, Reply, Route

HTML: Final = {"Content-Type": "text/html"}
NEVER: Final = float("inf")


class DroppedError(Exception):
    """The connection ends without an answer."""


class Headers(dict[str, str]):
    """Headers, found without regard to case; iterated in small letters."""

    def __init__(self, given: Mapping[str, str]) -> None:
        super().__init__((name.lower(), value) for name, value in given.items())

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a header."""
        return super().get(name.lower(), default)


@dataclass(kw_only=True)
class Request:
    """One request as it came."""

    service: str
    route: str
    """Empty when no route fits."""
    method: str
    path: str
    """With its query."""
    at: float
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    status: int | None = None
    """What was answered; None when nothing was."""
    executed: bool = False
    """Whether the service did what was asked, whatever became of the answer."""
    gone: bool = False
    """Whether the client gave up before there was an answer."""


class Visit:
    """One request under way."""

    def __init__(
        self,
        *,
        service: GitHub | Google,
        record: Request,
        call: Call,
        route: Route | None,
        fault: Fault | None,
        lock: threading.RLock,
    ) -> None:
        self.record = record
        self.until = record.at
        """When to ask again at the latest; infinite when only a change, or nothing at all, can bring an answer."""
        self._service = service
        self._call = call
        self._route = route
        self._fault = fault
        self._lock = lock
        self._reply: Reply | None = None

    @property
    def notes(self) -> dict[str, Any]:
        """What the handler remembers between two looks."""
        return self._call.notes

    def answer(self) -> Reply | None:
        """What goes back, once there is something. Raises DroppedError."""
        with self._lock:
            fault = self._fault
            if self._reply is None:
                if fault and not fault.after:
                    if self._waits(fault):
                        return None
                    if fault.kind != "slow":
                        return self._done(self._spoilt(fault))
                self._reply = self._execute()
            if self._reply is None:
                return None
            if fault and fault.after:
                if self._waits(fault):
                    return None
                if fault.kind != "slow":
                    return self._done(self._spoilt(fault))
            return self._done(self._reply)

    def _done(self, reply: Reply) -> Reply:
        self.record.status = reply.status
        return reply

    def _execute(self) -> Reply | None:
        if self._route is None:
            return self._service.no_route(self.record.method, self._call.path)
        try:
            reply = self._service.handle(self._route, self._call)
        except Refusal as refusal:
            reply = refusal.reply
        if reply is None:
            self.until = self._call.notes.get("until", NEVER)
        else:
            self.record.executed = True
        return reply

    def _waits(self, fault: Fault) -> bool:
        """Whether the fault still holds the answer back, and until when."""
        if fault.kind not in {"hang", "slow"}:
            return False
        self.until = NEVER if fault.kind == "hang" else self.record.at + fault.seconds
        return self._service.clock.now() < self.until

    def _spoilt(self, fault: Fault) -> Reply:
        match fault.kind:
            case "reset":
                raise DroppedError
            case "garbage":
                return Reply(status=fault.status, body=f"<html>{LEAK_MARK}".encode(), headers=HTML)
            case "empty":
                return Reply(status=fault.status)
            case _:
                return self._service.failure(self.record.route, fault.status, fault.retry_after)


class Door:
    """Leads to the two clouds. Whatever host is not GitHub's is Google's."""

    def __init__(self, clock: Clock, github: GitHub, google: Google, faults: Faults, *, record: bool = True) -> None:
        self.github = github
        self.google = google
        self.faults = faults
        self.requests: list[Request] = []
        """Kept unless `record` is false."""
        self._clock = clock
        self._record = record

    def visit(self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Visit:
        """A request to a URL. Its answer is asked for separately."""
        parts = urlsplit(url)
        name = "github" if parts.netloc == urlsplit(self.github.url).netloc else "google"
        return self.enter(
            name,
            method,
            parts.path or "/",
            query=parts.query,
            headers=Headers(headers or {}),
            body=body,
            port=parts.port or 0,
        )

    def enter(
        self, name: str, method: str, path: str, *, query: str, headers: Mapping[str, str], body: bytes, port: int
    ) -> Visit:
        """A request to "github" or "google"; `path` and `query` still percent-encoded."""
        service = self.github if name == "github" else self.google
        found = service.table.find(method, path)
        route = found[0] if found else None
        now = self._clock.now()
        record = Request(
            service=route.service if route else "",
            route=route.name if route else "",
            method=method,
            path=f"{path}?{query}" if query else path,
            at=now,
            headers=dict(headers),
            body=body,
        )
        if self._record:
            self.requests.append(record)
        call = Call(
            method=method,
            path=path,
            parameters=found[1] if found else {},
            query=dict(parse_qsl(query, keep_blank_values=True)) if query else {},
            headers=headers,
            body=body,
            port=port,
            at=now,
        )
        fault = self.faults.strike(record.route) if route else None
        if not fault and name == "github" and self.github.outage:
            fault = Fault(kind=ALIASES.get(self.github.outage, self.github.outage), status=503)
        return Visit(service=service, record=record, call=call, route=route, fault=fault, lock=self.github.lock)

    def asked(self, route: str) -> list[Request]:
        """The requests that reached a route, in order."""
        return [request for request in list(self.requests) if request.route == route]
