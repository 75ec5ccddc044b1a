"""Everything that a runner VM talks to, on one loopback port: metadata server, bucket objects, broker and deleter.

It checks what the real ones check: the flavor header, the bearer token, the token's audience, the address. What fails
is scripted: `replies["jit"].append(Reply(status=500))` is used once, and after the last one the service is well again.
The routes are token, identity, metadata, object, jit, deregister, retire, return_permit, delete.

The identity tokens are not signed and the broker decides nothing: it stands for the contract, not for the service.
"""

from __future__ import annotations

import base64
import contextlib
import json
import select
import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

TOKEN = "ya29.c.a-token_that/must+not.leak~=="  # noqa: S105 - nobody's
IDENTITY_MARK = "identity-that-must-not-leak"
JIT_MARK = "jit-config-that-must-not-leak"
METADATA = "/computeMetadata/v1/"
ACCOUNT = "instance/service-accounts/default/"
ROUTES = ("token", "identity", "metadata", "object", "jit", "deregister", "retire", "return_permit", "delete")


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What to answer once. `promised` bytes are announced, `body` is sent; a hanging reply sends nothing at all."""

    status: int = 200
    body: bytes = b""
    promised: int | None = None
    location: str | None = None
    date: str | None = None
    hangs: bool = False


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it came; `route` says which service it reached, `""` none."""

    method: str
    path: str
    headers: dict[str, str]
    route: str


def jit_config(**files: str) -> str:
    """A just-in-time configuration as GitHub encodes it: base64 of a JSON object of file name to base64 content."""
    given = files or {"runner": "{}", "credentials": f'{{"mark": "{JIT_MARK}"}}', "credentials_rsaparams": JIT_MARK}
    encoded = {f".{name}": base64.b64encode(text.encode()).decode() for name, text in given.items()}
    return base64.b64encode(json.dumps(encoded).encode()).decode()


@dataclass
class Cloud:
    """The services and what they know. Use it as a context manager; everything it holds may be changed meanwhile."""

    objects: dict[tuple[str, str], bytes] = field(default_factory=dict[tuple[str, str], bytes])
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    """Path below computeMetadata/v1/ to value, such as instance/id."""
    jit_config: str = field(default_factory=jit_config)
    permit: bool = False
    """What the deleter answers when an idle VM asks to leave."""
    replies: defaultdict[str, deque[Reply]] = field(default_factory=lambda: defaultdict(deque[Reply]))
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
        """`127.0.0.1:PORT`, for GCE_METADATA_HOST."""
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def broker_url(self) -> str:
        """Where VMs register, and the audience of their tokens there."""
        return f"http://{self.host}/broker"

    @property
    def deleter_url(self) -> str:
        """Where VMs ask to be deleted, and the audience of their tokens there."""
        return f"http://{self.host}/deleter"

    def asked(self, route: str) -> list[Request]:
        """The requests that reached a route, in order."""
        return [request for request in self.requests if request.route == route]

    def answer(self, request: Request) -> Reply:
        """The reply to a request, which is recorded: the next scripted one of its route, or the service's own."""
        self.requests.append(request)
        waiting = self.replies[request.route]
        if waiting:
            return waiting.popleft()
        match request.route:
            case "token" | "identity" | "metadata":
                return self._metadata(request)
            case "object":
                return self._object(request)
            case "":
                return Reply(status=404, body=b'{"error": "no such path"}')
            case _:
                return self._service(request)

    def route(self, method: str, path: str) -> str:
        """Which service a request reaches."""
        below = urlsplit(path).path
        if below.startswith(METADATA):
            kinds = {f"{METADATA}{ACCOUNT}token": "token", f"{METADATA}{ACCOUNT}identity": "identity"}
            return kinds.get(below, "metadata")
        if below.startswith("/storage/"):
            return "object"
        services = {
            ("POST", "/broker/jit"): "jit",
            ("POST", "/broker/deregister"): "deregister",
            ("POST", "/deleter/retire"): "retire",
            ("DELETE", "/deleter/retire"): "return_permit",
            ("DELETE", "/deleter/"): "delete",
        }
        return services.get((method, below), "")

    def _metadata(self, request: Request) -> Reply:
        if request.headers.get("Metadata-Flavor") != "Google":
            return Reply(status=403, body=b"Missing Metadata-Flavor:Google header.")
        url = urlsplit(request.path)
        if request.route == "token":
            reply = {"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"}
            return Reply(body=json.dumps(reply).encode())
        if request.route == "identity":
            query = parse_qs(url.query)
            if query.get("format") != ["full"] or "audience" not in query:
                return Reply(status=400, body=b"audience missing")
            return Reply(body=self.identity(query["audience"][0]).encode())
        value = self.metadata.get(url.path.removeprefix(METADATA))
        return Reply(status=404, body=b"not found") if value is None else Reply(body=value.encode())

    @staticmethod
    def identity(audience: str) -> str:
        """A token in the form of a signed one; its signature is a mark that no log may hold."""
        parts = ({"alg": "none"}, {"aud": audience})
        head = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
        return f"{head}.{IDENTITY_MARK}"

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

    def _service(self, request: Request) -> Reply:
        audience = self.broker_url if request.route in ("jit", "deregister") else self.deleter_url
        if request.headers.get("Authorization") != f"Bearer {self.identity(audience)}":
            return Reply(status=401, body=b'{"error": "no identity token for this service"}')
        bodies: dict[str, dict[str, Any]] = {
            "jit": {"jit_config": self.jit_config, "runner_id": 23, "expires": "2026-11-22T12:00:00Z"},
            "deregister": {"deregistered": True},
            "retire": {"permit": self.permit},
            "return_permit": {"returned": True},
            "delete": {"deleting": True},
        }
        return Reply(body=json.dumps(bodies[request.route]).encode())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                route = cloud.route(self.command, self.path)
                request = Request(method=self.command, path=self.path, headers=dict(self.headers.items()), route=route)
                reply = cloud.answer(request)
                if reply.hangs:
                    cloud.hanging.set()
                    while not cloud.closing.is_set() and not select.select([self.connection], [], [], 0.01)[0]:
                        pass
                    cloud.hung_up.set()
                    return
                self.send_response_only(reply.status)
                self.send_header("Date", reply.date or self.date_time_string())
                self.send_header("Content-Length", str(len(reply.body) if reply.promised is None else reply.promised))
                if reply.location:
                    self.send_header("Location", reply.location)
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # a client that was killed reads no answer
                    self.wfile.write(reply.body)

            do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - the base class's names

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's names
                """Nothing: a test asserts on `requests`."""

        return Handler
