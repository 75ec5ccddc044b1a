"""The metadata server as job processes see it: what an upload needs, and nothing else.

The kernel sends here what a job's processes and containers send to 169.254.169.254:80 (`containment.nft`). The real
server would also hand them identity tokens, with which a job could act as the VM, and every attribute. Here a request
is looked up in a table (`look_up`); what is not in it is refused, however it is spelled. Upstream sees only requests
that were written from the table: no byte of a job's request goes there.

Nothing is kept beyond a reply and no request leaves a line in the log. The names and forms are those that Google's
clients ask for: google-auth for Python 2.62.2 (compute_engine/_metadata.py: /, project/project-id,
universe/universe-domain, service-accounts/ACCOUNT/?recursive=true and /token?scopes=…), Go (compute/metadata:
/ and service-accounts/ACCOUNT/email, scopes, token), Node (gcp-metadata: instance) and gcloud (gce_read.py:
project/numeric-project-id, service-accounts/, ACCOUNT/email, universe/universe_domain). Of these, `scopes` is
accepted and ignored: the token has all scopes of the VM's account.

    metadata_filter.py [--host 0.0.0.0] [--port 8988] [--upstream 169.254.169.254[:80]]

Ends with 0 on SIGTERM, with 71 where its port is taken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import sys
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

PORT: Final = 8988
"""The port in containment.nft."""
UPSTREAM: Final = "169.254.169.254"
"""The address behind metadata.google.internal; a name would make every upload wait for DNS as well."""

HEAD_SECONDS: Final = 5.0
"""From accept to the end of a request's headers."""
UPSTREAM_SECONDS: Final = 5.0
"""For all that one request needs from upstream."""
REPLY_SECONDS: Final = 5.0
MAX_HEAD_BYTES: Final = 8192
MAX_VALUE_BYTES: Final = 65536
MAX_CONNECTIONS: Final = 64
MAX_UPSTREAM_REQUESTS: Final = 4
"""At once. The real server's limits are the VM's, so a job's flood must not use up what the VM's scripts need."""

EXIT_PORT_TAKEN: Final = 71

REFUSAL: Final = "A job may not read this from the metadata server; see docs/security.md of runner-fleet.\n"

V1: Final = "/computeMetadata/v1/"
ACCOUNTS: Final = "instance/service-accounts/"
LISTINGS: Final[Mapping[str, str]] = {
    "/": "computeMetadata/\n",
    "/computeMetadata/": "v1/\n",
    V1: "instance/\nproject/\nuniverse/\n",
    f"{V1}instance": "service-accounts/\n",
    f"{V1}instance/": "service-accounts/\n",
}
"""Answered from here alone: clients ask to see whether this is Compute Engine."""
VALUES: Final[Mapping[str, str]] = {
    f"{V1}project/project-id": "project/project-id",
    f"{V1}project/numeric-project-id": "project/numeric-project-id",
    f"{V1}universe/universe-domain": "universe/universe-domain",
    f"{V1}universe/universe_domain": "universe/universe-domain",
}
"""What a job asks for, and what upstream is asked for."""
FIELDS: Final = ("aliases", "email", "scopes")
LISTS: Final = ("aliases", "scopes")

_ACCOUNT_PATH: Final = re.compile(
    rf"{V1}{ACCOUNTS}(default|[a-z0-9.:-]+@[a-z0-9.:-]+)(?:/(token|aliases|email|scopes)?)?"
)
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
_TARGET: Final = re.compile(rb"[\x21-\x7e]+")

Kind = Literal["listing", "value", "accounts", "account", "field", "token"]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a request is for. `name` says which listing, value or field; `account` whose."""

    kind: Kind
    name: str = ""
    account: str = "default"
    recursive: bool = False


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer to a job."""

    status: int
    body: str
    content_type: str = "application/text"

    def encode(self) -> bytes:
        """The bytes on the wire. Every answer has the header by which clients know a metadata server."""
        body = self.body.encode()
        allow = "Allow: GET\r\n" if self.status == 405 else ""
        head = (
            f"HTTP/1.1 {self.status} {_PHRASES[self.status]}\r\nMetadata-Flavor: Google\r\n"
            f"Content-Type: {self.content_type}\r\nContent-Length: {len(body)}\r\n{allow}"
            "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + body


_PHRASES: Final = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class RefusedError(Exception):
    """Ends a request with a status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.reply = Reply(status=status, body=sentence)


def look_up(head: bytes) -> Wanted:
    """What a request's head asks for. RefusedError for all that is not in the table."""
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    words = lines[0].split(b" ")
    if len(words) != 3 or words[2] not in (b"HTTP/1.1", b"HTTP/1.0") or not _TARGET.fullmatch(words[1]):
        raise RefusedError(400, "This is no HTTP/1.1 request.\n")
    headers = [_HEADER.fullmatch(line) for line in lines[1:]]
    named = [(header[1].lower(), header[2]) for header in headers if header is not None]
    if len(named) != len(headers):
        raise RefusedError(400, "A header line of the request is malformed.\n")
    if words[0] != b"GET":
        raise RefusedError(405, "A job may only GET from the metadata server.\n")
    # Both as the real server has it: Compute Engine, "View and query VM metadata".
    if [value for name, value in named if name == b"metadata-flavor"] != [b"Google"]:
        raise RefusedError(403, "The request lacks the header Metadata-Flavor: Google.\n")
    if any(name == b"x-forwarded-for" for name, _ in named):
        raise RefusedError(403, "A request with the header X-Forwarded-For is not answered.\n")
    path, _, query = words[1].decode("ascii").partition("?")
    return _wanted(path, recursive=_recursive(query))


def _recursive(query: str) -> bool:
    """What the parameters say; wait_for_change and all others are refused."""
    pairs = [part.partition("=") for part in query.split("&")] if query else []
    given = {name: value for name, _, value in pairs}
    known = {"recursive", "alt", "scopes"}
    if len(given) != len(pairs) or not given.keys() <= known or given.get("recursive", "true") not in ("true", "false"):
        raise RefusedError(403, REFUSAL)
    recursive = given.get("recursive") == "true"
    if given.get("alt", "json" if recursive else "text") != ("json" if recursive else "text"):
        raise RefusedError(403, REFUSAL)
    return recursive


def _wanted(path: str, *, recursive: bool) -> Wanted:
    # A recursive listing above an account would be everything: none is answered.
    if path in LISTINGS and not recursive:
        return Wanted(kind="listing", name=path)
    if path in VALUES:
        return Wanted(kind="value", name=VALUES[path])
    if path in (f"{V1}{ACCOUNTS}", f"{V1}{ACCOUNTS}".removesuffix("/")):
        return Wanted(kind="accounts", recursive=recursive)
    match = _ACCOUNT_PATH.fullmatch(path)
    if match is None:
        raise RefusedError(403, REFUSAL)
    account, field = match[1], match[2]
    if field is None:
        return Wanted(kind="account", account=account, recursive=recursive)
    return Wanted(kind="token" if field == "token" else "field", name=field, account=account)


class Upstream:
    """The real metadata server. It is asked for names of the table only, a few at a time."""

    def __init__(self, address: str, *, max_requests: int = MAX_UPSTREAM_REQUESTS) -> None:
        host, _, port = address.partition(":")
        self._host, self._port = host, int(port or "80")
        self._free = asyncio.Semaphore(max_requests)

    async def value(self, name: str) -> str:
        """The text of a value. RefusedError where there is none or the server does not tell."""
        async with self._free:
            try:
                status, body = await self._get(f"{V1}{name}")
            except (OSError, ValueError, EOFError):
                raise RefusedError(502, "The metadata server gave no proper answer.\n") from None
        if status != 200:
            passed_on = status if status in (404, 429, 503) else 502
            raise RefusedError(passed_on, f"The metadata server answered with HTTP status {status}.\n")
        return body.decode("utf-8", "replace")

    async def _get(self, path: str) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=MAX_VALUE_BYTES)
        try:
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: metadata.google.internal\r\nMetadata-Flavor: Google\r\n"
                "User-Agent: runner-fleet-metadata-filter\r\nConnection: close\r\n\r\n".encode()
            )
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            version, status = head[0].split(" ")[:2]
            if not version.startswith("HTTP/1."):
                raise ValueError(version)
            lengths = [line.partition(":")[2] for line in head if line.lower().startswith("content-length:")]
            length = int(lengths[0]) if lengths else -1
            if length > MAX_VALUE_BYTES:
                raise ValueError(length)
            if any(line.lower().startswith("transfer-encoding:") for line in head):
                return int(status), await _chunks(reader)
            return int(status), await (reader.readexactly(length) if lengths else _to_the_end(reader))
        except (asyncio.LimitOverrunError, asyncio.IncompleteReadError) as error:
            raise ValueError(*error.args) from None
        finally:
            writer.transport.abort()


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        if len(body) + size > MAX_VALUE_BYTES:
            raise ValueError(size)
        body += (await reader.readexactly(size + 2))[:-2]
    return body


async def _to_the_end(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while more := await reader.read(MAX_VALUE_BYTES):
        body += more
        if len(body) > MAX_VALUE_BYTES:
            raise ValueError(len(body))
    return body


async def fulfil(wanted: Wanted, upstream: Upstream) -> Reply:
    """The answer to what is wanted, made of values of the table."""
    match wanted.kind:
        case "listing":
            return Reply(status=200, body=LISTINGS[wanted.name])
        case "value":
            return Reply(status=200, body=_line(await upstream.value(wanted.name)))
        case "accounts":
            return await _accounts(upstream, recursive=wanted.recursive)
        case _:
            await _own(wanted.account, upstream)
            return await _account(wanted, upstream)


async def _accounts(upstream: Upstream, *, recursive: bool) -> Reply:
    info = await _info(upstream)
    email = str(info["email"])
    return _json({email: info, "default": info}) if recursive else Reply(status=200, body=f"default/\n{email}/\n")


async def _account(wanted: Wanted, upstream: Upstream) -> Reply:
    match wanted.kind:
        case "account" if wanted.recursive:
            return _json(await _info(upstream))
        case "account":
            return Reply(status=200, body="aliases\nemail\nscopes\ntoken\n")
        case "token":
            return _json(_token(await upstream.value(f"{ACCOUNTS}default/token")))
        case _:
            return Reply(status=200, body=await upstream.value(f"{ACCOUNTS}default/{wanted.name}"))


async def _own(account: str, upstream: Upstream) -> None:
    """Refuses every account but the VM's default one, which is then asked for by that word."""
    if account != "default" and account != _line(await upstream.value(f"{ACCOUNTS}default/email")):
        raise RefusedError(403, REFUSAL)


async def _info(upstream: Upstream) -> dict[str, Any]:
    texts = [await upstream.value(f"{ACCOUNTS}default/{field}") for field in FIELDS]
    named = zip(FIELDS, texts, strict=True)
    return {field: text.split() if field in LISTS else _line(text) for field, text in named}


def _token(text: str) -> dict[str, Any]:
    """An access token's three fields; RefusedError where there are none."""
    try:
        given: object = json.loads(text)
    except ValueError:
        given = None
    fields = ("access_token", "expires_in", "token_type")
    if not isinstance(given, dict) or not all(field in given for field in fields):
        raise RefusedError(502, "The metadata server's token has another form than expected.\n")
    token = cast("dict[str, Any]", given)
    return {field: token[field] for field in fields}


def _line(text: str) -> str:
    """A value of one line."""
    line = text.strip()
    if not line.isprintable():
        raise RefusedError(502, "The metadata server gave no proper answer.\n")
    return line


def _json(value: dict[str, Any]) -> Reply:
    return Reply(status=200, body=json.dumps(value), content_type="application/json")


class Filter:
    """The server: one request by connection, every wait bounded."""

    def __init__(
        self, upstream: Upstream, *, head_seconds: float = HEAD_SECONDS, upstream_seconds: float = UPSTREAM_SECONDS
    ) -> None:
        self._upstream = upstream
        self._head_seconds = head_seconds
        self._upstream_seconds = upstream_seconds
        self._open: OrderedDict[asyncio.Task[None], None] = OrderedDict()

    async def serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close. With too many connections the oldest is dropped, and what it waits for."""
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = None
        if len(self._open) > MAX_CONNECTIONS:
            self._open.popitem(last=False)[0].cancel()
        try:
            reply = await self._reply(reader)
            async with asyncio.timeout(REPLY_SECONDS):
                writer.write(reply.encode())
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, asyncio.CancelledError):  # nobody awaits this task, and its peer is gone or dropped
            writer.transport.abort()
        finally:
            self._open.pop(task, None)

    async def _reply(self, reader: asyncio.StreamReader) -> Reply:
        try:
            async with asyncio.timeout(self._head_seconds):
                wanted = look_up(await reader.readuntil(b"\r\n\r\n"))
        except RefusedError as refused:
            return refused.reply
        except asyncio.LimitOverrunError:
            return Reply(status=431, body=f"The request has more than {MAX_HEAD_BYTES} bytes of headers.\n")
        except asyncio.IncompleteReadError:
            return Reply(status=400, body="The request ends within its headers.\n")
        except TimeoutError:
            return Reply(status=408, body="The request did not come in time.\n")
        try:
            async with asyncio.timeout(self._upstream_seconds):
                return await fulfil(wanted, self._upstream)
        except RefusedError as refused:
            return refused.reply
        except TimeoutError:
            return Reply(status=504, body="The metadata server did not answer in time.\n")

    def drop_all(self) -> None:
        """End what is open."""
        for task in list(self._open):
            task.cancel()


async def _serve(host: str, port: int, upstream: str) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    served = Filter(Upstream(upstream))
    try:
        server = await asyncio.start_server(served.serve_connection, host, port, limit=MAX_HEAD_BYTES)
    except OSError as error:
        sys.stderr.write(f"metadata-filter: cannot listen on {host}:{port}: {error.strerror}\n")
        return EXIT_PORT_TAKEN
    await stop.wait()
    server.close()
    served.drop_all()
    return 0


def main() -> int:
    """Serve until SIGTERM; the exit status."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104 - containers come through their bridge's address
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--upstream", default=UPSTREAM)
    given = parser.parse_args()
    return asyncio.run(_serve(given.host, given.port, given.upstream))


if __name__ == "__main__":
    sys.exit(main())
