"""The two services that the bootstrap talks to, on loopback: a metadata server's token and a bucket's objects.

A test scripts failures by appending replies to `token_replies` or `object_replies`; each is used once, and after the
last one the service is well. It checks what the real ones check: the flavor header, the bearer token, the address.
"""

from __future__ import annotations

import json
import select
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

TOKEN = "ya29.c.a-token_that/must+not.leak~=="
TOKEN_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What to answer once. `promised` bytes are announced, `body` is sent; a hanging reply sends nothing at all."""

    status: int = 200
    body: bytes = b""
    promised: int | None = None
    location: str | None = None
    hangs: bool = False


@dataclass(frozen=True, kw_only=True)
class Request:
    path: str
    headers: dict[str, str]


@dataclass
class Cloud:
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict[tuple[str, str], bytes])
    token_replies: deque[Reply] = field(default_factory=deque[Reply])
    object_replies: deque[Reply] = field(default_factory=deque[Reply])
    requests: list[Request] = field(default_factory=list[Request])
    hanging: threading.Event = field(default_factory=threading.Event)
    """Set once a request hangs."""
    hung_up: threading.Event = field(default_factory=threading.Event)
    """Set once the client of a hanging request is gone."""
    closing: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def token_requests(self) -> list[Request]:
        return [request for request in self.requests if request.path == TOKEN_PATH]

    @property
    def object_requests(self) -> list[Request]:
        return [request for request in self.requests if request.path != TOKEN_PATH]

    def answer(self, request: Request) -> Reply:
        self.requests.append(request)
        if request.path == TOKEN_PATH:
            return self.token_replies.popleft() if self.token_replies else self._token(request)
        return self.object_replies.popleft() if self.object_replies else self._object(request)

    def _token(self, request: Request) -> Reply:
        if request.headers.get("Metadata-Flavor") != "Google":
            return Reply(status=403, body=b"Missing Metadata-Flavor:Google header.")
        reply = {"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"}
        return Reply(body=json.dumps(reply).encode())

    def _object(self, request: Request) -> Reply:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return Reply(status=401, body=b"Invalid Credentials")
        url = urlsplit(request.path)
        match url.path.split("/"):
            case ["", "storage", "v1", "b", bucket, "o", name] if (bucket, name) in self.objects:
                media = parse_qs(url.query).get("alt") == ["media"]
                return Reply(body=self.objects[bucket, name] if media else b'{"kind": "storage#object"}')
            case _:
                return Reply(status=404, body=b"No such object")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                reply = cloud.answer(Request(path=self.path, headers=dict(self.headers.items())))
                if reply.hangs:
                    cloud.hanging.set()
                    while not cloud.closing.is_set() and not select.select([self.connection], [], [], 0.01)[0]:
                        pass
                    cloud.hung_up.set()
                    return
                self.send_response(reply.status)
                self.send_header("Content-Length", str(len(reply.body) if reply.promised is None else reply.promised))
                if reply.location:
                    self.send_header("Location", reply.location)
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's names
                """Nothing: a test asserts on `requests`."""

        return Handler
