"""HTTP to the services behind a function: one deadline for all of a request, and a clear word on what failed.

`Session.once` makes one try. What matters after a failure is whether the other side may have acted:
`NoAnswerError.sent` is False only where not a byte of the request can have left. `Session.call` repeats what may be
repeated. No proxy, .netrc, cookie or redirection: a token goes to the host that the settings name, or nowhere.

`GoogleToken` is the function's own access token, by google-auth, with this session underneath: google-auth's own
pauses know no deadline.

All functions but the listener hold this file byte by byte: shared by contract, not by import.
"""

from __future__ import annotations

import email.utils
import http.cookiejar
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import google.auth.exceptions
import google.auth.transport
import requests
import urllib3.exceptions
from google.auth import compute_engine
from requests.adapters import HTTPAdapter

CONNECT_SECONDS: Final = 3.05
MOST_REPLY_BYTES: Final = 4 << 20
"""A listing of 100 runners has some 100 KB."""
MOST_PAUSE_SECONDS: Final = 8.0
SHORTEST_TRY_SECONDS: Final = 0.05

# It logs what it cannot parse of an answer: text of other services, in nobody's log.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)

_POOL: Final = 64
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class NoAnswerError(Exception):
    """No complete answer came. `sent` is False where the service certainly did not get the request."""

    def __init__(self, service: str, reason: str, *, sent: bool) -> None:
        super().__init__(f"{service}: {reason}")
        self.service = service
        self.reason = reason
        self.sent = sent


class UpstreamError(Exception):
    """A service did not do its part. The text holds nothing that the service said, but its status.

    `status` is 0 where there was no answer. `passing` says whether the same request may succeed later.
    """

    def __init__(self, service: str, status: int, *, passing: bool, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"{service} answered with {f'HTTP {status}' if status else 'nothing'}")
        self.service = service
        self.status = status
        self.passing = passing
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    """Case does not matter in its names."""
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def passing(self) -> bool:
        """Whether this is a failure that may pass."""
        return self.status in _PASSING


class Deadline:
    """The end of a request's time, by a clock that nobody sets."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """Seconds left, never less than 0."""
        return max(0.0, self._end - self._clock())

    def before(self, seconds: float) -> Deadline:
        """The deadline that is so much earlier: what is left after it is for clearing up."""
        return Deadline(self._end - self._clock() - seconds, self._clock)


class Session:
    """Connections to all services, for many threads."""

    def __init__(
        self,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._sleep = sleep
        self._clock = clock
        self._now = now
        self._chance = chance
        self._requests = requests.Session()
        self._requests.trust_env = False
        self._requests.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        adapter = HTTPAdapter(pool_connections=_POOL, pool_maxsize=_POOL)
        self._requests.mount("https://", adapter)
        self._requests.mount("http://", adapter)

    def deadline(self, seconds: float) -> Deadline:
        """A deadline by this session's clock."""
        return Deadline(seconds, self._clock)

    def close(self) -> None:
        """Close all connections."""
        self._requests.close()

    def once(
        self,
        service: str,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        try_seconds: float = 10.0,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """One try. Raises NoAnswerError; statuses are for the caller to judge."""
        left = deadline.left()
        if left < SHORTEST_TRY_SECONDS:
            raise NoAnswerError(service, "no time is left", sent=False)
        most = min(left, try_seconds)
        until = self._clock() + most
        try:
            with self._requests.request(
                method,
                url,
                headers=dict(headers or {}),
                params=dict(params or {}),
                data=body,
                timeout=(min(CONNECT_SECONDS, most), most),
                allow_redirects=False,
                stream=True,
            ) as response:
                content = self._read(service, response, until)
                return Answer(status=response.status_code, headers=response.headers, body=content)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise NoAnswerError(service, type(error).__name__, sent=_may_have_left(error)) from None

    def _read(self, service: str, response: requests.Response, until: float) -> bytes:
        """The body. A service that sends it drop by drop holds nobody beyond the deadline."""
        content = bytearray()
        while True:
            left = until - self._clock()
            if left <= 0:
                raise NoAnswerError(service, "the answer takes too long", sent=True)
            socket = getattr(response.raw.connection, "sock", None)
            if socket is not None:
                socket.settimeout(left)
            piece = response.raw.read1(65536, decode_content=True)
            if not piece:
                return bytes(content)
            content += piece
            if len(content) > MOST_REPLY_BYTES:
                raise NoAnswerError(service, "the answer is too long", sent=True)

    def call(
        self,
        service: str,
        method: str,
        url: str,
        *,
        deadline: Deadline,
        try_seconds: float = 10.0,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Try until there is an answer that will not pass; only for what may be done twice.

        Raises UpstreamError at the deadline. Any status that does not pass is returned, also 403 and 404.
        """
        attempt = 0
        while True:
            answer = None
            wait = None
            try:
                answer = self.once(
                    service,
                    method,
                    url,
                    deadline=deadline,
                    try_seconds=try_seconds,
                    headers=headers,
                    params=params,
                    body=body,
                )
                if not answer.passing:
                    return answer
                wait = self.retry_after_seconds(answer)
            except NoAnswerError:
                pass
            if not self.pause(attempt, deadline, at_least=wait):
                raise UpstreamError(service, answer.status if answer else 0, passing=True, retry_after_seconds=wait)
            attempt += 1

    def pause(self, attempt: int, deadline: Deadline, *, at_least: float | None = None) -> bool:
        """Wait before another try, longer each time and never in step; False, at once, where no time would be left."""
        seconds = min(MOST_PAUSE_SECONDS, 0.25 * 2.0 ** min(attempt, 10)) * (0.5 + self._chance() / 2)
        if at_least is not None:
            seconds = at_least + seconds
        if seconds + SHORTEST_TRY_SECONDS >= deadline.left():
            return False
        self._sleep(seconds)
        return True

    def retry_after_seconds(self, answer: Answer) -> float | None:
        """What the answer's Retry-After asks for, as seconds from now; None without a valid one."""
        given = answer.headers.get("Retry-After", "").strip()
        if given.isascii() and given.isdigit() and len(given) < 10:
            return float(given)
        try:
            return max(0.0, email.utils.parsedate_to_datetime(given).timestamp() - self._now())
        except (ValueError, OverflowError):
            return None


def _may_have_left(error: Exception) -> bool:
    """Whether the service may have got the request. A connection that was never made has carried nothing."""
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return False
    if isinstance(error, requests.ConnectionError) and error.args:
        reason = getattr(error.args[0], "reason", None)
        unmade = urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError
        return not isinstance(reason, unmade)
    return True


class GoogleToken:
    """The function's own access token, from the metadata server, refreshed before it ends by one thread at a time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._credentials: Any = compute_engine.Credentials()

    def __call__(self, deadline: Deadline) -> str:
        """A token that is valid. Raises UpstreamError."""
        if not self._lock.acquire(timeout=deadline.left()):
            raise UpstreamError("metadata", 0, passing=True)
        try:
            if not self._credentials.valid:
                self._credentials.refresh(_Transport(self._session, deadline))
            return str(self._credentials.token)
        except (google.auth.exceptions.GoogleAuthError, ValueError, TypeError, LookupError, AttributeError):
            # An answer in another form than it expects makes google-auth fail in any of these ways.
            raise UpstreamError("metadata", 0, passing=True) from None
        finally:
            self._lock.release()


class _Transport(google.auth.transport.Request):
    """What google-auth makes its requests with."""

    def __init__(self, session: Session, deadline: Deadline) -> None:
        self._session = session
        self._deadline = deadline

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> google.auth.transport.Response:
        # What cannot be had by the deadline leaves as UpstreamError, which google-auth does not repeat.
        return _Response(
            self._session.call(
                "metadata",
                method,
                url,
                deadline=self._deadline,
                try_seconds=timeout or CONNECT_SECONDS,
                headers=headers,
                body=body,
            )
        )


class _Response(google.auth.transport.Response):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    @property
    def status(self) -> int:
        return self._answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._answer.headers

    @property
    def data(self) -> bytes:
        return self._answer.body
