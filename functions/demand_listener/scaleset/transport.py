"""One HTTP request and its answer: the only door through which this package reaches anything.

`HttpTransport` goes through aiohttp. A simulation or a test puts its own `Transport` in its place: nothing else here
opens a connection, and nothing here reads a clock but the event loop's and the one that the client was given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import aiohttp
import yarl

CONNECT_SECONDS: Final = 10.0
MOST_BODY_BYTES: Final = 8 << 20
"""A message holds at most 50 jobs of some 1 KB each."""
CONNECTIONS: Final = 1024
"""Two hundred long polls at once, and as many calls beside them, are not kept waiting for each other."""

_SKIPPED: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def header(self, name: str) -> str:
        """A header, whatever the case of its name; empty where there is none."""
        wanted = name.lower()
        return next((value for key, value in self.headers.items() if key.lower() == wanted), "")

    def json(self) -> Any:
        """The body as JSON, None where it is none. A byte order mark before it is removed: GitHub has sent one."""
        return decode_json(self.body)


class TransportError(Exception):
    """No complete answer came.

    `sent` is False only where the service certainly did not get the request. `passing` is False where the same request
    cannot succeed later either: a certificate that does not fit, a URL that is none.
    """

    def __init__(self, reason: str, *, sent: bool, passing: bool = True) -> None:
        super().__init__(reason)
        self.sent = sent
        self.passing = passing


class Transport(Protocol):
    """Sends requests. Headers and URL go out as they are given."""

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, timeout_seconds: float
    ) -> Response:
        """One try, whose answer may have any status. Raises TransportError and nothing else."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class HttpTransport:
    """aiohttp, without proxies and .netrc of the environment, cookies or redirections.

    A token goes to the host that the caller named, or nowhere. For one event loop; its connections are made when first
    needed.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None, timeout_seconds: float
    ) -> Response:
        """One try. Raises TransportError."""
        timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=min(CONNECT_SECONDS, timeout_seconds))
        try:
            async with self._opened().request(
                method,
                yarl.URL(url, encoded=True),
                headers=headers,
                data=body,
                timeout=timeout,
                allow_redirects=False,
                skip_auto_headers=_SKIPPED,
            ) as response:
                content = await _read(response)
                return Response(status=response.status, headers=response.headers.copy(), body=content)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _failure(error) from None

    async def close(self) -> None:
        """Close all connections. Another request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session


async def _read(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for piece in response.content.iter_any():
        content += piece
        if len(content) > MOST_BODY_BYTES:
            raise TransportError("the answer is too long", sent=True)
    return bytes(content)


def _failure(error: Exception) -> TransportError:
    """What an exception of aiohttp's says about the request. Its text may quote a URL: only its name is kept."""
    unsent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    hopeless = isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.InvalidURL | ValueError)
    return TransportError(type(error).__name__, sent=not unsent and not hopeless, passing=not hopeless)


def decode_json(raw: bytes) -> Any:
    """Bytes as JSON, in UTF-8 with or without a byte order mark; None where they are none."""
    try:
        return json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    """NaN and Infinity are Python's additions to JSON."""
    raise ValueError(constant)
